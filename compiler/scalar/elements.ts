/** Typed buffers: packed little-endian bytes to values and back, for every dtype. */
import { byteSize, dtypes, type DType } from "../ir/dtype.js";
import { bug } from "../errors.js";
import {
  decodeE8m0,
  decodeTable,
  encodeE8m0,
  encodeFloat,
  isSmallFloat,
  roundFloat,
  truncateTo,
  wrapInteger,
  type RoundOptions,
  type Value,
} from "./round.js";

/** Values of a buffer: 64-bit integers exactly, everything else as doubles (booleans as 0 and 1). */
export type Elements = Float64Array | BigInt64Array | BigUint64Array;

type Reader = (view: DataView, index: number) => number;
type Writer = (view: DataView, index: number, value: number) => void;

/** Types that a DataView reads as they are. */
const plain: Partial<Record<DType, { read: Reader; write: Writer }>> = {
  i8: { read: (v, i) => v.getInt8(i), write: (v, i, x) => v.setInt8(i, x) },
  u8: { read: (v, i) => v.getUint8(i), write: (v, i, x) => v.setUint8(i, x) },
  bool: { read: (v, i) => (v.getUint8(i) === 0 ? 0 : 1), write: (v, i, x) => v.setUint8(i, x) },
  i16: { read: (v, i) => v.getInt16(i * 2, true), write: (v, i, x) => v.setInt16(i * 2, x, true) },
  u16: {
    read: (v, i) => v.getUint16(i * 2, true),
    write: (v, i, x) => v.setUint16(i * 2, x, true),
  },
  i32: { read: (v, i) => v.getInt32(i * 4, true), write: (v, i, x) => v.setInt32(i * 4, x, true) },
  u32: {
    read: (v, i) => v.getUint32(i * 4, true),
    write: (v, i, x) => v.setUint32(i * 4, x, true),
  },
  f32: {
    read: (v, i) => v.getFloat32(i * 4, true),
    write: (v, i, x) => v.setFloat32(i * 4, x, true),
  },
  f64: {
    read: (v, i) => v.getFloat64(i * 8, true),
    write: (v, i, x) => v.setFloat64(i * 8, x, true),
  },
};

/** Patterns of 16, 8, 4 or 2 bits; sub-byte ones are packed from the low end of each byte. */
function readPattern(bytes: Uint8Array, index: number, bits: number): number {
  if (bits === 16) return bytes[2 * index]! | (bytes[2 * index + 1]! << 8);
  const bit = index * bits;
  return (bytes[bit >> 3]! >> (bit & 7)) & ((1 << bits) - 1);
}

function writePattern(bytes: Uint8Array, index: number, bits: number, pattern: number): void {
  if (bits === 16) {
    bytes[2 * index] = pattern & 0xff;
    bytes[2 * index + 1] = pattern >> 8;
    return;
  }
  const bit = index * bits;
  bytes[bit >> 3] = bytes[bit >> 3]! | ((pattern & ((1 << bits) - 1)) << (bit & 7));
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The first `count` values of `bytes`, which need not be aligned.
 * @throws E_INTERNAL when there are too few bytes: readers of files check before.
 */
export function readElements(dtype: DType, bytes: Uint8Array, count: number): Elements {
  if (bytes.byteLength < byteSize(dtype, count))
    throw bug(
      `${count} ${dtype} need ${byteSize(dtype, count)} bytes, there are ${bytes.byteLength}`,
    );
  const view = viewOf(bytes);
  if (dtype === "i64")
    return BigInt64Array.from({ length: count }, (_, i) => view.getBigInt64(i * 8, true));
  if (dtype === "u64")
    return BigUint64Array.from({ length: count }, (_, i) => view.getBigUint64(i * 8, true));
  const out = new Float64Array(count);
  const { bits, kind } = dtypes[dtype];
  const direct = plain[dtype];
  if (direct !== undefined) {
    for (let i = 0; i < count; i++) out[i] = direct.read(view, i);
  } else if (isSmallFloat(dtype)) {
    const table = decodeTable(dtype);
    for (let i = 0; i < count; i++) out[i] = table[readPattern(bytes, i, bits)]!;
  } else if (dtype === "e8m0") {
    for (let i = 0; i < count; i++) out[i] = decodeE8m0(bytes[i]!);
  } else {
    const half = kind === "int" ? 2 ** (bits - 1) : Infinity;
    for (let i = 0; i < count; i++) {
      const pattern = readPattern(bytes, i, bits);
      out[i] = pattern >= half ? pattern - 2 * half : pattern;
    }
  }
  return out;
}

/**
 * Packed bytes of `values`. Floats are rounded to nearest even, and an infinity stays one unless
 * `saturate` is set; integers wrap when given as integers, and truncate and saturate when they have a
 * fraction or are not finite.
 */
export function writeElements(
  dtype: DType,
  values: ArrayLike<Value | boolean>,
  options: RoundOptions = {},
): Uint8Array {
  const count = values.length;
  const bytes = new Uint8Array(byteSize(dtype, count));
  const view = viewOf(bytes);
  const { bits, kind } = dtypes[dtype];
  const direct = plain[dtype];
  for (let i = 0; i < count; i++) {
    const given = values[i]!;
    const value = typeof given === "boolean" ? Number(given) : given;
    if (kind === "float") {
      const number = Number(value);
      if (direct !== undefined) direct.write(view, i, roundFloat(number, dtype));
      else if (isSmallFloat(dtype))
        writePattern(bytes, i, bits, encodeFloat(number, dtype, options.saturate ?? false));
      else bytes[i] = encodeE8m0(number, options);
    } else if (kind === "bool") {
      bytes[i] = Number(value) === 0 ? 0 : 1;
    } else {
      const whole = integer(value, dtype);
      if (bits === 64) view.setBigInt64(i * 8, BigInt.asIntN(64, BigInt(whole)), true);
      else if (direct !== undefined) direct.write(view, i, Number(whole));
      else writePattern(bytes, i, bits, Number(whole));
    }
  }
  return bytes;
}

function integer(value: Value, dtype: DType): Value {
  if (typeof value === "number" && !Number.isInteger(value)) return truncateTo(value, dtype);
  return wrapInteger(value, dtype);
}
