/** The weights of a Hugging Face directory: one safetensors file, or shards under an index. */
import { type DType } from "../../ir/dtype.js";
import { FarrierError } from "../../errors.js";
import { isJsonObject, type JsonCodes, parseJson } from "./json.js";
import { SafetensorsFile } from "./safetensors.js";
import { type ModelDirectory, printable, type SourceFile } from "./source-file.js";

const single = "model.safetensors";
const indexName = "model.safetensors.index.json";
const indexMaxBytes = 100 * 1024 * 1024;

const indexCodes: JsonCodes = {
  syntax: "E_SHARD_INDEX",
  duplicate: "E_SHARD_DUPLICATE",
  number: "E_SHARD_INDEX",
};

/** Formats whose readers run code from the file. */
const pickles = /(?:^pytorch_model.*\.bin(?:\.index\.json)?|\.(?:pt|pth|ckpt|h5|bin|pkl|msgpack))$/;

export interface TensorRef {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly file: SourceFile;
  /** First byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export class Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** Every weight file, in the order of its name. */
  readonly files: readonly SafetensorsFile[];

  constructor(files: readonly SafetensorsFile[], tensors: ReadonlyMap<string, TensorRef>) {
    this.files = files;
    this.tensors = tensors;
  }

  /** Opens the directory's weights; the directory closes them. */
  static open(directory: ModelDirectory): Checkpoint {
    const names = directory.list();
    if (names.includes(single)) {
      const file = new SafetensorsFile(directory.open(single));
      return new Checkpoint([file], collect([file]));
    }
    if (names.includes(indexName)) return openShards(directory);
    const pickle = names.find((name) => pickles.test(name));
    if (pickle !== undefined) {
      throw new FarrierError("E_PICKLE_REFUSED", "reading this format executes code", {
        file: `${directory.path}/${printable(pickle)}`,
        hint: "convert to safetensors elsewhere, in a place where running its code does no harm",
      });
    }
    throw new FarrierError("E_WEIGHTS", `expected ${single} or ${indexName}, found neither`, {
      file: directory.path,
      hint: "give a directory with weights, or compile with --weights random:SEED or none",
    });
  }

  /** The tensor's bytes, little end first, packed. */
  read(ref: TensorRef): Uint8Array {
    return ref.file.readRange(ref.offset, ref.bytes);
  }

  /** Part of a tensor's bytes. */
  readRange(ref: TensorRef, begin: number, length: number): Uint8Array {
    if (begin < 0 || length < 0 || begin + length > ref.bytes) {
      throw new FarrierError("E_EXT_RANGE", `bytes ${begin}..${begin + length} of ${ref.bytes}`, {
        file: ref.file.path,
        where: `tensor ${JSON.stringify(printable(ref.name))}`,
      });
    }
    return ref.file.readRange(ref.offset + begin, length);
  }
}

function openShards(directory: ModelDirectory): Checkpoint {
  const source = directory.open(indexName);
  const shardOf = readWeightMap(source);
  const files = new Map<string, SafetensorsFile>();
  for (const [tensor, shard] of shardOf) {
    if (files.has(shard)) continue;
    const where = `weight_map entry ${JSON.stringify(printable(tensor))}`;
    if (!shard.endsWith(".safetensors")) {
      throw new FarrierError("E_SHARD_PATH", `${JSON.stringify(printable(shard))} is no shard`, {
        file: source.path,
        where,
        hint: "shards are safetensors files",
      });
    }
    const opened = directory.open(shard, {
      codes: { path: "E_SHARD_PATH", missing: "E_SHARD_MISSING" },
      where,
    });
    files.set(shard, new SafetensorsFile(opened));
  }
  const ordered = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
  const tensors = collect(ordered);
  for (const [tensor, shard] of shardOf) {
    if (files.get(shard)?.tensors.has(tensor) === true) continue;
    const where = `tensor ${JSON.stringify(printable(tensor))}`;
    throw new FarrierError("E_SHARD_TENSOR", `absent from ${printable(shard)}`, {
      file: source.path,
      where,
      hint: "download the checkpoint again: index and shards do not match",
    });
  }
  return new Checkpoint(ordered, tensors);
}

function readWeightMap(source: SourceFile): Map<string, string> {
  const bad = (what: string, where?: string): FarrierError =>
    new FarrierError("E_SHARD_INDEX", what, {
      file: source.path,
      ...(where === undefined ? {} : { where }),
    });
  if (source.size > indexMaxBytes) {
    throw bad(`${source.size} bytes, at most ${indexMaxBytes} are read`);
  }
  const index = parseJson(source.readAll(), {
    file: source.path,
    codes: indexCodes,
    maxBytes: indexMaxBytes,
  });
  const map = isJsonObject(index) ? index.get("weight_map") : undefined;
  if (!isJsonObject(map) || map.size === 0) throw bad("expected an object weight_map with entries");
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of map) {
    if (typeof shard !== "string") {
      throw bad("expected the name of a shard", `weight_map entry ${printable(tensor)}`);
    }
    shardOf.set(tensor, shard);
  }
  return shardOf;
}

/** Every tensor of every file; two files may not hold one name. */
function collect(files: readonly SafetensorsFile[]): Map<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  for (const file of files) {
    for (const [name, entry] of file.tensors) {
      const before = tensors.get(name);
      if (before !== undefined) {
        throw new FarrierError("E_SHARD_DUPLICATE", `also in ${before.file.name}`, {
          file: file.file.path,
          where: `tensor ${JSON.stringify(printable(name))}`,
        });
      }
      tensors.set(name, {
        name,
        dtype: entry.dtype,
        shape: entry.shape,
        file: file.file,
        offset: file.dataOffset + entry.begin,
        bytes: entry.end - entry.begin,
      });
    }
  }
  return tensors;
}
