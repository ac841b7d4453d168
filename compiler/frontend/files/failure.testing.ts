import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { FarrierError } from "../../errors.js";

/** The FarrierError that `action` throws; any other outcome fails the test. */
export function failure(action: () => unknown): FarrierError {
  try {
    action();
  } catch (error) {
    if (error instanceof FarrierError) return error;
    throw error;
  }
  throw new Error("expected a FarrierError, nothing was thrown");
}

/** Whether `action` succeeded; rethrows everything that is not a FarrierError. */
export function survives(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof FarrierError && error.code !== "E_INTERNAL") return false;
    throw error;
  }
}

/** A fresh directory with the given files; the caller removes it. */
export function temporaryDirectory(files: Readonly<Record<string, string | Uint8Array>> = {}): {
  path: string;
  file(name: string): string;
  remove(): void;
} {
  const root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "farrier-")));
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(root, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, content);
  }
  return {
    path: root,
    file: (name) => path.join(root, name),
    remove: () => fs.rmSync(root, { recursive: true, force: true }),
  };
}

/** A seeded generator of unsigned 32-bit numbers (mulberry32): tests repeat. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** A copy with a few bytes changed, inserted, removed, repeated or cut off. */
export function mutate(bytes: Uint8Array, next: (below: number) => number): Uint8Array {
  let out = Buffer.from(bytes);
  for (let edits = 1 + next(4); edits > 0 && out.length > 0; edits--) {
    const at = next(out.length);
    const span = 1 + next(Math.min(16, out.length - at));
    const noise = Buffer.from(Array.from({ length: 1 + next(12) }, () => next(256)));
    switch (next(6)) {
      case 0:
        out[at] = (out[at] ?? 0) ^ (1 << next(8));
        break;
      case 1:
        out[at] = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x7b, 0x7d][next(8)] ?? 0;
        break;
      case 2:
        out = Buffer.concat([out.subarray(0, at), noise, out.subarray(at)]);
        break;
      case 3:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + span)]);
        break;
      case 4:
        out = Buffer.concat([out.subarray(0, at + span), out.subarray(at)]);
        break;
      default:
        out = out.subarray(0, at);
    }
  }
  return new Uint8Array(out);
}
