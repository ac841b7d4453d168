/**
 * Floats of 8 and 4 bits as integer arithmetic: every target stores them as bytes and computes in f32,
 * so their conversions are ordinary expressions. The same bits as `encodeFloat` and `decodeFloat`.
 */
import type { DType } from "../ir/dtype.js";
import * as build from "./build.js";
import type { Expr } from "./expr.js";
import { formatOf, isSmallFloat, type FloatFormat } from "./round.js";

const f = (value: number): Expr => build.constant(value, "f32");
const i = (value: number): Expr => build.constant(value, "i32");
const and = (a: Expr, b: Expr): Expr => build.binary("and", a, b);
const or = (a: Expr, b: Expr): Expr => build.binary("or", a, b);
const shl = (a: Expr, count: number): Expr => (count === 0 ? a : build.binary("shl", a, i(count)));
const shr = (a: Expr, count: number): Expr => (count === 0 ? a : build.binary("shr", a, i(count)));

/** A float type that no target has arithmetic on, nor loads of. */
export const isTinyFloat = (dtype: DType): boolean =>
  dtype === "e8m0" || (isSmallFloat(dtype) && formatOf(dtype).bits <= 8);

const infinityBits = 0x7f800000;

/** f64 rounded to odd, so that a second rounding to a few bits gives what one alone would. */
export function toOdd(x: Expr): Expr {
  const nearest = build.cast(x, "f32");
  const bits = build.bitcast(nearest, "i32");
  const back = build.cast(nearest, "f64");
  const exact = build.or(build.eq(back, x), build.ne(x, x));
  const odd = build.ne(and(bits, i(1)), i(0));
  const away = build.lt(build.unary("abs", x), build.unary("abs", back));
  const moved = build.select(away, build.sub(bits, i(1)), build.add(bits, i(1)));
  return build.select(build.or(exact, odd), nearest, build.bitcast(moved, "f32"));
}

/** The pattern of `value`, an i32 below 2^bits: rounded to nearest even, saturated. */
export function encodeTiny(value: Expr, dtype: DType): Expr {
  const x = value.type === "f64" ? toOdd(value) : build.cast(value, "f32");
  if (dtype === "e8m0") return encodeScale(x);
  return encodeFormat(x, formatOf(dtype));
}

function encodeFormat(x: Expr, format: FloatFormat): Expr {
  const { bits, mantissa, bias, largest, nan, unsignedZero } = format;
  const pattern = build.bitcast(x, "i32");
  const size = and(pattern, i(0x7fffffff));
  const shift = 23 - mantissa;
  const half = i(2 ** (shift - 1) - 1);
  const even = and(shr(size, shift), i(1));
  const rounded = shr(build.add(build.add(size, half), even), shift);
  const normal = build.sub(rounded, i((127 - bias) * 2 ** mantissa));
  const scaled = build.mul(build.bitcast(size, "f32"), f(2 ** (bias - 1 + mantissa)));
  const tiny = build.cast(build.unary("round", scaled), "i32");
  const leastNormal = i((128 - bias) * 2 ** 23);
  // Compared first: the conversion of a large value to an integer is not what is wanted anyway.
  const small = build.lt(size, leastNormal);
  const magnitude = build.min(build.select(small, tiny, normal), i(largest));
  const sign = and(shr(pattern, 32 - bits), i(2 ** (bits - 1)));
  const noSign = unsignedZero ? build.select(build.eq(magnitude, i(0)), i(0), sign) : sign;
  const isNaN = build.lt(i(infinityBits), size);
  return build.select(isNaN, i(nan ?? largest), or(magnitude, noSign));
}

/** To the power of two at or above; negative values and NaN have none. */
function encodeScale(x: Expr): Expr {
  const pattern = build.bitcast(x, "i32");
  const up = build.select(build.ne(and(pattern, i(0x7fffff)), i(0)), i(1), i(0));
  const normal = build.min(build.add(shr(pattern, 23), up), i(0xfe));
  const subnormal = build.select(build.lt(i(0x400000), pattern), i(1), i(0));
  const scale = build.select(build.lt(pattern, i(0x800000)), subnormal, normal);
  // -0 is zero: as a pattern it is the least integer.
  const valid = build.le(f(0), x);
  const positive = build.select(build.lt(pattern, i(0)), i(0), scale);
  return build.select(valid, positive, i(0xff));
}

/** The f32 value of a pattern. */
export function decodeTiny(pattern: Expr, dtype: DType): Expr {
  if (dtype === "e8m0") return decodeScale(pattern);
  const { bits, mantissa, bias, largest, infinity, nan, unsignedZero } = formatOf(dtype);
  const size = and(pattern, i(2 ** (bits - 1) - 1));
  const sign = shl(and(pattern, i(2 ** (bits - 1))), 32 - bits);
  const finite = build.mul(build.bitcast(shl(size, 23 - mantissa), "f32"), f(2 ** (127 - bias)));
  const signed = build.bitcast(or(build.bitcast(finite, "i32"), sign), "f32");
  if (unsignedZero) return build.select(build.eq(pattern, i(2 ** (bits - 1))), f(NaN), signed);
  if (nan === null) return signed;
  if (infinity === null) return build.select(build.lt(i(largest), size), f(NaN), signed);
  const infinite = build.bitcast(or(i(infinityBits), sign), "f32");
  const special = build.select(build.eq(size, i(infinity)), infinite, f(NaN));
  return build.select(build.lt(i(largest), size), special, signed);
}

function decodeScale(pattern: Expr): Expr {
  const power = build.select(build.eq(pattern, i(0)), i(0x400000), shl(pattern, 23));
  return build.select(build.eq(pattern, i(0xff)), f(NaN), build.bitcast(power, "f32"));
}
