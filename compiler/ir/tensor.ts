/**
 * Tensors of the evaluator: booleans as bytes 0 and 1, 64-bit integers as such (u64 wrapped), all else
 * as doubles; dense and row-major.
 */
import { FarrierError } from "../errors.js";
import { readElements, writeElements } from "../scalar/elements.js";
import { wrapInteger } from "../scalar/round.js";
import { byteSize, dtypes, isFloat, type DType } from "./dtype.js";

export type TensorData = Float64Array | BigInt64Array | Uint8Array;

export interface TensorValue {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export const countOf = (shape: readonly number[]): number =>
  shape.reduce((product, dim) => product * dim, 1);

/** V8's limit on the elements of a typed array is higher; this one is 64 GiB of doubles. */
const mostElements = 2 ** 33;

export function newData(dtype: DType, count: number): TensorData {
  if (!(count <= mostElements))
    throw new FarrierError("E_TOO_LARGE", `a tensor of ${count} elements cannot be evaluated`);
  if (dtype === "bool") return new Uint8Array(count);
  return isWide(dtype) ? new BigInt64Array(count) : new Float64Array(count);
}

/** Integers that a double does not hold. */
export const isWide = (dtype: DType): boolean => !isFloat(dtype) && dtypes[dtype].bits === 64;

/** A tensor from numbers, as they are: neither rounded nor wrapped. */
export function tensor(
  dtype: DType,
  shape: readonly number[],
  values: readonly (number | bigint | boolean)[],
): TensorValue {
  const data = newData(dtype, countOf(shape));
  if (values.length !== data.length)
    throw new FarrierError("E_TENSOR_SIZE", `${data.length} elements, ${values.length} values`);
  if (data instanceof BigInt64Array) values.forEach((value, i) => (data[i] = BigInt(value)));
  else values.forEach((value, i) => (data[i] = Number(value)));
  return { dtype, shape, data };
}

/**
 * The data as an array of numbers, for code that only moves elements between arrays of one kind,
 * which TypeScript does not allow on the union.
 */
export const movable = (data: TensorData): Float64Array => data as Float64Array;

export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis]!;
  }
  return strides;
}

/** Element `index` as an exact integer; a float must be whole. */
export function integerAt(x: TensorValue, index: number): bigint {
  const value = BigInt(x.data[index]!);
  return x.dtype === "u64" ? BigInt.asUintN(64, value) : value;
}

/** Writes an integer, wrapped to the dtype's width. */
export function setInteger(data: TensorData, index: number, value: bigint, dtype: DType): void {
  if (data instanceof BigInt64Array) data[index] = BigInt.asIntN(64, value);
  else data[index] = Number(wrapInteger(value, dtype));
}

/** The tensor that packed little-endian `bytes` hold. */
export function fromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): TensorValue {
  const count = countOf(shape);
  if (bytes.length < byteSize(dtype, count))
    throw new FarrierError(
      "E_TENSOR_SIZE",
      `needs ${byteSize(dtype, count)} bytes, has ${bytes.length}`,
    );
  const read = readElements(dtype, bytes, count);
  if (read instanceof BigUint64Array)
    return { dtype, shape, data: new BigInt64Array(read.buffer, read.byteOffset, count) };
  return { dtype, shape, data: dtype === "bool" ? Uint8Array.from(read as Float64Array) : read };
}

/** Packed little-endian bytes; floats round to nearest even. */
export function toBytes({ dtype, data }: TensorValue): Uint8Array {
  return writeElements(dtype, data);
}
