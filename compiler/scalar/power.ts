/** f32 powers and remainders: by products where the exponent is a small literal, else in doubles. */
import * as build from "./build.js";
import { d, exp2Fraction, f, i, type Native } from "./approximations.js";
import type { Expr } from "./expr.js";
import { trunc } from "./rounding.js";

const largestUnrolled = 16;

/** x^y as C's pow. At most 2 ulp, or half of |y| where y is a small integer literal. */
export function pow(native: Native, x: Expr, y: Expr): Expr {
  const exponent = literal(y);
  const simple = exponent === null ? null : literalPower(x, exponent);
  if (simple !== null) return simple;
  if (native.has("pow")) return build.binary("pow", x, y);
  const base = literal(x);
  const logarithm = base !== null && base > 0 ? d(Math.log2(base)) : doubleLog2(x);
  const size = exp2Of(native, build.mul(build.cast(y, "f64"), logarithm));
  if (base !== null && base > 0 && base !== 1) return size;
  const whole = build.eq(trunc(native, y), y);
  const half = build.mul(y, f(0.5));
  const odd = build.and(whole, build.ne(trunc(native, half), half));
  const negative = build.lt(build.bitcast(x, "i32"), i(0));
  const signed = build.select(build.and(negative, odd), build.unary("neg", size), size);
  const realBase = build.or(build.le(f(0), x), build.eq(x, f(-Infinity)));
  const defined = build.or(build.or(realBase, whole), build.ne(x, x));
  const one = build.or(build.eq(y, f(0)), build.eq(x, f(1)));
  const minusOne = build.and(build.eq(x, f(-1)), build.eq(build.unary("abs", y), f(Infinity)));
  return build.select(build.or(one, minusOne), f(1), build.select(defined, signed, f(NaN)));
}

function literal(x: Expr): number | null {
  return x.op === "const" && x.type === "f32" ? Number((x as Expr<"const">).attr.value) : null;
}

/** Powers that are a few products, a root, or a reciprocal of those; null for others. */
function literalPower(x: Expr, exponent: number): Expr | null {
  const size = Math.abs(exponent);
  if (size === 0.5) {
    // pow(-0, 0.5) is +0 and pow(-∞, 0.5) is +∞, which are not the square roots.
    const root = build.add(build.unary("sqrt", x), f(0));
    const power = build.select(build.eq(x, f(-Infinity)), f(Infinity), root);
    return exponent > 0 ? power : build.div(f(1), power);
  }
  if (!Number.isInteger(exponent) || size > largestUnrolled) return null;
  const power = product(x, size);
  return exponent >= 0 ? power : build.div(f(1), power);
}

function product(x: Expr, count: number): Expr {
  if (count === 0) return f(1);
  if (count === 1) return x;
  const half = product(x, count >> 1);
  const even = build.mul(half, half);
  return count % 2 === 0 ? even : build.mul(even, x);
}

const wideBits = (x: Expr): Expr => build.bitcast(x, "i64");

/**
 * log2 |x| in double precision, to 2^-36: the exponent's bits and 2·atanh(f/(2+f)) of the rest;
 * -∞ at 0, ∞ at ∞.
 */
function doubleLog2(x: Expr): Expr {
  const size = build.unary("abs", x);
  const pattern = wideBits(build.cast(size, "f64"));
  // Every f32, subnormal or not, is a normal double.
  const offset = build.sub(pattern, build.constant(0x3fe5555555555555n, "i64"));
  const exponent = build.cast(build.binary("shr", offset, build.int(52)), "i32");
  const shifted = build.binary("shl", build.cast(exponent, "i64"), build.int(52));
  const m = build.bitcast(build.sub(pattern, shifted), "f64");
  const s = build.div(build.sub(m, d(1)), build.add(m, d(1)));
  const z = build.mul(s, s);
  const series = [1, 1 / 3, 1 / 5, 1 / 7, 1 / 9, 1 / 11, 1 / 13]
    .map(d)
    .reduceRight((acc, term) => build.add(build.mul(acc, z), term));
  const fraction = build.mul(build.mul(s, series), d(2 * Math.LOG2E));
  const finite = build.add(build.cast(exponent, "f64"), fraction);
  const special = build.select(build.eq(size, f(0)), d(-Infinity), build.cast(size, "f64"));
  const normal = build.and(build.lt(f(0), size), build.lt(size, f(Infinity)));
  return build.select(normal, finite, special);
}

/** 2^p rounded to f32, of a double p. */
function exp2Of(native: Native, p: Expr): Expr {
  const raised = build.select(build.lt(p, d(-200)), d(-200), p);
  const y = build.select(build.lt(d(200), raised), d(200), raised);
  const magic = d(6755399441055744);
  const shifted = build.add(y, magic);
  const rest = build.cast(build.sub(y, build.sub(shifted, magic)), "f32");
  const n = build.cast(wideBits(shifted), "i32");
  // In doubles 2^n cannot over- or underflow, and the product is rounded once.
  const biased = build.cast(build.add(n, i(1023)), "i64");
  const power = build.bitcast(build.binary("shl", biased, build.int(52)), "f64");
  const fraction = build.cast(exp2Fraction(native, rest), "f64");
  return build.cast(build.mul(fraction, power), "f32");
}

/**
 * C's fmodf: the remainder with the sign of the dividend, exact while the quotient is below 2^52;
 * beyond, 0 of the right sign.
 */
export function mod(native: Native, x: Expr, y: Expr): Expr {
  if (native.has("mod")) return build.binary("mod", x, y);
  const a = build.cast(build.unary("abs", x), "f64");
  const b = build.cast(build.unary("abs", y), "f64");
  // Truncated by a cast, which saturates: such quotients end as 0 below.
  const quotient = build.cast(build.cast(build.div(a, b), "i64"), "f64");
  // The quotient may be one too large where the division rounded up.
  const remainder = build.fma(build.unary("neg", quotient), b, a);
  const lifted = build.select(build.lt(remainder, d(0)), build.add(remainder, b), remainder);
  const inside = build.and(build.le(d(0), lifted), build.lt(lifted, b));
  const size = build.cast(build.select(inside, lifted, d(0)), "f32");
  const bounded = build.select(build.lt(a, b), build.unary("abs", x), size);
  const negative = build.lt(build.bitcast(x, "i32"), i(0));
  const signed = build.select(negative, build.unary("neg", bounded), bounded);
  const defined = build.and(build.lt(a, d(Infinity)), build.lt(d(0), b));
  return build.select(build.and(defined, build.eq(y, y)), signed, f(NaN));
}
