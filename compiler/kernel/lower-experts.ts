/**
 * Routing, rows sorted by expert, and products by experts. A product by experts is a batch of
 * products, one for each expert that a row has: the device knows which expert and how many rows, A's
 * rows are gathered and the results scattered through the sorted positions.
 */
import { bug } from "../errors.js";
import { delinearize } from "../ir/element.js";
import type { Node } from "../ir/graph.js";
import {
  add,
  constValue,
  coord,
  div,
  int,
  max,
  min,
  mul,
  one,
  param,
  sub,
  zero,
} from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import type { GroupDesc, RouteDesc } from "./desc.js";
import { refusal } from "./limits.js";
import { blocked, BlockedNode, epilogue, readerFor, type LoweringContext } from "./lowering.js";
import { lowerProduct, productType, type Geometry } from "./lower-gemm.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { CannotPush } from "./push.js";

/** An index from memory, kept inside its axis whatever was written there. */
const inside = (index: Expr, extent: Expr): Expr => max(zero, min(index, sub(extent, one)));

export function lowerExpertMatmul(
  context: LoweringContext,
  node: Node<"expert_matmul">,
  exits: readonly Node[],
): PlannedKernel {
  const [x, weights, chosen, groups] = node.inputs as [Node, Node, Node, Node];
  const experts = constValue(weights.shape[0]!);
  if (experts === null) throw bug("a product by an unknown number of experts");
  const positions = mul(chosen.shape[0]!, chosen.shape[1]!);
  const reader = readerFor(context);
  const group = coord("g", min(int(experts), positions));
  const table = (start: number, at: Expr): Expr => reader.at(groups, [add(int(start), at)]);
  const [first, end] = [table(experts, group), table(experts, add(group, one))];
  // A token has an expert at most once.
  const mExtent = chosen.shape[0]!;
  const m = coord("m", mExtent);
  const place = inside(add(first, m), positions);
  const position = inside(table(2 * experts + 1, place), positions);
  const rows = delinearize(position, chosen.shape);
  const kExtent = weights.shape[1]!;
  const isWeight = context.analysis.isWeight(weights);
  const geometry: Geometry = {
    batch: [group],
    batchExtents: [min(int(experts), positions)],
    m,
    mExtent,
    k: coord("k", kExtent),
    kExtent,
    columns: weights.shape[2]!,
    rows,
    rowsOfA: x.shape.length === 2 ? [div(position, chosen.shape[1]!)] : rows,
    present: { rows: sub(end, first), inAll: positions },
    weight: isWeight ? weights : null,
    matrix: inside(table(0, group), int(experts)),
    dtype: productType(context, node),
  };
  return lowerProduct(context, node, exits, geometry);
}

export function lowerRoute(
  context: LoweringContext,
  node: Node<"route">,
  exits: readonly Node[],
): PlannedKernel {
  const [choice] = node.inputs as [Node];
  const [rowExtent, choices] = choice.shape as [Expr, Expr];
  const [row, index] = [coord("row", rowExtent), coord("index", choices)];
  const slot = coord("slot", node.shape[1]!);
  const reader = readerFor(context);
  const value = reader.at(choice, [row, index]);
  try {
    const point = { coords: [row, slot], value: param("chosen", "i64"), guard: null };
    const stores = epilogue(context, node, exits, reader, [point]);
    const names = new OperandNames(context.memory);
    names.collect({ exprs: [value], stores });
    const { operands, buffers } = names.finish();
    const desc: RouteDesc = {
      family: "route",
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      row,
      rowExtent,
      index,
      choices: constValue(choices)!,
      value: names.expr(value),
      ...node.attrs,
      slot,
      stores: stores.map((store) => names.store(store)),
    };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}

export function lowerGroups(
  context: LoweringContext,
  node: Node<"expert_groups">,
  exits: readonly Node[],
): PlannedKernel {
  const other = exits.find((exit) => exit !== node);
  if (other !== undefined)
    throw new BlockedNode(other, refusal("epilogue operators", 1, 0, "sorting by expert"));
  const [chosen] = node.inputs as [Node];
  const { experts } = node.attrs;
  const extent = chosen.shape.reduce(mul, one);
  const position = coord("position", extent);
  const at = delinearize(position, chosen.shape);
  const expert = inside(readerFor(context).at(chosen, at), int(experts));
  const target = context.memory.of(node)!;
  const names = new OperandNames(context.memory);
  // The stored value is no expression: the operand alone is named.
  names.collect({ exprs: [expert], stores: [] });
  const name = names.addWritten(target);
  const { operands, buffers } = names.finish();
  const desc: GroupDesc = {
    family: "group",
    operands,
    label: context.nameOf(node),
    position,
    extent,
    experts,
    expert: names.expr(expert),
    target: name,
  };
  return { desc, buffers };
}
