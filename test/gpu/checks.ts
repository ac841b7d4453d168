/** What checks on a GPU share: counts, bundles that are made, run and removed. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compile, type CompileOptions } from "../../compiler/compile.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { packageRoot } from "../../compiler/version.js";
import { load, type Model } from "../../runtime/node/index.js";

export const fixtures = path.join(packageRoot(), "test", "fixtures", "models");
/** What everything is compiled for: `TARGET` of the environment. */
export const target = process.env["TARGET"] ?? "sm_80";
/** Removed when all is done. */
export const work = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-gpu-"));
export const counts = { passed: 0, failed: 0 };

export function check(what: string, ok: boolean, detail: string): void {
  counts[ok ? "passed" : "failed"]++;
  process.stdout.write(`${ok ? "ok  " : "FAIL"} ${what}: ${detail}\n`);
}

export async function attempt(what: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    check(what, false, error instanceof Error ? error.message.slice(0, 1500) : String(error));
  }
}

let bundles = 0;
export async function onGpu<T>(
  source: string | ImportedModel,
  options: CompileOptions,
  body: (model: Model) => Promise<T>,
): Promise<T> {
  const output = path.join(work, `bundle${bundles++}`);
  await compile(source, { target: [target], ...options, output });
  const model = await load(output, { device: "cuda:0" });
  try {
    return await body(model);
  } finally {
    await model.close();
    fs.rmSync(output, { recursive: true, force: true });
  }
}
