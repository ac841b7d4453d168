/**
 * Conversions between number formats, bit for bit: what every `cast` of the evaluator, of folding
 * and of the tests does. A value is a number (floats, integers that are safe, booleans as 0 and 1)
 * or a bigint (64-bit integers beyond 2^53).
 */
import { dtypes, type DType } from "../ir/dtype.js";

export type Value = number | bigint;

/** How a conversion treats what the format cannot hold. Defaults are those of ONNX's Cast. */
export interface RoundOptions {
  /** 8-bit and 4-bit floats: the largest finite value instead of infinity or NaN. Default true. */
  readonly saturate?: boolean;
  /** `e8m0` only: to the next power of two up, down, or the nearest (ties up). Default "up". */
  readonly e8m0?: "up" | "down" | "nearest";
}

/** The floats of at most 16 bits: the ones that JavaScript has no array for. */
export type SmallFloat = "f16" | "bf16" | "e4m3fn" | "e4m3fnuz" | "e5m2" | "e5m2fnuz" | "e2m1";

export interface FloatFormat {
  readonly bits: number;
  readonly mantissa: number;
  readonly bias: number;
  /** Bits of the largest finite magnitude, of infinity and of NaN; null where there is none. */
  readonly largest: number;
  readonly infinity: number | null;
  readonly nan: number | null;
  /** "fnuz" formats: the pattern of -0 is NaN, and zero has no sign. */
  readonly unsignedZero: boolean;
}

const formats: { readonly [F in SmallFloat]: FloatFormat } = {
  f16: format(16, 10, 15, 0x7bff, 0x7c00, 0x7e00),
  bf16: format(16, 7, 127, 0x7f7f, 0x7f80, 0x7fc0),
  e4m3fn: format(8, 3, 7, 0x7e, null, 0x7f),
  e4m3fnuz: { ...format(8, 3, 8, 0x7f, null, 0x80), unsignedZero: true },
  e5m2: format(8, 2, 15, 0x7b, 0x7c, 0x7f),
  e5m2fnuz: { ...format(8, 2, 16, 0x7f, null, 0x80), unsignedZero: true },
  e2m1: format(4, 1, 1, 0x7, null, null),
};

function format(
  bits: number,
  mantissa: number,
  bias: number,
  largest: number,
  infinity: number | null,
  nan: number | null,
): FloatFormat {
  return { bits, mantissa, bias, largest, infinity, nan, unsignedZero: false };
}

/** The bits of a float type of at most 16 bits, other than e8m0. */
export const formatOf = (dtype: DType): FloatFormat => formats[dtype as SmallFloat];

export const isSmallFloat = (dtype: DType): dtype is SmallFloat => dtype in formats;

const scratch = new DataView(new ArrayBuffer(8));

/** floor(log2 |x|) of a finite nonzero number; subnormal doubles give -1023. */
function exponentOf(x: number): number {
  scratch.setFloat64(0, x);
  return ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023;
}

