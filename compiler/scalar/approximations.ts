/**
 * f32 functions from operations that every target has: branch-free (`select`), so that GCC
 * vectorises them and a GPU does not diverge. Polynomials were fitted for the least largest error
 * weighted as it enters the result, their coefficients rounded to f32 one after another; the bounds
 * that the tests hold are in units of the last place of the f32 result.
 *
 * NaN goes through by arithmetic: no `min`, `max` or comparison here turns it into a number.
 */
import * as build from "./build.js";
import type { Expr } from "./expr.js";

/** Operations that the target's printer has at sufficient accuracy, beyond the ones always there. */
export type Native = ReadonlySet<string>;

export const f = (value: number): Expr => build.constant(Math.fround(value), "f32");
export const i = (value: number): Expr => build.constant(value, "i32");
export const d = (value: number): Expr => build.constant(value, "f64");

/** a·b + c: fused where the target fuses in hardware, since software fma is slow. */
export function mad(native: Native, a: Expr, b: Expr, c: Expr): Expr {
  return native.has("fma") ? build.fma(a, b, c) : build.add(build.mul(a, b), c);
}

/** Horner's rule; `coefficients` from the constant up. */
export function polynomial(native: Native, x: Expr, coefficients: readonly number[]): Expr {
  return coefficients.map(f).reduceRight((acc, coefficient) => mad(native, acc, x, coefficient));
}

const bits = (x: Expr): Expr => build.bitcast(x, "i32");
const value = (x: Expr): Expr => build.bitcast(x, "f32");
const clamp = (x: Expr, low: number, high: number): Expr => {
  const raised = build.select(build.lt(x, f(low)), f(low), x);
  return build.select(build.lt(f(high), raised), f(high), raised);
};

/** 1.5 · 2^23: adding it rounds a small float to an integer, which is then its low bits. */
const magic = 12582912;
const magicBits = 0x4b400000;

/** x · 2^n, in two steps, since 2^n itself may over- or underflow: -252 <= n <= 254. */
function scale(x: Expr, n: Expr): Expr {
  const half = build.binary("shr", n, i(1));
  const power = (e: Expr): Expr => value(build.binary("shl", build.add(e, i(127)), i(23)));
  return build.mul(build.mul(x, power(half)), power(build.sub(n, half)));
}

/**
 * e^x = 2^n · e^r with |r| <= ln 2 / 2 (Cody and Waite 1980: ln 2 in two parts, the first of 9
 * bits, so that n·ln 2 loses nothing even unfused). At most 1.5 ulp.
 */
export function exp(native: Native, x: Expr): Expr {
  if (native.has("exp")) return build.unary("exp", x);
  const y = clamp(x, -104, 89);
  const shifted = mad(native, y, f(Math.LOG2E), f(magic));
  const n = build.sub(shifted, f(magic));
  const high = mad(native, n, f(-0.693359375), y);
  const r = mad(native, n, f(2.1219444005469057e-4), high);
  const tail = polynomial(native, r, expTail);
  const p = build.add(mad(native, build.mul(r, r), tail, r), f(1));
  return scale(p, build.sub(bits(shifted), i(magicBits)));
}

/** (e^r - 1 - r) / r² for |r| <= ln 2 / 2, to 2^-28 of e^r. */
const expTail = [0.5, 0.166665182, 0.0416664146, 0.00836899411, 0.00139397592];

/** 2^x. At most 1.5 ulp. */
export function exp2(native: Native, x: Expr): Expr {
  if (native.has("exp2")) return build.unary("exp2", x);
  const y = clamp(x, -151, 129);
  const shifted = build.add(y, f(magic));
  const r = build.sub(y, build.sub(shifted, f(magic)));
  return scale(exp2Fraction(native, r), build.sub(bits(shifted), i(magicBits)));
}

/** 2^r for |r| <= 1/2. */
export function exp2Fraction(native: Native, r: Expr): Expr {
  return build.add(build.mul(r, polynomial(native, r, exp2Tail)), f(1));
}

/** (2^r - 1) / r for |r| <= 1/2, to 2^-28 of 2^r. */
const exp2Tail = [
  0.693147182, 0.240226507, 0.0555035882, 0.00961806159, 0.00133914186, 0.000154633017,
];

