/** Which part of an iteration space a thread has: blocks, threads and flattened boxes. */
import { bug } from "../../errors.js";
import { ceilDiv, constValue, div, int, mul, one } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { convertRegister, emitBinary } from "./arithmetic.js";
import { immediate, type Value } from "./builder.js";
import { fits32, type Scope } from "./expr.js";
import { binaryInstruction, ptx } from "./instructions.js";

/** Product of extents. */
export const volume = (extents: readonly Expr[]): Expr => extents.reduce(mul, one);

/** Blocks of `size` that cover `extent`. */
export const blocksOf = (extent: Expr, size: number): Expr => ceilDiv(extent, int(size));

/** `%ctaid.<axis> * size + offset`, wide if 32 bits may not hold it. */
export function blockOffset(
  scope: Scope,
  axis: "x" | "y" | "z",
  size: number,
  wide = false,
): Value {
  const { b, kernel } = scope;
  const block = kernel.special(`%ctaid.${axis}`);
  if (wide) return b.op("mul.wide.u32", "s64", block, size);
  return size === 1 ? block : b.op(binaryInstruction.mul.s32!, "s32", block, size);
}

/** `extent` as a value of `type`: an immediate or a host scalar. */
export function extentValue(scope: Scope, extent: Expr, type: "s32" | "s64"): Value {
  if (type === "s32" && !fits32(extent)) throw bug("an extent beyond 32 bits in 32-bit geometry");
  const literal = constValue(extent);
  if (literal !== null) return immediate(literal, type);
  return convertRegister(scope.b, scope.value(extent), type);
}

/** A coordinate of a flattened box. */
export interface BoxAxis {
  readonly coord: Expr;
  readonly extent: Expr;
  /** Consecutive values of the coordinate that one flattened index stands for. */
  readonly unit?: number;
  /** What a scope with several lanes steps along. */
  readonly step?: number;
}

/** Splits a flattened index (last axis fastest) and binds each coordinate in `scope`. */
export function bindBox(scope: Scope, index: Value, axes: readonly BoxAxis[]): void {
  const { b } = scope;
  let rest = index;
  for (let i = axes.length - 1; i >= 0; i--) {
    const { coord, extent, unit = 1, step = 0 } = axes[i]!;
    const count = div(extent, int(unit));
    if (constValue(count) === 1 && unit === 1) continue;
    let part = rest;
    if (i > 0) {
      const by = extentValue(scope, count, rest.type === "s64" ? "s64" : "s32");
      part = emitBinary(b, "mod", rest, by, { nonNegative: true, nonZeroDivisor: true });
      rest = emitBinary(b, "div", rest, by, { nonNegative: true, nonZeroDivisor: true });
    }
    const narrow = convertRegister(b, part, "s32");
    const value = unit === 1 ? narrow : b.op(binaryInstruction.mul.s32!, "s32", narrow, unit);
    scope.bind(coord, value, { multiple: unit, step });
  }
}

/** predicate = value < extent */
export function below(scope: Scope, value: Value, extent: Expr): Value {
  const type = value.type === "s64" ? "s64" : "s32";
  return scope.b.op(ptx.setp("lt", type), "pred", value, extentValue(scope, extent, type));
}

/** Ends a block whose first row is beyond `rows`, which is the same for all of its threads. */
export function endWithoutRows(scope: Scope, first: Value, rows: Expr): void {
  const { b } = scope;
  scope.inBlock(() => {
    const none = b.op(ptx.setp("ge", "s32"), "pred", first, scope.index(rows));
    b.raw(`@${none.text} ret;`);
  });
}
