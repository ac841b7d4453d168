/** Reference evaluation of the operators that only move elements. */
import { FarrierError } from "../errors.js";
import {
  countOf,
  movable,
  newData,
  stridesOf,
  type TensorData,
  type TensorValue,
} from "./tensor.js";

/** out[i…] = data[offset + Σ i·strides] over `shape`. */
export function stridedCopy(
  data: TensorData,
  offset: number,
  strides: readonly number[],
  shape: readonly number[],
  out: TensorData,
): void {
  if (out.length === 0) return;
  const [source, target] = [movable(data), movable(out)];
  const inner = shape.length - 1;
  const run = shape[inner] ?? 1;
  const step = strides[inner] ?? 0;
  const index = new Array<number>(Math.max(0, inner)).fill(0);
  let from = offset;
  for (let at = 0; at < target.length; at += run) {
    if (step === 1) target.set(source.subarray(from, from + run), at);
    else for (let i = 0; i < run; i++) target[at + i] = source[from + i * step]!;
    for (let axis = inner - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
}

function strided(
  x: TensorValue,
  offset: number,
  strides: readonly number[],
  shape: readonly number[],
): TensorValue {
  const data = newData(x.dtype, countOf(shape));
  stridedCopy(x.data, offset, strides, shape, data);
  return { dtype: x.dtype, shape, data };
}

export function transposed(x: TensorValue, perm: readonly number[]): TensorValue {
  const strides = stridesOf(x.shape);
  return strided(
    x,
    0,
    perm.map((axis) => strides[axis]!),
    perm.map((axis) => x.shape[axis]!),
  );
}

export function broadcasted(x: TensorValue, shape: readonly number[]): TensorValue {
  const own = stridesOf(x.shape);
  const skip = shape.length - x.shape.length;
  const strides = shape.map((_, axis) =>
    (x.shape[axis - skip] ?? 1) === 1 ? 0 : own[axis - skip]!,
  );
  return strided(x, 0, strides, shape);
}

export function sliced(
  x: TensorValue,
  starts: readonly number[],
  steps: readonly number[],
  shape: readonly number[],
  where: string,
): TensorValue {
  const own = stridesOf(x.shape);
  let offset = 0;
  shape.forEach((extent, axis) => {
    const first = starts[axis]!;
    const last = first + (extent - 1) * steps[axis]!;
    if (extent > 0 && (Math.min(first, last) < 0 || Math.max(first, last) >= x.shape[axis]!))
      throw new FarrierError(
        "E_RT_INDEX",
        `elements ${first} to ${last} of axis ${axis}, which has ${x.shape[axis]}`,
        { where },
      );
    offset += first * own[axis]!;
  });
  return strided(
    x,
    offset,
    own.map((stride, axis) => stride * steps[axis]!),
    shape,
  );
}

export function concatenated(
  inputs: readonly TensorValue[],
  axis: number,
  shape: readonly number[],
): TensorValue {
  const { dtype } = inputs[0]!;
  const out = newData(dtype, countOf(shape));
  const row = countOf(shape.slice(axis));
  let start = 0;
  for (const input of inputs) {
    const run = countOf(input.shape.slice(axis));
    const source = movable(input.data);
    for (let from = 0, at = start; from < source.length; from += run, at += row)
      movable(out).set(source.subarray(from, from + run), at);
    start += run;
  }
  return { dtype, shape, data: out };
}

/** The indices as numbers inside [0, extent). */
function checkedIndex(index: bigint | number, extent: number, where: string): number {
  const value = Number(index);
  if (value >= 0 && value < extent) return value;
  throw new FarrierError("E_RT_INDEX", `index ${index} of an axis of ${extent}`, { where });
}

export function gathered(
  data: TensorValue,
  indices: TensorValue,
  axis: number,
  where: string,
): TensorValue {
  const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)];
  const extent = data.shape[axis]!;
  const run = countOf(data.shape.slice(axis + 1));
  const out = newData(data.dtype, countOf(shape));
  const positions = Array.from(indices.data as ArrayLike<bigint | number>, (index) =>
    checkedIndex(index, extent, where),
  );
  const outer = countOf(data.shape.slice(0, axis));
  for (let o = 0, at = 0; o < outer; o++)
    for (const position of positions) {
      const from = (o * extent + position) * run;
      movable(out).set(movable(data.data).subarray(from, from + run), at);
      at += run;
    }
  return { dtype: data.dtype, shape, data: out };
}

