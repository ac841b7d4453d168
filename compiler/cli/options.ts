/** Options that several commands share, and what their texts mean. */
import { InvalidArgumentError, type Command } from "commander";
import { parseWeightsMode } from "../bundle/weights.js";
import type { CompileOptions } from "../compile.js";
import { FarrierError } from "../errors.js";
import type { CacheLayout, ComputeType } from "../frontend/huggingface/import.js";

export interface RawCompileOptions {
  readonly target?: string;
  readonly dtype?: ComputeType;
  readonly dim?: Record<string, Size>;
  readonly cache?: CacheLayout["kind"];
  readonly pageSize?: number;
  readonly cacheTokens?: number;
  readonly buckets?: Record<string, readonly number[]>;
  readonly numerics?: "strict" | "fast";
  readonly weights?: string;
  readonly fusion?: boolean;
  readonly without?: readonly string[];
  readonly allowHardlinks?: boolean;
  readonly printAfter?: string;
}

const oneOf =
  <T extends string>(...values: readonly T[]) =>
  (text: string): T => {
    const found = values.find((value) => value === text);
    if (found === undefined) throw new InvalidArgumentError(`choose from ${values.join(", ")}.`);
    return found;
  };

/** A range, or how a dimension follows from others. */
type Size = readonly [number, number] | string;

function dim(text: string, before: Record<string, Size> = {}): Record<string, Size> {
  const formula = /^([^=]+)=([A-Za-z_(][^=]*)$/.exec(text);
  if (formula !== null) return { ...before, [formula[1]!]: formula[2]! };
  const match = /^([^=]+)=(\d{1,15})(?:\.\.(\d{1,15}))?$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError("write NAME=LO..HI, NAME=N, or NAME=A+B of other names.");
  const low = Number(match[2]);
  return { ...before, [match[1]!]: [low, match[3] === undefined ? low : Number(match[3])] };
}

function buckets(
  text: string,
  before: Record<string, readonly number[]> = {},
): Record<string, readonly number[]> {
  const match = /^([^=]+)=(\d{1,15}(?:,\d{1,15})*)$/.exec(text);
  if (match === null) throw new InvalidArgumentError("write NAME=N,N,…");
  return { ...before, [match[1]!]: match[2]!.split(",").map(Number) };
}

export const count =
  (min: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d{1,15}$/.test(text) || value < min)
      throw new InvalidArgumentError(`write an integer of at least ${min}.`);
    return value;
  };

export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0)) throw new InvalidArgumentError("write a number.");
  return value;
};

/** The options of `compile` that say what is computed. */
export function withModelOptions(command: Command): Command {
  return command
    .option(
      "--dtype <type>",
      "arithmetic and activations: f32, bf16 or f16 (default: what the model stores)",
      oneOf("f32", "bf16", "f16"),
    )
    .option("--dim <name=lo..hi>", "range of a symbol; repeat for each", dim)
    .option(
      "--cache <layout>",
      "of a directory's caches: contiguous, or paged with a block table (default: contiguous)",
      oneOf("contiguous", "paged"),
    )
    .option("--page-size <n>", "with --cache paged: positions of a page (default: 64)", count(1))
    .option(
      "--cache-tokens <n>",
      "with --cache paged: positions of all sequences together (default: the longest for each)",
      count(1),
    )
    .option(
      "--buckets <name=n,n>",
      "ends of ranges of a symbol that have kernels of their own (default: the target's)",
      buckets,
    )
    .option(
      "--numerics <mode>",
      "strict keeps every rounding of the model, fast may drop some",
      oneOf("strict", "fast"),
    )
    .option("--weights <how>", "embed, reference, live, random:SEED or none (default: embed)")
    .option("--allow-hardlinks", "accept files of the model that have more than one name")
    .option("--no-fusion", "one kernel for each operator: what fusion is compared with")
    .option(
      "--without <name>",
      "leave out passes of that name: what they do is compared with; repeat for each",
      (text: string, before: readonly string[] = []) => [...before, text],
    );
}

export function compileOptions(raw: RawCompileOptions): CompileOptions {
  return {
    ...(raw.target === undefined ? {} : { target: targetList(raw.target) }),
    ...(raw.dtype === undefined ? {} : { dtype: raw.dtype }),
    ...(raw.dim === undefined ? {} : { dims: raw.dim }),
    ...cacheOptions(raw),
    ...(raw.buckets === undefined ? {} : { buckets: raw.buckets }),
    ...(raw.numerics === undefined ? {} : { numerics: raw.numerics }),
    ...(raw.weights === undefined ? {} : { weights: parseWeightsMode(raw.weights) }),
    ...(raw.fusion === false ? { fuse: false } : {}),
    ...(raw.without === undefined ? {} : { without: raw.without }),
    ...(raw.allowHardlinks === true ? { allowHardlinks: true } : {}),
  };
}

function cacheOptions({ cache, pageSize, cacheTokens }: RawCompileOptions): CompileOptions {
  if (cache === "paged")
    return {
      cache: {
        kind: "paged",
        ...(pageSize === undefined ? {} : { pageSize }),
        ...(cacheTokens === undefined ? {} : { tokens: cacheTokens }),
      },
    };
  if (pageSize !== undefined || cacheTokens !== undefined)
    throw new FarrierError("E_OPTION", "only paged caches have pages", {
      where: "--page-size, --cache-tokens",
      hint: "give --cache paged",
    });
  return cache === undefined ? {} : { cache: { kind: cache } };
}

function targetList(text: string): string[] {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0)
    throw new FarrierError("E_OPTION", "no target is named", { where: "--target" });
  return [...new Set(names)];
}
