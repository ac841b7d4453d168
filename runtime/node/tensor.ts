/** Tensors of the wrapper, and what callers may give in their place. */
import {
  allocate,
  bf16Bits,
  bf16Value,
  elementCount,
  elementType,
  f16Bits,
  f16Value,
  byteSize,
  viewOf,
  type Elements,
} from "./dtypes.js";
import { badInput } from "./errors.js";

/** A dense row-major tensor in host memory. */
export class Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** f16 and bf16: their bits. i64, u64: bigints. bool: 0 and 1. */
  readonly data: Elements;

  /** @param data the elements, or their bytes */
  constructor(dtype: string, shape: readonly number[], data: Elements) {
    const wanted = byteSize(dtype, shape);
    if (data.byteLength !== wanted)
      throw badInput(
        "E_RT_INPUT",
        `a ${dtype} tensor of shape [${shape.join(",")}] has ${wanted} bytes, not ${data.byteLength}`,
      );
    this.dtype = dtype;
    this.shape = shape;
    this.data = viewOf(dtype, bytesOf(data));
  }

  get bytes(): Uint8Array {
    return bytesOf(this.data);
  }

  /** Every element as a number; 64-bit integers beyond 2^53 are rounded. */
  toFloat64(): Float64Array {
    const { data } = this;
    const kind = elementType(this.dtype).kind;
    if (kind === "opaque")
      throw badInput("E_TYPE_UNSUPPORTED", `${this.dtype} elements cannot be read as numbers`);
    const out = new Float64Array(data.length);
    const value = this.dtype === "f16" ? f16Value : this.dtype === "bf16" ? bf16Value : undefined;
    for (let i = 0; i < data.length; i++) {
      const element = Number(data[i]);
      out[i] = value === undefined ? element : value(element);
    }
    return out;
  }
}

export type Nested = number | bigint | boolean | readonly Nested[];
/** An array alone is one-dimensional; missing leading dimensions are 1. */
export type TensorLike =
  | Tensor
  | Elements
  | Nested
  | { readonly data: Elements | readonly (number | bigint)[]; readonly shape: readonly number[] };

const bytesOf = (data: Elements): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const isElements = (value: unknown): value is Elements =>
  ArrayBuffer.isView(value) && !(value instanceof DataView);

interface Loose {
  readonly shape: readonly number[];
  readonly values: Elements | readonly (number | bigint | boolean)[];
}

function flatten(name: string, value: Nested): Loose {
  const shape: number[] = [];
  for (let at: Nested = value; Array.isArray(at); at = (at as readonly Nested[])[0] as Nested) {
    shape.push(at.length);
    if (at.length === 0) break;
  }
  const values: (number | bigint | boolean)[] = [];
  const walk = (at: Nested, depth: number): void => {
    if (!Array.isArray(at)) {
      if (depth !== shape.length || !["number", "bigint", "boolean"].includes(typeof at))
        throw badInput(
          "E_RT_INPUT",
          `input ${JSON.stringify(name)}: nested arrays of numbers must be rectangular`,
        );
      values.push(at as number | bigint | boolean);
      return;
    }
    const list = at as readonly Nested[];
    if (list.length !== shape[depth])
      throw badInput(
        "E_RT_INPUT",
        `input ${JSON.stringify(name)}: nested arrays of numbers must be rectangular`,
      );
    for (const inner of list) walk(inner, depth + 1);
  };
  walk(value, 0);
  return { shape, values };
}

/** Which dtype a typed array holds without being told. */
function naturalDtype(data: Elements): string {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Float64Array) return "f64";
  if (data instanceof BigInt64Array) return "i64";
  if (data instanceof BigUint64Array) return "u64";
  const signed =
    data instanceof Int8Array || data instanceof Int16Array || data instanceof Int32Array;
  return `${signed ? "i" : "u"}${data.BYTES_PER_ELEMENT * 8}`;
}

/** The array as it is where its elements are already `dtype`'s. */
function sameElements(dtype: string, data: Elements): boolean {
  const natural = naturalDtype(data);
  return (
    natural === dtype ||
    (natural === "u8" && dtype === "bool") ||
    (natural === "u16" && (dtype === "f16" || dtype === "bf16"))
  );
}

function writer(
  name: string,
  dtype: string,
  out: Elements,
): (index: number, value: number | bigint | boolean) => void {
  const type = elementType(dtype);
  const refuse = (value: unknown): never => {
    throw badInput(
      "E_RT_INPUT",
      `input ${JSON.stringify(name)}: ${String(value)} is not a value of ${dtype}`,
    );
  };
  if (type.kind === "float") {
    const bits = dtype === "f16" ? f16Bits : dtype === "bf16" ? bf16Bits : Number;
    return (index, value) => (out[index] = bits(Number(value)));
  }
  if (type.kind === "bool")
    return (index, value) =>
      (out[index] = Number(value) === 0 ? 0 : Number(value) === 1 ? 1 : refuse(value));
  const [min, max] = type.range ?? refuse(dtype);
  const wide = out instanceof BigInt64Array || out instanceof BigUint64Array;
  return (index, value) => {
    if (typeof value === "number" && !Number.isInteger(value)) refuse(value);
    const whole = BigInt(value);
    if (whole < min || whole > max) refuse(value);
    out[index] = wide ? whole : Number(whole);
  };
}

/** `value` as a tensor of `dtype` and `rank` dimensions; shares memory where it can. */
export function toTensor(name: string, dtype: string, rank: number, value: TensorLike): Tensor {
  const loose: Loose =
    value instanceof Tensor
      ? {
          shape: value.shape,
          values:
            value.dtype === dtype || elementType(value.dtype).kind !== "float"
              ? value.data
              : value.toFloat64(),
        }
      : isElements(value)
        ? { shape: [value.length], values: value }
        : typeof value === "object" && "data" in value
          ? { shape: value.shape, values: value.data }
          : flatten(name, value);
  const missing = rank - loose.shape.length;
  const shape = missing > 0 ? [...Array<number>(missing).fill(1), ...loose.shape] : loose.shape;
  const { values } = loose;
  if (
    isElements(values) &&
    (sameElements(dtype, values) || (value instanceof Tensor && value.dtype === dtype))
  )
    return new Tensor(dtype, shape, values);
  if (elementType(dtype).kind === "opaque")
    throw badInput(
      "E_RT_INPUT",
      `input ${JSON.stringify(name)}: give a Tensor of ${dtype}, its elements cannot be converted`,
    );
  if (isElements(values) && /^f/.test(naturalDtype(values)) && elementType(dtype).kind !== "float")
    throw badInput(
      "E_RT_INPUT",
      `input ${JSON.stringify(name)} is ${naturalDtype(values)}, expected ${dtype}`,
    );
  if (values.length !== elementCount(shape))
    throw badInput(
      "E_RT_INPUT",
      `input ${JSON.stringify(name)}: ${values.length} elements for shape [${shape.join(",")}]`,
    );
  const out = allocate(dtype, shape);
  const write = writer(name, dtype, out);
  for (let i = 0; i < values.length; i++) write(i, values[i] as number | bigint | boolean);
  return new Tensor(dtype, shape, out);
}

/** A tensor whose elements are all `value`. */
export function filled(
  name: string,
  dtype: string,
  shape: readonly number[],
  value: number,
): Tensor {
  const out = allocate(dtype, shape);
  const write = writer(name, dtype, out);
  if (out.length > 0) write(0, value);
  if (out instanceof BigInt64Array || out instanceof BigUint64Array) out.fill(out[0] ?? 0n);
  else out.fill(out[0] ?? 0);
  return new Tensor(dtype, shape, out);
}
