/** Inputs that are too large to stand in a table, written without holding them in memory. */
import fs from "node:fs";
import {
  bytesField,
  concat,
  encodeModel,
  encodeValue,
  intField,
  node,
  stringField,
  varint,
  tag,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { graphOf } from "./case.js";

/** Writes what comes, a few megabytes at a time. */
function writeAll(file: string, pieces: Iterable<Uint8Array>): void {
  const fd = fs.openSync(file, "w");
  let held: Uint8Array[] = [];
  let size = 0;
  const flush = (): void => {
    fs.writeSync(fd, Buffer.concat(held));
    [held, size] = [[], 0];
  };
  for (const piece of pieces) {
    held.push(piece);
    size += piece.length;
    if (size > 1 << 22) flush();
  }
  flush();
  fs.closeSync(fd);
}

/** A chain of `count` nodes of one operator. */
export function chain(file: string, count: number, op = "Identity"): void {
  function* nodes(): Generator<Uint8Array> {
    for (let i = 0; i < count; i++) {
      const [from, to] = [i === 0 ? "x" : `v${i}`, i === count - 1 ? "y" : `v${i + 1}`];
      yield bytesField(1, stringField(1, from), stringField(2, to), stringField(4, op));
    }
  }
  let size = 0;
  for (const piece of nodes()) size += piece.length;
  const ends = concat(
    bytesField(11, encodeValue({ name: "x", type: "f32", shape: [2, 3] })),
    bytesField(12, encodeValue({ name: "y", type: "f32" })),
  );
  function* model(): Generator<Uint8Array> {
    yield concat(intField(1, 10), bytesField(8, intField(2, 21)));
    yield concat(tag(7, 2), varint(size + ends.length));
    yield* nodes();
    yield ends;
  }
  writeAll(file, model());
}

/** A safetensors file of `count` empty tensors whose header is padded to `bytes`. */
export function emptyTensors(file: string, count: number, bytes: number): void {
  function* entries(): Generator<Uint8Array> {
    for (let i = 0; i < count; i++)
      yield Buffer.from(
        `${i === 0 ? "{" : ","}"t${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`,
      );
    yield Buffer.from("}");
  }
  let size = 0;
  for (const piece of entries()) size += piece.length;
  const padded = Math.max(size, bytes);
  function* content(): Generator<Uint8Array> {
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(padded));
    yield head;
    yield* entries();
    yield Buffer.alloc(padded - size, " ");
  }
  writeAll(file, content());
}

/** A file of this size with nothing in it but `tail` at its end: it takes no place on the disk. */
export function sparse(file: string, size: number, tail: Uint8Array = new Uint8Array()): void {
  fs.writeFileSync(file, "");
  fs.truncateSync(file, size);
  const fd = fs.openSync(file, "r+");
  fs.writeSync(fd, tail, 0, tail.length, size - tail.length);
  fs.closeSync(fd);
}

/** A model whose weight w [64] is the last 256 bytes of w.bin. */
export const atTheEnd = (size: number): Uint8Array =>
  encodeModel({
    graph: {
      ...graphOf([node("Mul", ["w", "x"], ["y"])], {
        ...{ name: "w", type: "f32", dims: [64] },
        external: { location: "w.bin", offset: String(size - 256), length: "256" },
      }),
      inputs: [{ name: "x", type: "f32", shape: [64] }],
    },
  });
