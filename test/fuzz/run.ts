/**
 * The fuzzer of valid graphs.
 *
 *   npx tsx test/fuzz/run.ts --seed A --count N [--shard i/n] [--seconds S] [--no-reduce]
 *
 * Graphs of the seeds A … A + N - 1 run in a process of their own, many to a compiler call, so that
 * one that kills its process is found, told and left behind.
 */
import { fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeCase, sizeOf, type Variant } from "./case.js";
import { runBatch, type BatchOptions, type Trial, type Verdict } from "./batch.js";
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

interface Job {
  readonly seeds: readonly number[];
  readonly reduce: boolean;
}

type Report =
  | { readonly kind: "running"; readonly seed: number }
  | {
      readonly kind: "done";
      readonly passed: number;
      readonly refused: readonly string[];
      readonly failures: readonly Failure[];
    };

/** Compiling takes most of the time: usually fast, sometimes as users do. */
export function compilerOf(seed: number): BatchOptions {
  const rng = new Rng(seed + 77);
  const level = rng.weighted<Level>([
    [8, 0],
    [2, 1],
    [1, 3],
  ]);
  return { isa: rng.chance(0.6) ? "portable" : rng.pick(isas()), level };
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

/** Runs the seeds of one job in this process. */
export async function runSeeds(
  { seeds, reduce }: Job,
  compiler: BatchOptions,
  onRun: (seed: number) => void = () => undefined,
): Promise<Report & { kind: "done" }> {
  const options = { ...compiler, onRun: (i: number) => onRun(seeds[i]!) };
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
      failures.push(await failureOf(trials[index]!, verdict, options, reduce));
  }
  const passed = verdicts.filter(({ kind }) => kind === "passed").length;
  return { kind: "done", passed, refused, failures };
}

/** Processes are replaced after so many graphs: expressions are interned for as long as one lives. */
const graphsPerProcess = 3000;

class Worker {
  #child: ReturnType<typeof fork> | null = null;
  #done = 0;

  /** The report, or the seed that was running when the process died. */
  async run(job: Job): Promise<Report> {
    if (this.#done > graphsPerProcess) this.close();
    this.#done += job.seeds.length;
    const child = (this.#child ??= fork(fileURLToPath(import.meta.url), ["--worker"], {
      env: { ...process.env, FARRIER_THREADS: process.env["FARRIER_THREADS"] ?? "2" },
    }));
    let running = job.seeds[0]!;
    return new Promise<Report>((resolve) => {
      const listen = (report: Report): void => {
        if (report.kind === "running") running = report.seed;
        else finish(report);
      };
      const died = (): void => {
        this.#child = null;
        this.#done = 0;
        finish({ kind: "running", seed: running });
      };
      const finish = (report: Report): void => {
        child.off("message", listen);
        child.off("exit", died);
        resolve(report);
      };
      child.on("message", listen);
      child.on("exit", died);
      child.send(job);
    });
  }

  close(): void {
    this.#child?.disconnect();
    this.#child = null;
    this.#done = 0;
  }
}

function serve(): void {
  process.on("message", (job: Job) => {
    const running = (seed: number): unknown => process.send?.({ kind: "running", seed });
    void runSeeds(job, compilerOf(job.seeds[0]!), running).then((made) => process.send?.(made));
  });
}

interface Totals {
  graphs: number;
  passed: number;
  refused: string[];
  failures: Failure[];
}

function add(totals: Totals, report: Report & { kind: "done" }): void {
  totals.passed += report.passed;
  totals.refused.push(...report.refused);
  totals.failures.push(...report.failures);
  for (const failure of report.failures)
    console.log(`MISMATCH ${failure.what}\n${failure.nodes} operators, ${failure.text}`);
}

/** A job, without the seeds that kill the process that runs them. */
async function runJob(worker: Worker, job: Job, totals: Totals): Promise<void> {
  let { seeds } = job;
  totals.graphs += seeds.length;
  while (seeds.length > 0) {
    const report = await worker.run({ ...job, seeds });
    if (report.kind === "done") return add(totals, report);
    const { seed } = report;
    const found = generate(seed);
    const what = "the process died";
    const text = describeCase(found);
    const nodes = sizeOf(found.graph);
    add(totals, {
      kind: "done",
      passed: 0,
      refused: [],
      failures: [{ seed, variant: null, what, nodes, text }],
    });
    seeds = seeds.filter((each) => each !== seed);
  }
}

/** Graphs of one compiler call. */
const batchSize = 50;

interface Options {
  readonly seed: number;
  readonly count: number;
  readonly shard: readonly [number, number];
  readonly seconds: number;
  readonly reduce: boolean;
}

async function runAll({ seed, count, shard, seconds, reduce }: Options): Promise<Totals> {
  const totals: Totals = { graphs: 0, passed: 0, refused: [], failures: [] };
  const worker = new Worker();
  const began = Date.now();
  const [part, parts] = shard;
  const mine = Array.from({ length: count }, (_, i) => seed + i).filter(
    (_, i) => i % parts === part - 1,
  );
  for (let at = 0; at < mine.length; at += batchSize) {
    const elapsed = (Date.now() - began) / 1000;
    if (elapsed > seconds) break;
    await runJob(worker, { seeds: mine.slice(at, at + batchSize), reduce }, totals);
    const rate = totals.graphs / ((Date.now() - began) / 1000);
    process.stderr.write(
      `\r${totals.graphs} graphs, ${rate.toFixed(1)} a second, ${totals.failures.length} mismatches `,
    );
  }
  worker.close();
  process.stderr.write("\n");
  return totals;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      count: { type: "string", default: "1000" },
      shard: { type: "string", default: "1/1" },
      seconds: { type: "string", default: "Infinity" },
      "no-reduce": { type: "boolean", default: false },
    },
  });
  const [part, parts] = values.shard.split("/").map(Number) as [number, number];
  return {
    seed: Number(values.seed),
    count: Number(values.count),
    shard: [part, parts],
    seconds: Number(values.seconds),
    reduce: !values["no-reduce"],
  };
}

async function main(): Promise<void> {
  const began = Date.now();
  const totals = await runAll(readOptions());
  const seconds = (Date.now() - began) / 1000;
  const reasons = new Map<string, number>();
  for (const what of totals.refused) {
    const reason = what.replace(/^\d+: /, "").replaceAll(/%\d+/g, "%");
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  for (const [reason, times] of reasons) console.log(`refused ${times}: ${reason}`);
  const { graphs, passed, refused, failures } = totals;
  console.log(
    `${graphs} graphs in ${seconds.toFixed(0)} s, ${(graphs / seconds).toFixed(1)} a second: ` +
      `${passed} passed, ${refused.length} refused, ${failures.length} mismatches`,
  );
  process.exitCode = failures.length > 0 ? 1 : 0;
}

const isMain =
  process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain && process.argv.includes("--worker")) serve();
else if (isMain) void main();
