/** Reference evaluation of the operators that walk one axis in order. */
import { FarrierError } from "../errors.js";
import { isFloat } from "./dtype.js";
import type { OpAttrs, ScatterReduction } from "./ops.js";
import {
  countOf,
  integerAt,
  movable,
  newData,
  setInteger,
  stridesOf,
  type TensorValue,
} from "./tensor.js";

type Totals = { readonly [K in OpAttrs["scan"]["kind"]]: { start: number; step: Step } };
type Step = { float(a: number, b: number): number; exact(a: bigint, b: bigint): bigint };

const totals: Totals = {
  sum: { start: 0, step: { float: (a, b) => a + b, exact: (a, b) => a + b } },
  prod: {
    start: 1,
    step: { float: (a, b) => a * b, exact: (a, b) => BigInt.asIntN(64, a * b) },
  },
};

/** [outer, extent, inner] around an axis. */
function around(shape: readonly number[], axis: number): [number, number, number] {
  return [countOf(shape.slice(0, axis)), shape[axis]!, countOf(shape.slice(axis + 1))];
}

export function scanned(
  x: TensorValue,
  { kind, axis, exclusive, reverse }: OpAttrs["scan"],
): TensorValue {
  const data = newData(x.dtype, x.data.length);
  const [outer, extent, inner] = around(x.shape, axis);
  const { start, step } = totals[kind];
  const whole = !isFloat(x.dtype);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      let total = start;
      let exact = BigInt(start);
      for (let n = 0; n < extent; n++) {
        const at = (o * extent + (reverse ? extent - 1 - n : n)) * inner + i;
        const [before, exactBefore] = [total, exact];
        if (whole) exact = step.exact(exact, integerAt(x, at));
        else total = step.float(total, movable(x.data)[at]!);
        if (whole) setInteger(data, at, exclusive ? exactBefore : exact, x.dtype);
        else data[at] = exclusive ? before : total;
      }
    }
  return { ...x, data };
}

/** NaN above everything; equal values by ascending index. */
export function topIndices(
  x: TensorValue,
  { axis, count, largest }: OpAttrs["top_k"],
): TensorValue {
  const [outer, extent, inner] = around(x.shape, axis);
  const data = new BigInt64Array(outer * count * inner);
  const value = (at: number): number | bigint =>
    isFloat(x.dtype) ? movable(x.data)[at]! : integerAt(x, at);
  const above = (a: number | bigint, b: number | bigint): boolean =>
    Number.isNaN(a) ? !Number.isNaN(b) : a > b;
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const at = (n: number): number => (o * extent + n) * inner + i;
      const order = Array.from({ length: extent }, (_, n) => n).sort((p, q) => {
        const [a, b] = [value(at(p)), value(at(q))];
        const sign = above(a, b) ? -1 : above(b, a) ? 1 : 0;
        return largest ? sign || p - q : -sign || p - q;
      });
      for (let r = 0; r < count; r++) data[(o * count + r) * inner + i] = BigInt(order[r]!);
    }
  const shape = x.shape.map((dim, i) => (i === axis ? count : dim));
  return { dtype: "i64", shape, data };
}

type Combine = { float(a: number, b: number): number; exact(a: bigint, b: bigint): bigint };

const combines: { readonly [R in ScatterReduction]: Combine } = {
  none: { float: (_, b) => b, exact: (_, b) => b },
  add: { float: (a, b) => a + b, exact: (a, b) => a + b },
  mul: { float: (a, b) => a * b, exact: (a, b) => BigInt.asIntN(64, a * b) },
  max: { float: Math.max, exact: (a, b) => (b > a ? b : a) },
  min: { float: Math.min, exact: (a, b) => (b < a ? b : a) },
};

/** Updates are applied in row-major order, and each is rounded: the data stay in memory. */
export function scattered(
  data: TensorValue,
  indices: TensorValue,
  updates: TensorValue,
  { axis, reduction }: OpAttrs["scatter"],
  where: string,
  round: (value: number) => number,
): TensorValue {
  const out = { ...data, data: data.data.slice() };
  const [from, to] = [stridesOf(indices.shape), stridesOf(data.shape)];
  const extent = data.shape[axis]!;
  const combine = combines[reduction];
  for (let i = 0; i < updates.data.length; i++) {
    const index = Number(indices.data[i]);
    if (!(index >= 0 && index < extent))
      throw new FarrierError("E_RT_INDEX", `index ${index} of an axis of ${extent}`, { where });
    const at = indices.shape.reduce((sum, dim, each) => {
      const place = each === axis ? index : Math.floor(i / from[each]!) % dim;
      return sum + place * to[each]!;
    }, 0);
    if (isFloat(data.dtype) || data.dtype === "bool")
      out.data[at] = round(combine.float(Number(out.data[at]), Number(updates.data[i])));
    else
      setInteger(
        out.data,
        at,
        combine.exact(integerAt(out, at), integerAt(updates, i)),
        data.dtype,
      );
  }
  return out;
}