/** x = 2^k · m with 2/3 <= m < 4/3 for positive finite x; subnormals are scaled first. */
function splitExponent(x: Expr): { readonly k: Expr; readonly m: Expr } {
  const small = build.lt(x, f(2 ** -126));
  const pattern = bits(build.select(small, build.mul(x, f(2 ** 23)), x));
  const exponent = build.binary("shr", build.sub(pattern, i(0x3f2aaaab)), i(23));
  const m = value(build.sub(pattern, build.binary("shl", exponent, i(23))));
  const k = build.add(build.cast(exponent, "f32"), build.select(small, f(-23), f(0)));
  return { k, m };
}

/** log(1 + f) - f for -1/3 <= f <= 1/3. */
function log1pTail(native: Native, x: Expr): Expr {
  const square = build.mul(x, x);
  const cubic = build.mul(x, polynomial(native, x, logTail));
  return build.mul(square, build.add(cubic, f(-0.5)));
}

/** (log(1 + f) - f + f²/2) / f³ for |f| <= 1/3, to 2^-27 of log(1 + f). */
const logTail = [
  0.333332151, -0.249998033, 0.200104386, -0.166802958, 0.140054464, -0.121863686, 0.139862776,
  -0.128841534,
];

/** `finite` for positive finite x, and what log has elsewhere. */
function logCases(x: Expr, finite: Expr): Expr {
  const positive = build.select(build.lt(x, f(Infinity)), finite, f(Infinity));
  const rest = build.select(build.eq(x, f(0)), f(-Infinity), f(NaN));
  return build.select(build.lt(f(0), x), positive, rest);
}

/** Natural logarithm. At most 2 ulp. */
export function log(native: Native, x: Expr): Expr {
  if (native.has("log")) return build.unary("log", x);
  const { k, m } = splitExponent(x);
  const fraction = build.sub(m, f(1));
  // ln 2 in two parts, small ones first: k times the first is exact.
  const low = mad(native, k, f(-2.1219444005469057e-4), log1pTail(native, fraction));
  return logCases(x, mad(native, k, f(0.693359375), build.add(low, fraction)));
}

/** Logarithm to base 2. At most 2.5 ulp. */
export function log2(native: Native, x: Expr): Expr {
  if (native.has("log2")) return build.unary("log2", x);
  const { k, m } = splitExponent(x);
  const fraction = build.sub(m, f(1));
  const tail = log1pTail(native, fraction);
  // log2(e) is 1.4427 = 1 + 0.4427: one times the fraction is exact.
  const rest = mad(native, fraction, f(Math.LOG2E - 1), build.mul(tail, f(Math.LOG2E)));
  return logCases(x, build.add(k, build.add(fraction, rest)));
}

/**
 * Below 0.625 an odd polynomial; above it 1 - 2 / (e^2|x| + 1), where nothing cancels. At most 3 ulp.
 */
export function tanh(native: Native, x: Expr): Expr {
  if (native.has("tanh")) return build.unary("tanh", x);
  const size = build.unary("abs", x);
  const z = build.mul(x, x);
  const near = mad(native, build.mul(x, z), polynomial(native, z, tanhTail), x);
  const e = exp(native, build.add(size, size));
  const far = build.sub(f(1), build.div(f(2), build.add(e, f(1))));
  const signed = build.select(build.lt(x, f(0)), build.unary("neg", far), far);
  return build.select(build.lt(size, f(0.625)), near, signed);
}

/** (tanh(x)/x - 1) / z with z = x² for |x| <= 0.625, to 2^-27 of tanh(x). */
const tanhTail = [-0.333332807, 0.133314058, -0.0537365153, 0.0206281673, -0.00569229666];

/** 2 / (1 + e^-2u): 1 + tanh(u) without the cancellation where u is negative. */
export function onePlusTanh(u: Expr): Expr {
  return build.div(f(2), build.add(f(1), build.unary("exp", build.mul(f(-2), u))));
}

/**
 * Below 0.92 an odd polynomial; above it 1 - e^-g(|x|) with g = -log erfc a polynomial, which grows
 * outside the interval of its fit, so that erf becomes exactly ±1. At most 3 ulp.
 */