/** The nearest integer, ties to even; the sign of zero is kept. */
export function roundEven(x: number): number {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

/** Bits of `value` rounded to nearest even. e2m1 has no NaN: NaN becomes its largest value. */
export function encodeFloat(value: number, dtype: SmallFloat, saturate = true): number {
  const { bits, mantissa, bias, largest, infinity, nan, unsignedZero } = formats[dtype];
  if (Number.isNaN(value)) return nan ?? largest;
  const negative = value < 0 || Object.is(value, -0);
  const sign = negative ? 1 << (bits - 1) : 0;
  const size = Math.abs(value);
  const clips = dtype !== "f16" && dtype !== "bf16" && (saturate || (infinity ?? nan) === null);
  // An "nuz" format's NaN has its sign bit set already, so no sign is added to it.
  const overflow = clips ? sign | largest : infinity === null ? sign | (nan ?? 0) : sign | infinity;
  if (size === Infinity) return overflow;
  if (size === 0) return unsignedZero ? 0 : sign;
  const exponent = Math.max(exponentOf(size), 1 - bias);
  const quotient = roundEven(size * 2 ** (mantissa - exponent));
  const magnitude = ((exponent + bias - 1) << mantissa) + quotient;
  if (magnitude > largest) return overflow;
  return magnitude === 0 && unsignedZero ? 0 : sign | magnitude;
}

/** The value of a bit pattern. */
export function decodeFloat(pattern: number, dtype: SmallFloat): number {
  const { bits, mantissa, bias, largest, infinity, unsignedZero } = formats[dtype];
  const signBit = 1 << (bits - 1);
  if (unsignedZero && pattern === signBit) return NaN;
  const magnitude = pattern & (signBit - 1);
  const sign = (pattern & signBit) === 0 ? 1 : -1;
  if (magnitude === infinity) return sign * Infinity;
  if (magnitude > largest) return NaN;
  const exponent = Math.max(magnitude >> mantissa, 1);
  const hidden = magnitude >> mantissa === 0 ? 0 : 1 << mantissa;
  const significand = hidden + (magnitude & ((1 << mantissa) - 1));
  return sign * significand * 2 ** (exponent - bias - mantissa);
}

/** Bits of `value` as a power of two. Negative values have none (NaN); zero is too small. */
export function encodeE8m0(value: number, options: RoundOptions = {}): number {
  const { saturate = true, e8m0 = "up" } = options;
  if (Number.isNaN(value) || value < 0) return 0xff;
  if (value === Infinity) return saturate ? 0xfe : 0xff;
  if (value < 2 ** -127) return saturate || (value > 0 && e8m0 !== "down") ? 0 : 0xff;
  const exponent = exponentOf(value);
  const fraction = value * 2 ** -exponent;
  const rounds = e8m0 === "up" ? fraction > 1 : e8m0 === "nearest" && fraction >= 1.5;
  const bits = exponent + 127 + (rounds ? 1 : 0);
  return bits > 0xfe ? (saturate ? 0xfe : 0xff) : bits;
}

export const decodeE8m0 = (bits: number): number => (bits === 0xff ? NaN : 2 ** (bits - 127));

const tables = new Map<SmallFloat, Float64Array>();

/** Values of every pattern of a format: decoding an array is a look-up. */
export function decodeTable(dtype: SmallFloat): Float64Array {
  let table = tables.get(dtype);
  if (table === undefined) {
    table = Float64Array.from({ length: 1 << formats[dtype].bits }, (_, i) =>
      decodeFloat(i, dtype),
    );
    tables.set(dtype, table);
  }
  return table;
}

/** `value` rounded once to a float type; still a number. */
export function roundFloat(value: number, dtype: DType, options: RoundOptions = {}): number {
  if (dtype === "f64") return value;
  if (dtype === "f32") return Math.fround(value);
  if (dtype === "e8m0") return decodeE8m0(encodeE8m0(value, options));
  if (isSmallFloat(dtype)) return decodeFloat(encodeFloat(value, dtype, options.saturate), dtype);
  return value;
}

const two63 = 2n ** 63n;

/** The number itself while it is safe, so that equal integers are `===`. */
export function canonical(value: Value): Value {
  if (typeof value === "number") return Object.is(value, -0) ? 0 : value;
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}

const ranges = Object.fromEntries(
  (Object.keys(dtypes) as DType[]).map((dtype) => {
    const { bits, kind } = dtypes[dtype];
    if (bits === 64) return [dtype, kind === "int" ? [-two63, two63 - 1n] : [0, 2n * two63 - 1n]];
    return [dtype, kind === "int" ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]];
  }),
) as { readonly [D in DType]: readonly [Value, Value] };

/** Smallest and largest value of an integer type. */
export const limits = (dtype: DType): readonly [Value, Value] => ranges[dtype];

/** An integer reduced to the bits of `dtype`, two's complement. */
export function wrapInteger(value: Value, dtype: DType): Value {
  const { bits, kind } = dtypes[dtype];
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    const [least, most] = ranges[dtype];
    if (value >= least && value <= most) return value === 0 ? 0 : value;
    if (bits <= 32)
      return kind === "int"
        ? (value << (32 - bits)) >> (32 - bits)
        : (value << (32 - bits)) >>> (32 - bits);
  }
  const exact = BigInt(value);
  return canonical(kind === "int" ? BigInt.asIntN(bits, exact) : BigInt.asUintN(bits, exact));
}

/** A float to an integer: truncated, saturated, NaN to zero. */
export function truncateTo(value: number, dtype: DType): Value {
  if (Number.isNaN(value)) return 0;
  const [least, most] = limits(dtype);
  if (value <= least) return least;
  if (value >= most) return most;
  const whole = Math.trunc(value);
  return Number.isSafeInteger(whole) ? canonical(whole) : BigInt(whole);
}

/**
 * A 64-bit integer as a double rounded to odd, so that rounding it again to at most 51 bits equals
 * rounding the integer once (Boldo and Melquiond, "When double rounding is odd", 2005).
 */
function toOddDouble(value: bigint): number {
  const nearest = Number(value);
  const error = value - BigInt(nearest);
  if (error === 0n) return nearest;
  scratch.setFloat64(0, nearest);
  const pattern = scratch.getBigUint64(0);
  if ((pattern & 1n) === 1n) return nearest;
  const outwards = error > 0n === nearest > 0;
  scratch.setBigUint64(0, outwards ? pattern + 1n : pattern - 1n);
  return scratch.getFloat64(0);
}

/** `value` of type `from` converted to `to`: the semantics of every cast in farrier. */
export function castValue(value: Value, from: DType, to: DType, options: RoundOptions = {}): Value {
  const source = dtypes[from].kind;
  const target = dtypes[to].kind;
  if (target === "bool") return Number(value) === 0 ? 0 : 1;
  if (target === "float") {
    if (typeof value === "number") return roundFloat(value, to, options);
    return to === "f64" ? Number(value) : roundFloat(toOddDouble(value), to, options);
  }
  return source === "float" ? truncateTo(Number(value), to) : wrapInteger(value, to);
}
