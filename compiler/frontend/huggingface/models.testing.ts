/** The fixture models, their reference values, and runs of imported graphs by the evaluator. */
import fs from "node:fs";
import path from "node:path";
import { evaluateGraph, type EvaluatedGraph, type EvaluateMode } from "../../ir/evaluate.js";
import { fromBytes, tensor, type TensorValue } from "../../ir/tensor.js";
import { temporaryDirectory } from "../files/failure.testing.js";
import { SafetensorsFile } from "../files/safetensors.js";
import { ModelDirectory } from "../files/source-file.js";
import { inMemory, writeSafetensors } from "../files/write-safetensors.js";
import type { EntryName, ImportedModel } from "../model.js";
import { importHuggingFace, type HuggingFaceOptions } from "./import.js";

const root = path.resolve(import.meta.dirname, "../../../test/fixtures/models");

/** Language models. */
export const fixtures = ["gpt2", "llama", "qwen3", "published/gpt2", "published/llama"] as const;
export type Fixture = (typeof fixtures)[number] | "bert" | "published/bert" | "deepseek_v3";

export interface Reference {
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly rel_rms_of_transformers: Readonly<Record<"f32" | "bf16" | "f16", number>>;
}

export function referenceOf(fixture: Fixture): Reference {
  const text = fs.readFileSync(path.join(root, fixture, "reference.json"), "utf8");
  return JSON.parse(text) as Reference;
}

export function golden(fixture: Fixture, name: string): TensorValue {
  const file = SafetensorsFile.open(path.join(root, fixture, "golden-hf.safetensors"));
  return tensorOf(file, name);
}

function tensorOf(file: SafetensorsFile, name: string): TensorValue {
  const { dtype, shape, begin, end } = file.tensors.get(name)!;
  return fromBytes(dtype, shape, file.file.readRange(file.dataOffset + begin, end - begin));
}

export const fixturePath = (fixture: Fixture): string => path.join(root, fixture, "hf");

export function importFixture(fixture: Fixture, options: HuggingFaceOptions = {}): ImportedModel {
  return importHuggingFace(ModelDirectory.at(fixturePath(fixture)), options);
}

export type Config = Record<string, unknown>;

export function configOf(fixture: Fixture): Config {
  const text = fs.readFileSync(path.join(fixturePath(fixture), "config.json"), "utf8");
  return JSON.parse(text) as Config;
}

/** Imports a directory that holds only this config.json. */
export function importConfig(config: Config, options: HuggingFaceOptions = {}): ImportedModel {
  const directory = temporaryDirectory({ "config.json": JSON.stringify(config) });
  try {
    return importHuggingFace(ModelDirectory.at(directory.path), { weights: "none", ...options });
  } finally {
    directory.remove();
  }
}

/** Imports a copy of a fixture of one file whose tensors went through `edit`. */
export function importEdited(
  fixture: Fixture,
  edit: (tensors: Map<string, TensorValueBytes>) => void,
  config: Config = {},
): ImportedModel {
  const file = SafetensorsFile.open(path.join(fixturePath(fixture), "model.safetensors"));
  const tensors = new Map<string, TensorValueBytes>();
  for (const [name, { dtype, shape, begin, end }] of file.tensors) {
    const bytes = file.file.readRange(file.dataOffset + begin, end - begin);
    tensors.set(name, { dtype, shape, bytes });
  }
  edit(tensors);
  const text = JSON.stringify({ ...configOf(fixture), ...config });
  const directory = temporaryDirectory({ "config.json": text });
  try {
    const written = [...tensors].map(
      ([name, { dtype, shape, bytes }]) => [name, inMemory(dtype, shape, bytes)] as const,
    );
    writeSafetensors(directory.file("model.safetensors"), new Map(written));
    return importHuggingFace(ModelDirectory.at(directory.path), { dtype: "f32" });
  } finally {
    directory.remove();
  }
}

export interface TensorValueBytes {
  readonly dtype: TensorValue["dtype"];
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface RunOptions {
  readonly mode?: EvaluateMode;
  readonly states?: ReadonlyMap<string, TensorValue>;
}

export function run(
  model: ImportedModel,
  name: EntryName,
  inputs: Readonly<Record<string, TensorValue>>,
  options: RunOptions = {},
): EvaluatedGraph & { readonly logits: TensorValue } {
  const places = new Map(model.tensors.map((each) => [each.name, each.place]));
  const entry = model.entries.find((each) => each.name === name)!;
  const rows = inputs["input_ids"]!.shape[0]!;
  const given = entry.graph.inputs.flatMap(({ attrs, dtype }): [string, TensorValue][] => {
    const value = inputs[attrs.name];
    if (value !== undefined) return [[attrs.name, value]];
    const fill = name === "main" ? undefined : model.fills.get(attrs.name);
    if (fill === undefined) return [];
    return [[attrs.name, tensor(dtype, [rows], Array<number>(rows).fill(fill))]];
  });
  const result = evaluateGraph(entry.graph, new Map(given), {
    ...options,
    constants: (source) => {
      const place = source.kind === "literal" ? null : places.get(source.tensor);
      if (place === null || place === undefined) throw new Error("a tensor without bytes");
      return place.file.readRange(place.offset, place.bytes);
    },
  });
  return { ...result, logits: result.outputs.get("logits")! };
}

/** Rows of ids of equal length. */
export const idsOf = (rows: readonly (readonly number[])[]): TensorValue =>
  tensor("i64", [rows.length, rows[0]!.length], rows.flat());

export const lengthsOf = (lengths: readonly number[]): TensorValue =>
  tensor("i32", [lengths.length], lengths);

/** Scores of position `at` of sequence `b`. */
export function scores(logits: TensorValue, b: number, at: number): number[] {
  const [, seq, vocabulary] = logits.shape as [number, number, number];
  const start = (b * seq + at) * vocabulary;
  return Array.from(logits.data.slice(start, start + vocabulary), Number);
}

export function relativeRms(
  out: Iterable<number | bigint>,
  expected: Iterable<number | bigint>,
): number {
  const reference = Array.from(expected, Number);
  const error = Array.from(out, Number).map((value, i) => value - reference[i]!);
  const norm = (values: readonly number[]): number =>
    Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return norm(error) / norm(reference);
}

export const largest = (values: readonly number[]): number => values.indexOf(Math.max(...values));
