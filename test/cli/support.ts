/** The command line in this process: its exit status, and what it printed. */
import fs from "node:fs";
import path from "node:path";
import { vi } from "vitest";
import { main } from "../../compiler/cli/main.js";

export interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
  /** Lines of standard output as JSON, where `--json` was given. */
  readonly events: readonly Event[];
}

export type Event = Readonly<Record<string, unknown>> & { readonly event: string };

export async function farrier(...argv: string[]): Promise<Said> {
  let [out, err] = ["", ""];
  const toOut = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  const toErr = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    err += String(text);
    return true;
  });
  try {
    const status = await main(argv);
    const lines = argv.includes("--json") ? out.split("\n").filter((line) => line !== "") : [];
    return { status, out, err, events: lines.map((line) => JSON.parse(line) as Event) };
  } finally {
    toOut.mockRestore();
    toErr.mockRestore();
  }
}

/** What is in a directory, hidden files included. */
export const listed = (directory: string): string[] => fs.readdirSync(directory).sort();

/** Every file below a directory, with its bytes. */
export function contents(directory: string): Map<string, Buffer> {
  const files = fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  return new Map(
    files
      .filter((file) => fs.statSync(path.join(directory, file)).isFile())
      .map((file) => [file, fs.readFileSync(path.join(directory, file))]),
  );
}
