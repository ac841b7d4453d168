/** Element types as JavaScript sees them: DLPack's codes, typed arrays, 16-bit floats. */
import { badInput } from "./errors.js";

export type Elements =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

type Construct = new (buffer: ArrayBufferLike, offset: number, length: number) => Elements;

export interface ElementType {
  /** DLPack's code and bits. */
  readonly dl: readonly [number, number];
  /** The view of a tensor's `data`. 16-bit floats are bits; sub-byte and 8-bit floats are bytes. */
  readonly view: Construct;
  readonly bytesPerView: number;
  readonly kind: "bool" | "int" | "float" | "opaque";
  readonly range?: readonly [bigint, bigint];
}

const int = (bits: number, view: Construct): ElementType => ({
  dl: [0, bits],
  view,
  bytesPerView: bits / 8,
  kind: "int",
  range: [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n],
});
const uint = (bits: number, view: Construct): ElementType => ({
  dl: [1, bits],
  view,
  bytesPerView: bits / 8,
  kind: "int",
  range: [0n, 2n ** BigInt(bits) - 1n],
});
const float = (code: number, bits: number, view: Construct): ElementType => ({
  dl: [code, bits],
  view,
  bytesPerView: bits / 8,
  kind: "float",
});
const opaque = (code: number, bits: number): ElementType => ({
  dl: [code, bits],
  view: Uint8Array,
  bytesPerView: 1,
  kind: "opaque",
});

export const elementTypes: Readonly<Record<string, ElementType>> = {
  bool: { dl: [6, 8], view: Uint8Array, bytesPerView: 1, kind: "bool" },
  i2: opaque(0, 2),
  i4: opaque(0, 4),
  i8: int(8, Int8Array),
  i16: int(16, Int16Array),
  i32: int(32, Int32Array),
  i64: int(64, BigInt64Array),
  u2: opaque(1, 2),
  u4: opaque(1, 4),
  u8: uint(8, Uint8Array),
  u16: uint(16, Uint16Array),
  u32: uint(32, Uint32Array),
  u64: uint(64, BigUint64Array),
  f16: float(2, 16, Uint16Array),
  bf16: float(4, 16, Uint16Array),
  f32: float(2, 32, Float32Array),
  f64: float(2, 64, Float64Array),
  e4m3fn: opaque(10, 8),
  e4m3fnuz: opaque(11, 8),
  e5m2: opaque(12, 8),
  e5m2fnuz: opaque(13, 8),
  e8m0: opaque(14, 8),
  e2m1: opaque(17, 4),
};

export function elementType(dtype: string): ElementType {
  const found = elementTypes[dtype];
  if (found === undefined) throw badInput("E_RT_INPUT", `unknown dtype ${JSON.stringify(dtype)}`);
  return found;
}

export const elementCount = (shape: readonly number[]): number =>
  shape.reduce((product, dim) => product * dim, 1);

export function byteSize(dtype: string, shape: readonly number[]): number {
  return Math.ceil((elementCount(shape) * elementType(dtype).dl[1]) / 8);
}

/** The bytes as `dtype`'s view; copied only where the bytes are not aligned for it. */
export function viewOf(dtype: string, bytes: Uint8Array): Elements {
  const { view, bytesPerView } = elementType(dtype);
  const aligned = bytes.byteOffset % bytesPerView === 0 ? bytes : new Uint8Array(bytes);
  const length = Math.floor(aligned.byteLength / bytesPerView);
  return new view(aligned.buffer, aligned.byteOffset, length);
}

/** Memory for a result: not zeroed. */
export const allocate = (dtype: string, shape: readonly number[]): Elements => {
  const bytes = byteSize(dtype, shape);
  const memory = Buffer.allocUnsafeSlow(bytes);
  return viewOf(dtype, new Uint8Array(memory.buffer, memory.byteOffset, bytes));
};

const scratch = new DataView(new ArrayBuffer(8));

/** Rounds an f64 to nearest even with `mantissa` bits and exponents from `least`, saturating nothing. */
function bitsOf(value: number, mantissa: number, least: number, bias: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 1 : 0;
  const top = 2 * bias + 1;
  const pack = (exponent: number, fraction: number): number =>
    (((sign * (top + 1) + exponent) << mantissa) | fraction) >>> 0;
  if (Number.isNaN(value)) return pack(top, 1 << (mantissa - 1));
  const size = Math.abs(value);
  if (size === 0) return pack(0, 0);
  if (size === Infinity) return pack(top, 0);
  scratch.setFloat64(0, size);
  const exponent = Math.max(((scratch.getUint16(0) >> 4) & 0x7ff) - 1023, least);
  // Whole units in the last place: exact in f64, so that one rounding happens.
  const units = size / 2 ** (exponent - mantissa);
  const down = Math.floor(units);
  const rest = units - down;
  const whole = down + (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? 1 : 0);
  // `whole` holds the hidden bit; a carry out of it or into it is the next exponent.
  const packed = (exponent - least) * 2 ** mantissa + whole;
  return packed >= top * 2 ** mantissa ? pack(top, 0) : pack(0, 0) + packed;
}

export const f16Bits = (value: number): number => bitsOf(value, 10, -14, 15);
export const bf16Bits = (value: number): number => bitsOf(value, 7, -126, 127);

export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

export function bf16Value(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}