export function gatheredNd(
  data: TensorValue,
  indices: TensorValue,
  batchDims: number,
  where: string,
): TensorValue {
  const tuple = indices.shape.at(-1)!;
  const rest = data.shape.slice(batchDims + tuple);
  const shape = [...indices.shape.slice(0, -1), ...rest];
  const out = newData(data.dtype, countOf(shape));
  const run = countOf(rest);
  const batches = countOf(data.shape.slice(0, batchDims));
  const perBatch = batches === 0 ? 0 : indices.data.length / tuple / batches;
  const block = countOf(data.shape.slice(batchDims));
  const strides = stridesOf(data.shape.slice(batchDims));
  for (let row = 0; row < batches * perBatch; row++) {
    let from = Math.floor(row / perBatch) * block;
    for (let i = 0; i < tuple; i++)
      from +=
        checkedIndex(indices.data[row * tuple + i]!, data.shape[batchDims + i]!, where) *
        strides[i]!;
    movable(out).set(movable(data.data).subarray(from, from + run), row * run);
  }
  return { dtype: data.dtype, shape, data: out };
}

export function iotaOf(shape: readonly number[], axis: number): TensorValue {
  const data = new BigInt64Array(countOf(shape));
  const inner = countOf(shape.slice(axis + 1));
  const extent = shape[axis]!;
  for (let i = 0; i < data.length; i++) data[i] = BigInt(Math.floor(i / inner) % extent);
  return { dtype: "i64", shape, data };
}

/** The state with `value` at positions from `start` of each row. */
export function cacheWritten(
  state: TensorValue,
  value: TensorValue,
  start: TensorValue,
  where: string,
): TensorValue {
  const [, heads, capacity, depth] = state.shape as [number, number, number, number];
  const [batch, , length] = value.shape as [number, number, number, number];
  const data = state.data.slice();
  for (let b = 0; b < batch; b++) {
    const first = Number(start.data[b]);
    if (first < 0 || first + length > capacity)
      throw new FarrierError(
        "E_RT_INDEX",
        `positions ${first} to ${first + length - 1} of a cache of ${capacity}`,
        { where },
      );
    for (let h = 0; h < heads; h++) {
      const from = (b * heads + h) * length * depth;
      const run = movable(value.data).subarray(from, from + length * depth);
      movable(data).set(run, ((b * heads + h) * capacity + first) * depth);
    }
  }
  return { ...state, data };
}

/** The pool with the first `count` rows of each sequence of `value` at its `slots`. */
export function pagedWritten(
  state: TensorValue,
  value: TensorValue,
  { slots, count }: { readonly slots: TensorValue; readonly count: TensorValue },
  where: string,
): TensorValue {
  const [pages, heads, rows, depth] = state.shape as [number, number, number, number];
  const [batch, , length] = value.shape as [number, number, number, number];
  const [source, data] = [movable(value.data), state.data.slice()];
  const target = movable(data);
  for (let b = 0; b < batch; b++)
    for (let j = 0; j < Math.min(length, Number(count.data[b])); j++) {
      const slot = checkedIndex(slots.data[b * length + j]!, pages * rows, where);
      const [page, row] = [Math.floor(slot / rows), slot % rows];
      for (let h = 0; h < heads; h++) {
        const from = ((b * heads + h) * length + j) * depth;
        const run = source.subarray(from, from + depth);
        target.set(run, ((page * heads + h) * rows + row) * depth);
      }
    }
  return { ...state, data };
}
