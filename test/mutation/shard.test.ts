/** A share of the mutation of readers for every change, of a fixed seed. */
import { describe, expect, it } from "vitest";
import { fuzzReader, withInstrumented } from "./run.js";
import type { ReaderName } from "./readers.js";

/** Points that so few executions reach, less a quarter: fewer say that the search is blind. */
const shares: readonly (readonly [ReaderName, executions: number, reached: number])[] = [
  ["onnx", 8000, 700],
  ["safetensors", 12_000, 150],
  ["config", 8000, 400],
];

describe("mutated bytes", () => {
  it("are read or refused, in bounded time and memory", { timeout: 300_000 }, async () => {
    await withInstrumented(async (code) => {
      for (const [reader, executions, reached] of shares) {
        const job = { reader, seed: 1, executions, seconds: Infinity, corpus: [] };
        const total = await fuzzReader(code, job);
        const told = total.findings.map(({ kind, what, input }) => {
          return `${reader}: ${kind}: ${what} ${Buffer.from(input).toString("base64")}`;
        });
        expect(told).toEqual([]);
        expect(total.executions).toBe(executions);
        expect(total.reached).toBeGreaterThan(reached);
      }
    });
  });
});
