/** Arithmetic on shapes. Two dimensions are equal if they are the same expression. */
import { FarrierError } from "../errors.js";
import { constValue, int, isConst, mul, one } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import type { Shape } from "./graph.js";
import { printExpr } from "./print-expr.js";

/** A dimension as callers write it. */
export type Dim = number | Expr;

export const dimExpr = (dim: Dim): Expr => (typeof dim === "number" ? int(dim) : dim);
export const shapeOf = (dims: readonly Dim[]): Shape => dims.map(dimExpr);

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** The number of elements. */
export function elements(shape: Shape): Expr {
  return shape.reduce((product, dim) => mul(product, dim), one);
}

/** Elements between neighbours along each axis of a dense row-major tensor. */
export function strides(shape: Shape): Expr[] {
  const result: Expr[] = [];
  let step = one;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = step;
    step = mul(step, shape[axis]!);
  }
  return result;
}

/** The dimensions as integers, or null if one is symbolic. */
export function staticShape(shape: Shape): number[] | null {
  const dims = shape.map(constValue);
  return dims.includes(null) ? null : (dims as number[]);
}

/** The largest number of elements within the profile; infinite where a symbol has no bound. */
export function largestElements(shape: Shape): number {
  return shape.reduce((product, dim) => product * Math.max(0, rangeOf(dim).max), 1);
}

export const printShape = (shape: Shape): string => `[${shape.map(printExpr).join(", ")}]`;

/**
 * NumPy broadcasting of two shapes. Dimensions that are neither equal nor 1 are an error, also where
 * they might turn out equal: which of them is the result could not be told.
 */
export function broadcastShapes(a: Shape, b: Shape, where: string): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[axis - rank + a.length] ?? one;
    const y = b[axis - rank + b.length] ?? one;
    if (x === y || isConst(y, 1)) return x;
    if (isConst(x, 1)) return y;
    throw new FarrierError(
      "E_BROADCAST",
      `${printShape(a)} and ${printShape(b)} do not broadcast: ` +
        `axis ${axis} is ${printExpr(x)} and ${printExpr(y)}`,
      { where },
    );
  });
}

/** Whether a tensor of shape `from` repeats to `to`. */
export function broadcastsTo(from: Shape, to: Shape): boolean {
  const skip = to.length - from.length;
  return skip >= 0 && from.every((dim, axis) => isConst(dim, 1) || dim === to[axis + skip]);
}

/** `axis` counted from the front, or E_AXIS. */
export function axisOf(axis: number, rank: number, where: string): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (Number.isInteger(axis) && positive >= 0 && positive < rank) return positive;
  throw new FarrierError("E_AXIS", `axis ${axis}, rank ${rank}`, { where });
}
