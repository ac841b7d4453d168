/** What tests of whole models share: fixtures, bundles in temporary directories, errors of results. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import {
  compare,
  numbersOf,
  readTensors,
  asInput,
  type FileTensor,
} from "../compiler/cli/tensors.js";
import { compile, type CompileOptions } from "../compiler/compile.js";
import type { ImportedModel } from "../compiler/frontend/model.js";
import { packageRoot } from "../compiler/version.js";
import { load, type Model, type Tensor } from "../runtime/node/index.js";

export const fixtures = path.join(packageRoot(), "test", "fixtures", "models");
export const fixture = (...parts: string[]): string => path.join(fixtures, ...parts);

const made: string[] = [];
afterAll(() => {
  for (const directory of made) fs.rmSync(directory, { recursive: true, force: true });
});

export function temporaryDirectory(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-test-"));
  made.push(directory);
  return directory;
}

/** A bundle of `source` that is removed after the file's tests. */
export async function bundleOf(
  source: string | ImportedModel,
  options: CompileOptions = {},
): Promise<string> {
  return (
    await compile(source, { ...options, output: path.join(temporaryDirectory(), "model.farrier") })
  ).path;
}

/** The model of a bundle, with an instruction set forced where one is named. */
export async function loaded(bundle: string, isa?: string): Promise<Model> {
  const before = process.env["FARRIER_ISA"];
  if (isa !== undefined) process.env["FARRIER_ISA"] = isa;
  try {
    return await load(bundle);
  } finally {
    if (before === undefined) delete process.env["FARRIER_ISA"];
    else process.env["FARRIER_ISA"] = before;
  }
}

/** Instruction sets that this machine has, of those that bundles hold. */
export function isas(): string[] {
  if (process.arch !== "x64") return ["portable"];
  const flags = fs.existsSync("/proc/cpuinfo") ? fs.readFileSync("/proc/cpuinfo", "utf8") : "";
  const has = (...names: string[]): boolean =>
    names.every((name) => new RegExp(`\\b${name}\\b`).test(flags));
  return [
    "portable",
    ...(has("avx2", "fma", "f16c") ? ["avx2"] : []),
    ...(has("avx512f", "avx512bw", "avx512dq", "avx512vl") ? ["avx512"] : []),
  ];
}

export const golden = (file: string): Map<string, FileTensor> => readTensors(file);

/** rel-RMS of a result against a golden tensor. */
export function relRms(result: Tensor, reference: FileTensor): number {
  return compare(result.toFloat64(), numbersOf(reference), reference.shape).relRms;
}

export { asInput, compare, numbersOf };

export interface Reference {
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly rel_rms_of_transformers: Readonly<Record<"f32" | "bf16" | "f16", number>>;
}

export const reference = (model: string): Reference =>
  JSON.parse(fs.readFileSync(fixture(model, "reference.json"), "utf8")) as Reference;
