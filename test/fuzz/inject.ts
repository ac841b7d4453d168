/**
 * The fuzzer tested on itself: each planted defect has to be found, and reduced.
 *
 *   npm run fuzz -- --self-test [--seed A] [--count N] [--only TEXT]
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { targetOf } from "./backend.js";
import { runBatch, type BatchOptions, type Trial, type Verdict } from "./batch.js";
import { describeCase, sizeOf, type Variant } from "./case.js";
import { faults, type Fault } from "./faults.js";
import { generate, variantsOf } from "./generate.js";
import { lowerCase, type Hooks, type Lowered } from "./lower.js";
import { reduceCase } from "./reduce.js";

const backend = { target: "cpu", isa: "portable", level: 0 } as const;
const compiler: BatchOptions = { backend };
const target = targetOf(backend);

/** What would run: equal fingerprints are equal programs. */
function fingerprint({ plans, texts }: Lowered): string {
  return JSON.stringify([plans, [...texts]]);
}

function attempt(trial: Trial, variant: Variant, hooks?: Hooks): string | null {
  try {
    return fingerprint(lowerCase(trial.found, variant, target, hooks));
  } catch (error) {
    return `throws ${String(error)}`;
  }
}

/** Graphs with the programs that a sound compiler makes of them. */
export class Pool {
  readonly #trials: { readonly trial: Trial; readonly sound: readonly (string | null)[] }[] = [];

  constructor(readonly seed: number) {}

  at(index: number): { readonly trial: Trial; readonly sound: readonly (string | null)[] } {
    while (this.#trials.length <= index) {
      const found = generate(this.seed + this.#trials.length);
      const trial = { found, variants: variantsOf(found) };
      const sound = trial.variants.map((variant) => attempt(trial, variant));
      this.#trials.push({ trial, sound });
    }
    return this.#trials[index]!;
  }
}

export interface Hunt {
  readonly fault: string;
  readonly found: boolean;
  /** Graphs made until it was found. */
  readonly graphs: number;
  /** Operators of the reduced graph. */
  readonly nodes: number;
  readonly what: string;
  readonly text: string;
}

/** Graphs that run at a time, of those that the defect changes. */
const together = 12;

export interface HuntOptions {
  readonly most: number;
  readonly reduce: boolean;
}

export async function hunt(pool: Pool, fault: Fault, options: HuntOptions): Promise<Hunt> {
  const { hooks, name } = fault;
  let waiting: Trial[] = [];
  for (let index = 0; index < options.most; index++) {
    const { trial, sound } = pool.at(index);
    const changed = trial.variants.filter(
      (variant, i) => attempt(trial, variant, hooks) !== sound[i],
    );
    if (changed.length > 0) waiting.push({ ...trial, variants: changed });
    if (waiting.length < together && index + 1 < options.most) continue;
    const verdicts = await runBatch(waiting, { ...compiler, hooks });
    const hit = smallestFailure(waiting, verdicts);
    waiting = [];
    if (hit === null) continue;
    const first = { found: hit.trial.found, variant: hit.verdict.variant, verdict: hit.verdict };
    const small = options.reduce ? await reduceCase(first, { ...compiler, hooks }) : first;
    const { found, verdict } = small;
    const nodes = sizeOf(found.graph);
    const text = describeCase(found);
    return { fault: name, found: true, graphs: index + 1, nodes, what: verdict.what, text };
  }
  return { fault: name, found: false, graphs: options.most, nodes: 0, what: "", text: "" };
}

function smallestFailure(
  trials: readonly Trial[],
  verdicts: readonly Verdict[],
): { trial: Trial; verdict: Verdict & { kind: "failed" } } | null {
  const failed = verdicts.flatMap((verdict, i) =>
    verdict.kind === "failed" ? [{ trial: trials[i]!, verdict }] : [],
  );
  failed.sort((a, b) => sizeOf(a.trial.found.graph) - sizeOf(b.trial.found.graph));
  return failed[0] ?? null;
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

interface Job {
  readonly fault: string;
  readonly seed: number;
  readonly most: number;
}

/** In a process of its own, which a defect may break. */
function huntApart(job: Job): Promise<Hunt> {
  const child = fork(fileURLToPath(import.meta.url), ["--hunt"], {
    env: { ...process.env, FARRIER_THREADS: process.env["FARRIER_THREADS"] ?? "2" },
  });
  return new Promise((resolve) => {
    child.on("message", (made: Hunt) => {
      resolve(made);
      child.disconnect();
    });
    child.on("exit", () => {
      const { fault, most: graphs } = job;
      resolve({ fault, found: true, graphs, nodes: 0, what: "its process died", text: "" });
    });
    child.send(job);
  });
}

function serve(): void {
  process.on("message", ({ fault, seed, most }: Job) => {
    const known = faults.find(({ name }) => name === fault)!;
    void hunt(new Pool(seed), known, { most, reduce: true }).then((made) => process.send?.(made));
  });
}

export interface SelfTest {
  readonly seed: number;
  /** Graphs that are made for each defect, at most. */
  readonly graphs: number;
  /** Only defects whose name contains this. */
  readonly only: string;
}

const row = (name: string, graphs: string, nodes: string, seconds: string, what: string): string =>
  `${name.padEnd(52)} ${graphs.padStart(6)} ${nodes.padStart(9)} ${seconds.padStart(7)}  ${what}`;

/** Hunts every defect and prints a table; whether all of them were found. */
export async function selfTest({ seed, graphs, only }: SelfTest): Promise<boolean> {
  const hunts: Hunt[] = [];
  const began = performance.now();
  console.log(row("defect", "graphs", "operators", "seconds", "seen as"));
  for (const { name } of faults.filter((fault) => fault.name.includes(only))) {
    const start = performance.now();
    const made = await huntApart({ fault: name, seed, most: graphs });
    hunts.push(made);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const [nodes, what] = made.found ? [String(made.nodes), made.what] : ["-", "NOT FOUND"];
    console.log(row(name, String(made.graphs), nodes, seconds, what.slice(0, 90)));
  }
  const found = hunts.filter((each) => each.found);
  const nodes = median(found.map((each) => each.nodes));
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log(
    `${found.length} of ${hunts.length} defects found in ${seconds} s, ` +
      `the median reduced to ${nodes} operators`,
  );
  return found.length === hunts.length;
}

if (process.argv.includes("--hunt")) serve();
