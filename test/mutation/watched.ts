/**
 * What a round is about to do, in a file: it outlives a process that hangs, is ended, or dies of
 * memory in a way that no handler hears of.
 */
import fs from "node:fs";

/** Executions and the input's length, 32 bits each; the input follows. */
const headerBytes = 8;
const mostBytes = 1 << 20;

export interface Watched {
  readonly executions: number;
  readonly input: Uint8Array;
}

export class WatchedFile {
  readonly #file: number;
  readonly #bytes = Buffer.alloc(headerBytes + mostBytes);

  constructor(path: string) {
    this.#file = fs.openSync(path, "r+");
  }

  /** Called before each execution. */
  write(input: Uint8Array, executions: number): void {
    const length = Math.min(input.length, mostBytes);
    this.#bytes.writeUInt32LE(executions, 0);
    this.#bytes.writeUInt32LE(length, 4);
    this.#bytes.set(input.subarray(0, length), headerBytes);
    fs.writeSync(this.#file, this.#bytes, 0, headerBytes + length, 0);
  }
}

export const makeWatched = (path: string): void => {
  fs.writeFileSync(path, Buffer.alloc(headerBytes));
};

export function readWatched(path: string): Watched {
  const bytes = fs.readFileSync(path);
  const length = bytes.readUInt32LE(4);
  const input = new Uint8Array(bytes.subarray(headerBytes, headerBytes + length));
  return { executions: bytes.readUInt32LE(0), input };
}
