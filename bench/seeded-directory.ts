/**
 * A Hugging Face directory whose weights are made up: shards of seeded bytes under a real
 * configuration, for measuring what compiling a large model costs. Half-precision values stay small
 * and finite: the exponent's top bits are cleared.
 */
import fs from "node:fs";
import path from "node:path";
import { ModelDirectory } from "../compiler/frontend/files/source-file.js";
import { importHuggingFace } from "../compiler/frontend/huggingface/import.js";
import { byteSize } from "../compiler/ir/dtype.js";

const shardBytes = 2 ** 32;
const chunkBytes = 2 ** 24;

interface Placed {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** Seeded bytes; every second one is the high byte of a small bf16 value. */
function seeded(seed: number): Uint8Array {
  const bytes = new Uint8Array(chunkBytes);
  let state = (seed * 2654435761) >>> 0;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = i % 2 === 0 ? state >>> 24 : ((state >>> 24) & 0x80) | 0x3c;
  }
  return bytes;
}

const types: Readonly<Record<string, string>> = { bf16: "BF16", f16: "F16", f32: "F32" };

/** Writes `directory`: the configuration, an index, and shards of at most 4 GiB. */
export function writeSeededDirectory(directory: string, config: object): number {
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, "config.json"), JSON.stringify(config));
  const model = importHuggingFace(ModelDirectory.at(directory), { weights: "none" });
  const tensors = model.tensors.map(({ name, dtype, shape }): Placed => {
    const bytes = byteSize(
      dtype,
      shape.reduce((a, b) => a * b, 1),
    );
    return { name, dtype: types[dtype]!, shape, bytes };
  });
  const shards: Placed[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    if (size > 0 && size + tensor.bytes > shardBytes) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += tensor.bytes;
  }
  const map: Record<string, string> = {};
  const data = seeded(1);
  shards.forEach((shard, i) => {
    const number = (at: number): string => String(at).padStart(5, "0");
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    for (const { name } of shard) map[name] = file;
    writeShard(path.join(directory, file), shard, data);
  });
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const index = { metadata: { total_size: total }, weight_map: map };
  fs.writeFileSync(path.join(directory, "model.safetensors.index.json"), JSON.stringify(index));
  return total;
}

function writeShard(file: string, shard: readonly Placed[], data: Uint8Array): void {
  const header: Record<string, object> = {};
  let at = 0;
  for (const { name, dtype, shape, bytes } of shard) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const handle = fs.openSync(file, "w");
  try {
    fs.writeSync(handle, length);
    fs.writeSync(handle, padded);
    for (let left = at; left > 0; left -= chunkBytes)
      fs.writeSync(handle, data, 0, Math.min(left, chunkBytes));
  } finally {
    fs.closeSync(handle);
  }
}
