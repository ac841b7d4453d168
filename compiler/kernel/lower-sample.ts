/** Choosing one of each row: values and noise are computed as the row is walked. */
import type { Node } from "../ir/graph.js";
import { binary, cast, constant, coord, lt, param, select } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import type { SampleDesc } from "./desc.js";
import { blocked, epilogue, readerFor, type LoweringContext } from "./lowering.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { CannotPush } from "./push.js";

export function lowerSample(
  context: LoweringContext,
  node: Node<"sample">,
  exits: readonly Node[],
): PlannedKernel {
  const [values, noises, ...limits] = node.inputs as [Node, Node, Node, Node, Node];
  const [rowExtent, choices] = values.shape as [Expr, Expr];
  const [row, index] = [coord("row", rowExtent), coord("index", choices)];
  const reader = readerFor(context);
  const [value, noise] = [values, noises].map((x) => cast(reader.at(x, [row, index]), "f32")) as [
    Expr,
    Expr,
  ];
  const [temperature, counts, mass] = limits.map((x) => reader.at(x, [row])) as [Expr, Expr, Expr];
  const warm = cast(temperature, "f32");
  const noisy = lt(constant(0, "f32"), warm);
  const scaled = binary("div", value, select(noisy, warm, constant(1, "f32")));
  const count = cast(counts, "i64");
  const share = cast(mass, "f32");
  try {
    const point = { coords: [row], value: param("chosen", "i64"), guard: null };
    const stores = epilogue(context, node, exits, reader, [point]);
    const names = new OperandNames(context.memory);
    names.collect({ exprs: [scaled, noise, noisy, count, share], stores });
    const { operands, buffers } = names.finish();
    const desc: SampleDesc = {
      family: "sample",
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      row,
      rowExtent,
      index,
      choices,
      value: names.expr(scaled),
      noise: names.expr(noise),
      noisy: names.expr(noisy),
      count: names.expr(count),
      mass: names.expr(share),
      stores: stores.map((store) => names.store(store)),
    };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}
