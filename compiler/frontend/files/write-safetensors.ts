/** Writes safetensors files of any size, a chunk at a time; the same tensors give the same bytes. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { bug, FarrierError } from "../../errors.js";
import { byteSize, type DType, dtypes } from "../../ir/dtype.js";
import { type ContentHash, ContentHasher } from "./content-hash.js";

export interface TensorToWrite {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The tensor's bytes in order, cut anywhere; called once. */
  chunks(): Iterable<Uint8Array>;
}

/**
 * Writes to a temporary name and renames, so that a reader sees the whole file or none. Tensors
 * stand by falling element size, then by name: each is then aligned to its element.
 *
 * @returns the hash of the file's content
 */
export function writeSafetensors(
  file: string,
  tensors: ReadonlyMap<string, TensorToWrite>,
  metadata: ReadonlyMap<string, string> = new Map(),
): ContentHash {
  const ordered = [...tensors].sort(([nameA, a], [nameB, b]) => {
    const byBits = dtypes[b.dtype].bits - dtypes[a.dtype].bits;
    return byBits || (nameA < nameB ? -1 : 1);
  });
  const header = headerBytes(ordered, metadata);
  const suffix = randomBytes(6).toString("hex");
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${suffix}.tmp`);
  let fd: number | undefined;
  try {
    fd = fs.openSync(temporary, "wx", 0o644);
    const hasher = new ContentHasher();
    writeAll(fd, header, hasher);
    for (const [name, tensor] of ordered) writeTensor(fd, name, tensor, hasher);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fd = undefined;
    fs.renameSync(temporary, file);
    return hasher.digest();
  } catch (error) {
    if (fd !== undefined) fs.closeSync(fd);
    fs.rmSync(temporary, { force: true });
    if (error instanceof FarrierError || !isSystemError(error)) throw error;
    throw new FarrierError("E_IO", `cannot write: ${error.message}`, { file, cause: error });
  }
}

/** Tensors that are in memory already. */
export function inMemory(dtype: DType, shape: readonly number[], bytes: Uint8Array): TensorToWrite {
  return { dtype, shape, chunks: () => [bytes] };
}

function headerBytes(
  ordered: readonly (readonly [string, TensorToWrite])[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array {
  const fields: string[] = [];
  if (metadata.size > 0) {
    const sorted = [...metadata].sort(([a], [b]) => (a < b ? -1 : 1));
    const items = sorted.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${items.join(",")}}`);
  }
  let at = 0;
  for (const [name, { dtype, shape }] of ordered) {
    const spelling = dtypes[dtype].safetensors;
    if (spelling === null) throw bug(`safetensors has no ${dtype}, wanted for ${name}`);
    if (name === "__metadata__") throw bug("a tensor cannot be named __metadata__");
    const end = at + tensorBytes(name, dtype, shape);
    const offsets = `"data_offsets":[${at},${end}]`;
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${spelling}","shape":[${shape.join(",")}],${offsets}}`,
    );
    at = end;
  }
  const text = Buffer.from(`{${fields.join(",")}}`, "utf8");
  // Blanks up to a multiple of eight, so that the data starts aligned.
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  return bytes;
}

function tensorBytes(name: string, dtype: DType, shape: readonly number[]): number {
  const elements = shape.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(elements * dtypes[dtype].bits)) throw bug(`${name} is too large`);
  if ((elements * dtypes[dtype].bits) % 8 !== 0) throw bug(`${name} does not end on a byte`);
  return byteSize(dtype, elements);
}

function writeTensor(fd: number, name: string, tensor: TensorToWrite, hasher: ContentHasher): void {
  const expected = tensorBytes(name, tensor.dtype, tensor.shape);
  let written = 0;
  for (const chunk of tensor.chunks()) {
    written += chunk.length;
    if (written > expected) break;
    writeAll(fd, chunk, hasher);
  }
  if (written !== expected) throw bug(`${name} has ${written} bytes, declared ${expected}`);
}

function writeAll(fd: number, bytes: Uint8Array, hasher: ContentHasher): void {
  for (let at = 0; at < bytes.length;) {
    at += fs.writeSync(fd, bytes, at, Math.min(bytes.length - at, 1 << 30));
  }
  hasher.update(bytes);
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";
