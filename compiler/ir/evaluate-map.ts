/** Reference evaluation of elementwise functions, casts and roundings. */
import { castValue, roundFloat, type Value } from "../scalar/round.js";
import type { ScalarFunction } from "../scalar/function.js";
import { isFloat, isInteger, type DType } from "./dtype.js";
import {
  countOf,
  integerAt,
  isWide,
  movable,
  newData,
  setInteger,
  type TensorValue,
} from "./tensor.js";

/** Rounds floats in place to their dtype. Infinities stay where it has them: only a cast saturates. */
export function roundInPlace(x: TensorValue): void {
  const { data, dtype } = x;
  if (dtype === "f64" || !(data instanceof Float64Array) || !isFloat(dtype)) return;
  if (dtype === "f32") data.set(Float32Array.from(data));
  else
    for (let i = 0; i < data.length; i++)
      if (!kept(data[i]!, dtype)) data[i] = roundFloat(data[i]!, dtype);
}

const kept = (value: number, dtype: DType): boolean =>
  dtype === "e5m2" && Math.abs(value) === Infinity;

/** Inputs have the shape of the result, or rank 0. */
export function mapped(
  fn: ScalarFunction,
  inputs: readonly TensorValue[],
  dtype: DType,
  shape: readonly number[],
): TensorValue {
  const data = newData(dtype, countOf(shape));
  const doubles = inputs.every((x) => !isInteger(x.dtype)) && !isInteger(dtype);
  if (doubles && inputs.length <= 3) {
    mapDoubles(fn, inputs, movable(data));
    return { dtype, shape, data };
  }
  const read = inputs.map(reader);
  for (let i = 0; i < data.length; i++) {
    const result = fn.evaluate(...read.map((at) => at(i)));
    if (isInteger(dtype)) setInteger(data, i, BigInt(result), dtype);
    else data[i] = Number(result);
  }
  return { dtype, shape, data };
}

/** Elements as the function takes them: integers as bigint, all else as numbers. */
function reader(x: TensorValue): (index: number) => number | bigint {
  const step = x.shape.length === 0 ? 0 : 1;
  if (isInteger(x.dtype)) return (index) => integerAt(x, index * step);
  return (index) => Number(x.data[index * step]);
}

function mapDoubles(fn: ScalarFunction, inputs: readonly TensorValue[], out: Float64Array): void {
  const [a, b, c] = inputs.map((x) => movable(x.data));
  const [p, q, r] = inputs.map((x) => (x.shape.length === 0 ? 0 : 1));
  if (a === undefined) out.fill(Number(fn.evaluate()));
  else if (b === undefined)
    for (let i = 0; i < out.length; i++) out[i] = Number(fn.evaluate(a[i * p!]!));
  else if (c === undefined)
    for (let i = 0; i < out.length; i++) out[i] = Number(fn.evaluate(a[i * p!]!, b[i * q!]!));
  else
    for (let i = 0; i < out.length; i++)
      out[i] = Number(fn.evaluate(a[i * p!]!, b[i * q!]!, c[i * r!]!));
}

/** Conversion: between floats only where `rounds`, otherwise exactly. */
export function converted(x: TensorValue, dtype: DType, rounds: boolean): TensorValue {
  if (isFloat(x.dtype) && isFloat(dtype)) {
    const result = { dtype, shape: x.shape, data: x.data.slice() };
    if (!rounds) return result;
    if (dtype === "e5m2" && x.dtype !== "e5m2") {
      for (let i = 0; i < result.data.length; i++)
        result.data[i] = roundFloat(Number(result.data[i]), dtype);
    } else roundInPlace(result);
    return result;
  }
  const data = newData(dtype, x.data.length);
  const target = isFloat(dtype) && !rounds ? "f64" : dtype;
  for (let i = 0; i < data.length; i++) {
    const value: Value = isWide(x.dtype) ? integerAt(x, i) : Number(x.data[i]);
    const result = castValue(value, x.dtype, target);
    if (isInteger(dtype)) setInteger(data, i, BigInt(result), dtype);
    else data[i] = Number(result);
  }
  return { dtype, shape: x.shape, data };
}
