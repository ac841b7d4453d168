/** Reference evaluation of reductions, normalisations and products, in double precision. */
import { integerBounds, isFloat, type DType } from "./dtype.js";
import type { ReduceKind } from "./ops.js";
import {
  countOf,
  integerAt,
  movable,
  newData,
  setInteger,
  stridesOf,
  type TensorValue,
} from "./tensor.js";

/** A tensor with `axis` in the middle: [outer, extent, inner]. */
function around(shape: readonly number[], axis: number): [number, number, number] {
  return [countOf(shape.slice(0, axis)), shape[axis]!, countOf(shape.slice(axis + 1))];
}

/** The element of the reduced tensor that each element goes to, in row-major order. */
function forEachTarget(
  shape: readonly number[],
  axes: readonly number[],
  visit: (index: number, target: number) => void,
): void {
  const kept = stridesOf(shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)));
  const steps = kept.map((stride, axis) => (axes.includes(axis) ? 0 : stride));
  const at = new Array<number>(shape.length).fill(0);
  const count = countOf(shape);
  let target = 0;
  for (let index = 0; index < count; index++) {
    visit(index, target);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      target += steps[axis]!;
      if (++at[axis]! < shape[axis]!) break;
      target -= steps[axis]! * shape[axis]!;
      at[axis] = 0;
    }
  }
}

interface Fold<T> {
  readonly start: T;
  readonly step: (total: T, value: T) => T;
}

const largest = <T>(a: T, b: T): T => (b > a ? b : a);
const smallest = <T>(a: T, b: T): T => (b < a ? b : a);

const floatFolds: { readonly [K in ReduceKind]: Fold<number> } = {
  sum: { start: 0, step: (a, b) => a + b },
  mean: { start: 0, step: (a, b) => a + b },
  prod: { start: 1, step: (a, b) => a * b },
  // Math's own, so that NaN stays.
  max: { start: -Infinity, step: Math.max },
  min: { start: Infinity, step: Math.min },
};

/** Of no elements, the extreme is the type's own bound, as it is an infinity of floats. */
const integerFolds: { readonly [K in ReduceKind]: (dtype: DType) => Fold<bigint> } = {
  sum: () => ({ start: 0n, step: (a, b) => a + b }),
  mean: () => ({ start: 0n, step: (a, b) => a + b }),
  prod: () => ({ start: 1n, step: (a, b) => BigInt.asIntN(64, a * b) }),
  max: (dtype) => ({ start: integerBounds(dtype)[0], step: largest }),
  min: (dtype) => ({ start: integerBounds(dtype)[1], step: smallest }),
};

export function reduced(
  x: TensorValue,
  kind: ReduceKind,
  axes: readonly number[],
  shape: readonly number[],
): TensorValue {
  const data = newData(x.dtype, countOf(shape));
  if (!isFloat(x.dtype)) {
    const { start, step } = integerFolds[kind](x.dtype);
    const totals = new Array<bigint>(data.length).fill(start);
    forEachTarget(x.shape, axes, (index, target) => {
      totals[target] = step(totals[target]!, integerAt(x, index));
    });
    totals.forEach((total, i) => setInteger(data, i, total, x.dtype));
    return { dtype: x.dtype, shape, data };
  }
  const { start, step } = floatFolds[kind];
  const [source, target] = [movable(x.data), movable(data).fill(start)];
  forEachTarget(x.shape, axes, (index, at) => {
    target[at] = step(target[at]!, source[index]!);
  });
  const each = x.data.length / Math.max(1, data.length);
  if (kind === "mean") for (let i = 0; i < target.length; i++) target[i]! /= each;
  return { dtype: x.dtype, shape, data };
}

export function softmaxed(x: TensorValue, axis: number): TensorValue {
  const [outer, extent, inner] = around(x.shape, axis);
  const source = movable(x.data);
  const data = new Float64Array(source.length);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const first = o * extent * inner + i;
      const end = first + extent * inner;
      let top = -Infinity;
      for (let at = first; at < end; at += inner) top = Math.max(top, source[at]!);
      let total = 0;
      for (let at = first; at < end; at += inner) total += data[at] = Math.exp(source[at]! - top);
      for (let at = first; at < end; at += inner) data[at]! /= total;
    }
  return { ...x, data };
}

export function normalized(x: TensorValue, kind: "layer" | "rms", epsilon: number): TensorValue {
  const source = movable(x.data);
  const data = new Float64Array(source.length);
  const width = x.shape.at(-1)!;
  for (let first = 0; first < source.length; first += width) {
    let mean = 0;
    if (kind === "layer") {
      for (let i = 0; i < width; i++) mean += source[first + i]!;
      mean /= width;
    }
    let square = 0;
    for (let i = 0; i < width; i++) square += (source[first + i]! - mean) ** 2;
    const factor = 1 / Math.sqrt(square / width + epsilon);
    for (let i = 0; i < width; i++) data[first + i] = (source[first + i]! - mean) * factor;
  }
  return { ...x, data };
}

