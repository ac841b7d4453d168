/** Every kernel of the cases through ptxas, where there is one: no errors, spills or C75xx warnings. */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { targetNamed } from "../../../compiler/kernel/target.js";
import type { GpuCase } from "../../gpu/cases/case.js";
import { casesOf, hopperCases } from "../../gpu/cases/registry.js";

const assembler = "ptxas";
const present = spawnSync(assembler, ["--version"]).status === 0;
const whole = process.env["FARRIER_LARGE"] === "1";
/** A target's text, and the architecture that assembles it. */
const pairs = [
  ["sm_80", "sm_80"],
  ["sm_80", "sm_90"],
  ["sm_90", "sm_90"],
  ["sm_90", "sm_120"],
  ["sm_90a", "sm_90a"],
] as const;
const folder = mkdtempSync(join(tmpdir(), "farrier-assemble-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A problem with a kernel, or null. */
async function problem(test: GpuCase, text: string, architecture: string): Promise<string | null> {
  const file = join(folder, `${createHash("sha256").update(text).digest("hex").slice(0, 20)}.ptx`);
  writeFileSync(file, text);
  const args = [`-arch=${architecture}`, "-v", "-o", `${file}.${architecture}.cubin`, file];
  const child = spawn(assembler, args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stdout.on("data", (part: Buffer) => (log += part.toString()));
  child.stderr.on("data", (part: Buffer) => (log += part.toString()));
  const status = await new Promise((resolve) => child.on("close", resolve));
  const where = `${test.name}, ${architecture}`;
  if (status !== 0) return `${where}: ${log}`;
  const warning = /^.*\bC75\d\d\b.*$/m.exec(log);
  if (warning !== null) return `${where}: ${warning[0]}`;
  const anchored = test.desc.family === "gemm" || test.desc.family === "attention";
  const spilled = [...log.matchAll(/(\d+) bytes spill/g)].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
  return anchored && spilled > 0 ? `${where}: ${spilled} bytes of spills` : null;
}

describe.skipIf(!present)(`ptxas${present ? "" : " (skipped: not on the PATH)"}`, () => {
  it.each(pairs)(
    "assembles every kernel of %s for %s",
    { timeout: 600_000 },
    async (name, architecture) => {
      const kernels = new Map<string, GpuCase>();
      for (const { test, on } of casesOf(targetNamed(name))) {
        const { text } = test.kernel(on);
        if (!kernels.has(text)) kernels.set(text, test);
      }
      // All for the first, and all that one target has alone; the others get every sixth, which is every family,
      // or all of them too (`FARRIER_LARGE=1`).
      const own = new Set(name === "sm_90a" ? hopperCases().map((test) => test.name) : []);
      const queue = [...kernels].filter(
        ([, test], i) => whole || architecture === "sm_80" || i % 6 === 0 || own.has(test.name),
      );
      const problems: string[] = [];
      await Promise.all(
        Array.from({ length: availableParallelism() }, async () => {
          for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
            const found = await problem(next[1], next[0], architecture);
            if (found !== null) problems.push(found);
          }
        }),
      );
      expect(problems).toEqual([]);
    },
  );
});
