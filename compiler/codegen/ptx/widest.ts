/** How many consecutive values of a coordinate one thread may take. */
import { dtypes } from "../../ir/dtype.js";
import type { Operand, Store } from "../../kernel/desc.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { alignmentOf, dependsOn, isContiguous, loadsOf } from "../affine.js";

/**
 * The most lanes along `coord` that 16-byte accesses and `extent` allow; 0 where nothing is
 * contiguous along it.
 */
export function widestLanes(
  operands: readonly Operand[],
  bodies: readonly Expr[],
  stores: readonly Store[],
  coord: Expr,
  extent: Expr,
): number {
  if (!isOp(coord, "coord")) return 0;
  const bytes = new Map(operands.map((operand) => [operand.name, dtypes[operand.dtype].bits / 8]));
  const contiguous = [
    ...stores.filter((store) => isContiguous(store.offset, coord)).map((store) => store.operand),
    ...loadsOf(bodies)
      .filter((node) => isContiguous(node.args[0]!, coord))
      .map((node) => node.attr.buffer),
  ].map((name) => bytes.get(name) ?? 16);
  if (contiguous.length === 0) return 0;
  return alignmentOf(extent, Math.min(8, Math.max(1, 16 / Math.min(...contiguous))));
}

/** Accesses that walk neighbours in memory along `coord`, among those that move with `other` too. */
export function contiguousAccesses(
  bodies: readonly Expr[],
  stores: readonly Store[],
  coord: Expr,
  other: Expr,
): number {
  const offsets = [
    ...loadsOf(bodies).map((node) => node.args[0]!),
    ...stores.map((store) => store.offset),
  ];
  return offsets.filter((offset) => dependsOn(offset, other) && isContiguous(offset, coord)).length;
}