export function erf(native: Native, x: Expr): Expr {
  if (native.has("erf")) return build.unary("erf", x);
  const far = build.sub(f(1), erfcTail(native, x));
  const signed = build.select(build.lt(x, f(0)), build.unary("neg", far), far);
  return build.select(build.lt(build.unary("abs", x), f(erfSplit)), erfNear(native, x), signed);
}

const erfSplit = 0.925;

function erfNear(native: Native, x: Expr): Expr {
  return mad(native, x, polynomial(native, build.mul(x, x), erfTail), x);
}

/** erf(x)/x - 1 in x² for |x| <= 0.93, to 2^-30 of erf(x). */
const erfTail = [
  0.128379166, -0.376126289, 0.112836257, -0.0268557314, 0.00519240508, -0.000804976968,
  7.99664995e-5,
];

/** erfc(|x|) for |x| > 0.92. */
function erfcTail(native: Native, x: Expr): Expr {
  const t = build.unary("abs", x);
  const g = mad(native, t, polynomial(native, t, erfcLog), t);
  return exp(native, build.unary("neg", g));
}

/** -log(erfc(t))/t - 1 for 0.92 <= t <= 4.05, to 2^-25 of erf(t). */
const erfcLog = [
  0.128638178, 0.63511759, 0.10641066, -0.0240022466, 0.00379173667, -0.000366396416, 1.60924083e-5,
];

/** 1 + erf(u), which below -0.92 is erfc(-u) itself: nothing cancels down to u = -4. */
export function onePlusErf(native: Native, u: Expr): Expr {
  const tail = erfcTail(native, u);
  const outer = build.select(build.lt(u, f(0)), tail, build.sub(f(2), tail));
  const inner = build.add(f(1), erfNear(native, u));
  return build.select(build.lt(build.unary("abs", u), f(erfSplit)), inner, outer);
}

/** π/2 in two parts: n times the first, of 25 bits, is exact up to n = 2^28 (fdlibm). */
const halfPi = [1.5707963109016418, 1.5893254773528196e-8] as const;
const doubleMagic = 6755399441055744;

/** x = n·π/2 + r, |r| <= π/4, reduced in double precision; n's low bits as i32. */
function reduceAngle(x: Expr): { readonly r: Expr; readonly quadrant: Expr } {
  const wide = build.cast(x, "f64");
  const shifted = build.add(build.mul(wide, d(2 / Math.PI)), d(doubleMagic));
  const n = build.sub(shifted, d(doubleMagic));
  const first = build.sub(wide, build.mul(n, d(halfPi[0])));
  const r = build.cast(build.sub(first, build.mul(n, d(halfPi[1]))), "f32");
  // Beyond 2^28 the reduction means nothing, but its sine stays a sine.
  return {
    r: clamp(r, -0.7854, 0.7854),
    quadrant: build.cast(build.bitcast(shifted, "i64"), "i32"),
  };
}

function sinCos(native: Native, x: Expr, turn: number): Expr {
  const { r, quadrant } = reduceAngle(x);
  const z = build.mul(r, r);
  const sine = mad(native, build.mul(r, z), polynomial(native, z, sinTail), r);
  const square = build.mul(z, polynomial(native, z, cosTail));
  const cosine = build.add(mad(native, square, z, build.mul(z, f(-0.5))), f(1));
  const q = build.add(quadrant, i(turn));
  const odd = build.ne(build.binary("and", q, i(1)), i(0));
  const size = build.select(odd, cosine, sine);
  return build.select(build.ne(build.binary("and", q, i(2)), i(0)), build.unary("neg", size), size);
}

/** (sin(r)/r - 1)/r² and (cos(r) - 1 + r²/2)/r⁴ in r² for |r| <= π/4, to 2^-32. */
const sinTail = [-0.166666672, 0.00833338033, -0.000198534704, 2.83668373e-6];
const cosTail = [0.0416666456, -0.00138873013, 2.44306684e-5];

/** Sine and cosine: at most 2 ulp for |x| <= 2^28, bounded by 1 beyond. */
export const sin = (native: Native, x: Expr): Expr =>
  native.has("sin") ? build.unary("sin", x) : sinCos(native, x, 0);
export const cos = (native: Native, x: Expr): Expr =>
  native.has("cos") ? build.unary("cos", x) : sinCos(native, x, 1);
