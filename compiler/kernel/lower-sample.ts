/** Choosing one of each row: values and noise are computed as the row is walked. */
import type { Node } from "../ir/graph.js";
import { cast, coord, isConst, param, yes } from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import type { SampleDesc } from "./desc.js";
import { blocked, epilogue, readerFor, type LoweringContext } from "./lowering.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { CannotPush } from "./push.js";

/** A choice between noise and 0 that is the same for all of a row is made once. */
function withoutNone(noise: Expr, index: Expr): Pick<SampleDesc, "noise" | "noisy"> {
  const inner = isOp(noise, "cast") ? noise.args[0]! : noise;
  if (!isOp(inner, "select")) return { noise, noisy: yes };
  const [noisy, own, none] = inner.args as [Expr, Expr, Expr];
  const once = isConst(none, 0) && !someExpr(noisy, (each) => each === index);
  return once ? { noise: cast(own, "f32"), noisy } : { noise, noisy: yes };
}

export function lowerSample(
  context: LoweringContext,
  node: Node<"sample">,
  exits: readonly Node[],
): PlannedKernel {
  const [values, noises, counts, masses] = node.inputs as [Node, Node, Node, Node];
  const [rowExtent, choices] = values.shape as [Expr, Expr];
  const [row, index] = [coord("row", rowExtent), coord("index", choices)];
  const reader = readerFor(context);
  const [value, noise] = [values, noises].map((x) => cast(reader.at(x, [row, index]), "f32")) as [
    Expr,
    Expr,
  ];
  const { noise: own, noisy } = withoutNone(noise, index);
  const count = cast(reader.at(counts, [row]), "i64");
  const mass = cast(reader.at(masses, [row]), "f32");
  try {
    const point = { coords: [row], value: param("chosen", "i64"), guard: null };
    const stores = epilogue(context, node, exits, reader, [point]);
    const names = new OperandNames(context.memory);
    names.collect({ exprs: [value, own, noisy, count, mass], stores });
    const { operands, buffers } = names.finish();
    const desc: SampleDesc = {
      family: "sample",
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      row,
      rowExtent,
      index,
      choices,
      value: names.expr(value),
      noise: names.expr(own),
      noisy: names.expr(noisy),
      count: names.expr(count),
      mass: names.expr(mass),
      stores: stores.map((store) => names.store(store)),
    };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}
