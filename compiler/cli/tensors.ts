/** Tensors between files, models and numbers. */
import fs from "node:fs";
import { Tensor } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import { SafetensorsFile } from "../frontend/files/safetensors.js";
import type { DType } from "../ir/dtype.js";
import { readElements } from "../scalar/elements.js";

export interface FileTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** All tensors of a safetensors file. */
export function readTensors(file: string): Map<string, FileTensor> {
  if (!fs.existsSync(file)) throw new FarrierError("E_NOT_FOUND", "no such file", { file });
  const source = SafetensorsFile.open(file);
  return new Map(
    [...source.tensors].map(([name, { dtype, shape }]) => [
      name,
      { dtype, shape, bytes: source.read(name) },
    ]),
  );
}

export function numbersOf({ dtype, shape, bytes }: FileTensor): Float64Array {
  return Float64Array.from(
    readElements(
      dtype,
      bytes,
      shape.reduce((x, y) => x * y, 1),
    ) as ArrayLike<number | bigint>,
    Number,
  );
}

/** A tensor as an input of `dtype`, converted where that loses nothing that the model would see. */
export function asInput(
  name: string,
  tensor: FileTensor,
  dtype: string,
): Tensor | { data: readonly number[]; shape: readonly number[] } {
  if (tensor.dtype === dtype) return new Tensor(dtype, tensor.shape, tensor.bytes.slice());
  if (dtype === "bool" || tensor.dtype === "bool")
    throw new FarrierError("E_RT_INPUT", `it is ${tensor.dtype}, the model wants ${dtype}`, {
      where: name,
    });
  return { data: [...numbersOf(tensor)], shape: tensor.shape };
}

export interface Comparison {
  /** ‖out − ref‖₂ / ‖ref‖₂ in double precision. */
  readonly relRms: number;
  readonly largest: number;
  /** Coordinates of the largest error. */
  readonly at: readonly number[];
  /** NaN and infinity are where the reference has them and nowhere else. */
  readonly sameSpecials: boolean;
}

export function compare(
  out: Float64Array,
  ref: Float64Array,
  shape: readonly number[],
): Comparison {
  let [errors, norm, largest, where] = [0, 0, -1, 0];
  let sameSpecials = true;
  for (let i = 0; i < ref.length; i++) {
    const [x, y] = [out[i]!, ref[i]!];
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      sameSpecials &&= Object.is(x, y);
      continue;
    }
    const error = Math.abs(x - y);
    errors += error * error;
    norm += y * y;
    if (error > largest) [largest, where] = [error, i];
  }
  const at = shape.map(
    (_, axis) =>
      Math.floor(where / shape.slice(axis + 1).reduce((p, d) => p * d, 1)) % shape[axis]!,
  );
  return {
    relRms: norm === 0 ? (errors === 0 ? 0 : Infinity) : Math.sqrt(errors / norm),
    largest: Math.max(0, largest),
    at,
    sameSpecials,
  };
}
