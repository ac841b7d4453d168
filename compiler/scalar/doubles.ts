/**
 * f64 functions for targets without libm, from operations that every target has: a few ulp, `pow`
 * within 2^-40 where the result is near the ends of the range.
 */
import { d, type Native } from "./approximations.js";
import * as build from "./build.js";
import type { Expr } from "./expr.js";

const bits = (x: Expr): Expr => build.bitcast(x, "i64");
const value = (x: Expr): Expr => build.bitcast(x, "f64");
const long = (x: number | bigint): Expr => build.constant(x, "i64");
const fma = (a: Expr, b: Expr, c: Expr): Expr => build.fma(a, b, c);

const horner = (x: Expr, coefficients: readonly number[]): Expr =>
  coefficients.map(d).reduceRight((acc, coefficient) => fma(acc, x, coefficient));

/** ln 2 in two parts: the first has 21 zero bits at its end, so that n times it is exact. */
const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;

/** x · 2^n in two steps, since 2^n itself may over- or underflow. */
function scale(x: Expr, n: Expr): Expr {
  const power = (e: Expr): Expr =>
    value(build.binary("shl", build.add(e, long(1023)), build.int(52)));
  const half = build.binary("shr", n, build.int(1));
  return build.mul(build.mul(x, power(half)), power(build.sub(n, half)));
}

const factorials = Array.from({ length: 14 }, (_, n) => {
  let product = 1;
  for (let i = 2; i <= n; i++) product *= i;
  return 1 / product;
});

/** NaN goes through: a select leaves what compares false. */
function clamped(x: Expr, low: number, high: number): Expr {
  const raised = build.select(build.lt(x, d(low)), d(low), x);
  return build.select(build.lt(d(high), raised), d(high), raised);
}

/** e^x = 2^n · e^r with |r| <= ln 2 / 2, by Taylor's series. */
export function exp(x: Expr): Expr {
  const y = clamped(x, -746, 710);
  const n = build.unary("round", build.mul(y, d(Math.LOG2E)));
  const r = fma(n, d(-ln2Low), fma(n, d(-ln2High), y));
  return scale(horner(r, factorials), build.cast(n, "i64"));
}

/** Reciprocals of odd numbers: of atanh's series. */
const odd = Array.from({ length: 12 }, (_, k) => 1 / (2 * k + 1));

/** x = 2^n · m with m in [2/3, 4/3): ln x = n · ln 2 + 2 · atanh((m - 1) / (m + 1)). */
export function log(x: Expr): Expr {
  const tiny = build.lt(x, d(2 ** -1022));
  const normal = build.select(tiny, build.mul(x, d(2 ** 54)), x);
  const pattern = bits(normal);
  const offset = build.sub(pattern, long(0x3fe5555555555555n));
  const n = build.binary("shr", offset, build.int(52));
  const m = value(build.sub(pattern, build.binary("shl", n, build.int(52))));
  const s = build.div(build.sub(m, d(1)), build.add(m, d(1)));
  const z = build.mul(s, s);
  const count = build.sub(build.cast(n, "f64"), build.select(tiny, d(54), d(0)));
  const low = fma(build.mul(s, d(2)), horner(z, odd), build.mul(count, d(ln2Low)));
  const finite = fma(count, d(ln2High), low);
  const special = build.select(
    build.eq(x, d(0)),
    d(-Infinity),
    build.select(build.lt(x, d(0)), d(NaN), x),
  );
  const inside = build.and(build.lt(d(0), x), build.lt(x, d(Infinity)));
  return build.select(inside, finite, special);
}

const exp2 = (x: Expr): Expr => exp(build.mul(x, d(Math.LN2)));
const log2 = (x: Expr): Expr => build.mul(log(x), d(Math.LOG2E));

/** By (e^2x - 1) / (e^2x + 1) of |x|; x itself where that would cancel. */
function tanh(x: Expr): Expr {
  const size = build.unary("abs", x);
  const e = exp(build.mul(size, d(2)));
  const large = build.sub(d(1), build.div(d(2), build.add(e, d(1))));
  const z = build.mul(size, size);
  const series = [1, -1 / 3, 2 / 15, -17 / 315, 62 / 2835, -1382 / 155925, 21844 / 6081075];
  const small = build.mul(size, horner(z, series));
  const positive = build.select(build.lt(size, d(0.05)), small, large);
  return build.select(build.lt(x, d(0)), build.unary("neg", positive), positive);
}

/** As C's pow. */
function pow(x: Expr, y: Expr): Expr {
  const size = exp(build.mul(y, log(build.unary("abs", x))));
  const whole = build.eq(build.unary("trunc", y), y);
  const half = build.mul(y, d(0.5));
  const isOdd = build.and(whole, build.ne(build.unary("trunc", half), half));
  const negative = build.lt(bits(x), long(0));
  const signed = build.select(build.and(negative, isOdd), build.unary("neg", size), size);
  const real = build.or(build.le(d(0), x), build.eq(x, d(-Infinity)));
  const defined = build.or(build.or(real, whole), build.ne(x, x));
  const one = build.or(build.eq(y, d(0)), build.eq(x, d(1)));
  const minusOne = build.and(build.eq(x, d(-1)), build.eq(build.unary("abs", y), d(Infinity)));
  const power = build.select(build.or(one, minusOne), d(1), build.select(defined, signed, d(NaN)));
  // Small whole numbers come out whole: a power of integers is one.
  const nearest = build.unary("round", power);
  const near = build.lt(build.unary("abs", build.sub(power, nearest)), d(2 ** -20));
  const integers = build.and(whole, build.eq(build.unary("trunc", x), x));
  const small = build.lt(build.unary("abs", power), d(2 ** 32));
  return build.select(build.and(build.and(integers, near), small), nearest, power);
}

const functions: Readonly<Record<string, (...args: Expr[]) => Expr>> = {
  exp,
  exp2,
  log,
  log2,
  tanh,
  pow,
};

/** What becomes of an f64 operation; null where the target has it, or nobody has written it down. */
export function expandDouble(native: Native, node: Expr): Expr | null {
  if (native.has(`${node.op}.f64`)) return null;
  return functions[node.op]?.(...node.args) ?? null;
}
