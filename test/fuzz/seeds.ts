/** The graphs of some seeds through one compiler call, and what came of each. */
import type { Backend } from "./backend.js";
import { runBatch, type BatchOptions, type Trial, type Verdict } from "./batch.js";
import { describeCase, sizeOf, type Variant } from "./case.js";
import { generate, variantsOf } from "./generate.js";
import type { Level } from "./library.js";
import { isas } from "./machine.js";
import { reduceCase } from "./reduce.js";
import { Rng } from "./random.js";

export interface Failure {
  readonly seed: number;
  readonly variant: Variant | null;
  readonly what: string;
  readonly nodes: number;
  /** The reduced graph, as text. */
  readonly text: string;
}

export interface Job {
  readonly target: Backend["target"];
  readonly seeds: readonly number[];
  readonly reduce: boolean;
}

export interface Report {
  /** Ways in which graphs were compiled and run. */
  readonly variants: number;
  readonly passed: number;
  readonly refused: readonly string[];
  readonly failures: readonly Failure[];
}

/** Compiling C takes most of the time: usually fast, sometimes as users do. */
export function backendOf(target: Backend["target"], seed: number): Backend {
  if (target !== "cpu") return { target };
  const rng = new Rng(seed + 77);
  const level = rng.weighted<Level>([
    [8, 0],
    [2, 1],
    [1, 3],
  ]);
  return { target, isa: rng.chance(0.6) ? "portable" : rng.pick(isas()), level };
}

async function failureOf(
  trial: Trial,
  verdict: Verdict & { kind: "failed" },
  options: BatchOptions,
  reduce: boolean,
): Promise<Failure> {
  const { variant } = verdict;
  const first = { found: trial.found, variant, verdict };
  const small = reduce ? await reduceCase(first, options) : first;
  return {
    seed: trial.found.seed,
    variant,
    what: small.verdict.what,
    nodes: sizeOf(small.found.graph),
    text: describeCase(small.found),
  };
}

export interface SeedOptions extends Omit<BatchOptions, "onRun"> {
  readonly reduce: boolean;
  readonly onRun?: (seed: number) => void;
}

/** Failures of a batch that are reduced: many have one cause. */
const mostReduced = 3;

/** Runs the graphs of `seeds` in this process. */
export async function runSeeds(
  seeds: readonly number[],
  { reduce, onRun, ...compiler }: SeedOptions,
): Promise<Report> {
  const options = { ...compiler, onRun: (i: number) => onRun?.(seeds[i]!) };
  const trials = seeds.map((seed): Trial => {
    const found = generate(seed);
    return { found, variants: variantsOf(found) };
  });
  const verdicts = await runBatch(trials, options);
  const failures: Failure[] = [];
  const refused: string[] = [];
  for (const [index, verdict] of verdicts.entries()) {
    if (verdict.kind === "refused") refused.push(`${seeds[index]}: ${verdict.what}`);
    if (verdict.kind === "failed")
      failures.push(
        await failureOf(trials[index]!, verdict, options, reduce && failures.length < mostReduced),
      );
  }
  return {
    variants: trials.reduce((total, { variants }) => total + variants.length, 0),
    passed: verdicts.filter(({ kind }) => kind === "passed").length,
    refused,
    failures,
  };
}