export function multiplied(a: TensorValue, b: TensorValue, shape: readonly number[]): TensorValue {
  const [m, n] = shape.slice(-2) as [number, number];
  const k = a.shape.at(-1)!;
  const data = newData(a.dtype, countOf(shape));
  const batches = countOf(shape.slice(0, -2));
  for (let batch = 0; batch < batches; batch++) {
    const [atA, atB, at] = [batch * m * k, batch * k * n, batch * m * n];
    if (isFloat(a.dtype))
      gemm(
        movable(a.data).subarray(atA, atA + m * k),
        movable(b.data).subarray(atB, atB + k * n),
        movable(data).subarray(at, at + m * n),
        { m, n, k },
      );
    else
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let total = 0n;
          for (let l = 0; l < k; l++)
            total += integerAt(a, atA + i * k + l) * integerAt(b, atB + l * n + j);
          setInteger(data, at + i * n + j, total, a.dtype);
        }
  }
  return { dtype: a.dtype, shape, data };
}

/** Blocks of B that stay in the second-level cache while every row of A passes. */
const depthBlock = 16;
const columnBlock = 512;

/** C += A·B, four steps of depth at a time, so that C is loaded and stored a quarter as often. */
function gemm(
  a: Float64Array,
  b: Float64Array,
  c: Float64Array,
  { m, n, k }: { m: number; n: number; k: number },
): void {
  for (let j0 = 0; j0 < n; j0 += columnBlock)
    for (let l0 = 0; l0 < k; l0 += depthBlock)
      for (let i = 0; i < m; i++)
        rowTimesBlock(a, b, c, {
          row: i * k,
          out: i * n,
          n,
          depth: [l0, Math.min(k, l0 + depthBlock)],
          columns: [j0, Math.min(n, j0 + columnBlock)],
        });
}

interface Block {
  readonly row: number;
  readonly out: number;
  readonly n: number;
  readonly depth: readonly [number, number];
  readonly columns: readonly [number, number];
}

function rowTimesBlock(
  a: Float64Array,
  b: Float64Array,
  c: Float64Array,
  { row, out, n, depth: [from, to], columns: [first, last] }: Block,
): void {
  let l = from;
  for (; l + 4 <= to; l += 4) {
    const [x0, x1, x2, x3] = [a[row + l]!, a[row + l + 1]!, a[row + l + 2]!, a[row + l + 3]!];
    const b0 = l * n;
    const [b1, b2, b3] = [b0 + n, b0 + 2 * n, b0 + 3 * n];
    for (let j = first; j < last; j++)
      c[out + j]! += x0 * b[b0 + j]! + x1 * b[b1 + j]! + (x2 * b[b2 + j]! + x3 * b[b3 + j]!);
  }
  for (; l < to; l++) {
    const x = a[row + l]!;
    const at = l * n;
    for (let j = first; j < last; j++) c[out + j]! += x * b[at + j]!;
  }
}

/**
 * cos and sin are repeated to [..., s, d / 2] already. `round` is what eager execution does to each
 * product before it adds them.
 */
export function rotated(
  x: TensorValue,
  cos: TensorValue,
  sin: TensorValue,
  interleaved: boolean,
  round: (value: number) => number = (value) => value,
): TensorValue {
  const [source, c, s] = [movable(x.data), movable(cos.data), movable(sin.data)];
  const data = new Float64Array(source.length);
  const depth = x.shape.at(-1)!;
  const half = depth / 2;
  const [step, other] = interleaved ? [2, 1] : [1, half];
  for (let first = 0, angle = 0; first < source.length; first += depth)
    for (let i = 0; i < half; i++, angle++) {
      const at = first + i * step;
      const [p, q] = [source[at]!, source[at + other]!];
      data[at] = round(p * c[angle]!) - round(q * s[angle]!);
      data[at + other] = round(q * c[angle]!) + round(p * s[angle]!);
    }
  return { ...x, data };
}

/** x · scale, a scale for `group` elements along `axis`. */
export function dequantized(
  x: TensorValue,
  scale: TensorValue,
  axis: number,
  group: number,
): Float64Array {
  const data = new Float64Array(x.data.length);
  const [outer, extent, inner] = around(x.shape, axis);
  const groups = scale.shape[axis]!;
  for (let o = 0, at = 0; o < outer; o++)
    for (let n = 0; n < extent; n++)
      for (let i = 0; i < inner; i++, at++) {
        const factor = movable(scale.data)[(o * groups + Math.floor(n / group)) * inner + i]!;
        data[at] = Number(x.dtype === "u64" ? integerAt(x, at) : x.data[at]) * factor;
      }
  return data;
}
