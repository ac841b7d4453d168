/**
 * Functions of numbers that Math lacks. A scalar function may call them, and each becomes one
 * operation of the expression tree.
 */
import { roundEven } from "./round.js";

const splitter = 2 ** 27 + 1;

/** a·b = high + low exactly (Dekker 1971); for operands whose product neither over- nor underflows. */
function twoProduct(a: number, b: number): readonly [number, number] {
  const high = a * b;
  const p = a * splitter;
  const aHigh = p - (p - a);
  const aLow = a - aHigh;
  const q = b * splitter;
  const bHigh = q - (q - b);
  const bLow = b - bHigh;
  return [high, aHigh * bHigh - high + aHigh * bLow + aLow * bHigh + aLow * bLow];
}

/** a + b = high + low exactly (Knuth). */
function twoSum(a: number, b: number): readonly [number, number] {
  const high = a + b;
  const virtual = high - a;
  return [high, a - (high - virtual) + (b - virtual)];
}

const scratch = new DataView(new ArrayBuffer(8));

/** a + b rounded to odd: towards whichever neighbour has an odd significand, if not exact. */
export function addToOdd(a: number, b: number): number {
  const [sum, error] = twoSum(a, b);
  if (error === 0 || !Number.isFinite(sum)) return sum;
  scratch.setFloat64(0, sum);
  const pattern = scratch.getBigUint64(0);
  if ((pattern & 1n) === 1n) return sum;
  scratch.setBigUint64(0, error > 0 === sum > 0 ? pattern + 1n : pattern - 1n);
  return scratch.getFloat64(0);
}

const inRange = (x: number): boolean =>
  x === 0 || (Math.abs(x) > 2 ** -400 && Math.abs(x) < 2 ** 400);

/**
 * a·b + c rounded once, as IEEE 754 fusedMultiplyAdd (Boldo and Melquiond, "Emulation of a FMA and
 * correctly rounded sums", IEEE TC 2008); through exact integers near the ends of the range.
 */
export function fma(a: number, b: number, c: number): number {
  if (!Number.isFinite(a) || !Number.isFinite(b) || !Number.isFinite(c)) return a * b + c;
  if (a === 0 || b === 0) return a * b + c;
  if (!inRange(a) || !inRange(b) || !inRange(c)) return exactFma(a, b, c);
  const [productHigh, productLow] = twoProduct(a, b);
  const [tailHigh, tailLow] = twoSum(c, productLow);
  const [high, low] = twoSum(productHigh, tailHigh);
  return high + addToOdd(tailLow, low);
}

/** A finite double as significand · 2^exponent. */
function parts(x: number): { significand: bigint; exponent: number } {
  scratch.setFloat64(0, x);
  const pattern = scratch.getBigUint64(0);
  const field = Number((pattern >> 52n) & 0x7ffn);
  const fraction = pattern & ((1n << 52n) - 1n);
  const significand = field === 0 ? fraction : fraction | (1n << 52n);
  return { significand: x < 0 ? -significand : significand, exponent: Math.max(field, 1) - 1075 };
}

function exactFma(a: number, b: number, c: number): number {
  const [x, y, z] = [parts(a), parts(b), parts(c)];
  const exponent = Math.min(x.exponent + y.exponent, z.exponent);
  const product = (x.significand * y.significand) << BigInt(x.exponent + y.exponent - exponent);
  const total = product + (z.significand << BigInt(z.exponent - exponent));
  if (total === 0n) return 0;
  const size = total < 0n ? -total : total;
  // Keep 53 bits, or fewer where the result is subnormal, and a sticky bit below them.
  const drop = Math.max(size.toString(2).length - 53, -1074 - exponent, 0);
  const kept = size >> BigInt(drop);
  const rest = size - (kept << BigInt(drop));
  const half = drop === 0 ? 0n : 1n << BigInt(drop - 1);
  const up = drop > 0 && (rest > half || (rest === half && (kept & 1n) === 1n));
  const magnitude = scaled(Number(up ? kept + 1n : kept), exponent + drop);
  return total < 0n ? -magnitude : magnitude;
}

/** x · 2^exponent where the result is exact or overflows, although 2^exponent may not be a double. */
function scaled(x: number, exponent: number): number {
  const step = Math.max(-1000, Math.min(1000, exponent));
  return step === exponent ? x * 2 ** step : scaled(x * 2 ** step, exponent - step);
}

/**
 * The error function, to about 2 units in the last place of a double. Below 1.75, Kummer's series
 * (Abramowitz and Stegun 7.1.6), whose terms are all positive; from there, 1 - erfc by its continued
 * fraction (7.1.14).
 */
export function erf(x: number): number {
  const size = Math.abs(x);
  if (Number.isNaN(x) || size === 0) return x;
  if (size >= 6) return Math.sign(x);
  // exp(-x²) needs x² to more bits than a double has.
  const [square, error] = twoProduct(size, size);
  const gauss = Math.exp(-square) * (1 - error);
  if (size >= 1.75) {
    let tail = size;
    for (let k = 80; k > 0; k--) tail = size + k / 2 / tail;
    return Math.sign(x) * (1 - gauss / (tail * Math.sqrt(Math.PI)));
  }
  let term = 1;
  let sum = 1;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * square) / (2 * n + 1);
    sum += term;
  }
  return x * (sum * gauss * (2 / Math.sqrt(Math.PI)));
}

/** The nearest integer, ties to even: ONNX's Round (Math.round takes ties up). */
export function round_half_even(x: number): number {
  return roundEven(x);
}
