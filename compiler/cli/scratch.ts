/**
 * Temporary files of one command, all in one directory that goes when the command ends, also when
 * it is interrupted: `TMPDIR` points there, so the C compiler's own files are in it too.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { FarrierError } from "../errors.js";

const signals = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** @throws FarrierError E_IO */
export function scratchDirectory(): string {
  try {
    return fs.mkdtempSync(path.join(os.tmpdir(), "farrier-"));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FarrierError("E_IO", `no temporary files can be made: ${why}`, {
      file: os.tmpdir(),
      hint: "set TMPDIR to a directory that can be written to",
      cause,
    });
  }
}

/** Attempts to remove the directory, and milliseconds between two. */
const [attempts, pause] = [100, 20];

/** A C compiler that is still running may write there while it is being removed. */
function remove(directory: string): void {
  for (let i = 0; i < attempts; i++)
    try {
      fs.rmSync(directory, { recursive: true, force: true });
      return;
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
    }
}

/**
 * Runs `body` with a scratch directory. Bundles are written to another name and renamed, without
 * giving way to signals, so that an interrupted command leaves a whole bundle or none.
 */
export async function withScratch<T>(body: () => Promise<T>): Promise<T> {
  const before = process.env["TMPDIR"];
  const directory = scratchDirectory();
  const clean = (): void => remove(directory);
  const stop = (signal: NodeJS.Signals): void => {
    clean();
    process.exit(signals[signal as keyof typeof signals]);
  };
  for (const signal of Object.keys(signals)) process.on(signal, stop);
  // Whoever reads the output may leave, which ends the process where it stands.
  process.on("exit", clean);
  process.env["TMPDIR"] = directory;
  try {
    return await body();
  } finally {
    if (before === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = before;
    for (const signal of Object.keys(signals)) process.off(signal, stop);
    process.off("exit", clean);
    clean();
  }
}
