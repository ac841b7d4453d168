/**
 * The fuzzer of valid graphs.
 *
 *   npm run fuzz -- --seed A --count N [--target cpu|sm_80] [--jobs J] [--seconds S] [--no-reduce]
 *                   [--record FILE [--commit HASH]]
 *   npm run fuzz -- --self-test [--seed A] [--count N] [--only TEXT]
 *
 * The graphs of seeds A … A + N - 1, many to a compiler call, in processes of their own.
 */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Backend } from "./backend.js";
import { selfTest } from "./inject.js";
import { BatchProcess } from "./process.js";
import { record } from "./record.js";
import type { Failure, Report } from "./seeds.js";

/** Graphs of one compiler call. */
const batchSize = 50;

interface Options {
  readonly target: Backend["target"];
  readonly seed: number;
  readonly count: number;
  readonly jobs: number;
  readonly seconds: number;
  readonly reduce: boolean;
}

class Totals {
  readonly #began = performance.now();
  graphs = 0;
  variants = 0;
  passed = 0;
  readonly refused: string[] = [];
  readonly failures: Failure[] = [];

  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  get rate(): string {
    return (this.graphs / this.seconds).toFixed(1);
  }

  add(graphs: number, report: Report): void {
    this.graphs += graphs;
    this.variants += report.variants;
    this.passed += report.passed;
    this.refused.push(...report.refused);
    this.failures.push(...report.failures);
    for (const { what, nodes, text } of report.failures)
      console.log(`MISMATCH ${what}\n${nodes} operators, ${text}`);
    if (process.stderr.isTTY)
      process.stderr.write(
        `\r${this.graphs} graphs, ${this.rate} a second, ${this.failures.length} mismatches `,
      );
  }

  print(): void {
    const reasons = new Map<string, number>();
    for (const what of this.refused) {
      const reason = what.replace(/^\d+: /, "").replaceAll(/%\d+/g, "%");
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    for (const [reason, times] of reasons) console.log(`refused ${times}: ${reason}`);
    console.log(
      `${this.graphs} graphs in ${this.seconds.toFixed(0)} s, ${this.rate} a second: ` +
        `${this.passed} passed, ${this.refused.length} refused, ${this.failures.length} mismatches`,
    );
  }
}

async function runAll({ target, seed, count, jobs, seconds, reduce }: Options): Promise<Totals> {
  const totals = new Totals();
  let next = seed;
  const work = async (job: number): Promise<void> => {
    // Kernels are split among threads, and are not.
    const worker = new BatchProcess(1 + ((job + 1) % 2));
    while (next < seed + count && totals.seconds < seconds) {
      const size = Math.min(batchSize, seed + count - next);
      const seeds = Array.from({ length: size }, (_, i) => next + i);
      next += size;
      totals.add(size, await worker.run({ target, seeds, reduce }));
    }
    worker.close();
  };
  await Promise.all(Array.from({ length: jobs }, (_, job) => work(job)));
  return totals;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      target: { type: "string", default: "cpu" },
      seed: { type: "string", default: "1" },
      count: { type: "string", default: "1500" },
      jobs: { type: "string", default: "1" },
      seconds: { type: "string", default: "Infinity" },
      "no-reduce": { type: "boolean", default: false },
      record: { type: "string" },
      commit: { type: "string" },
      "self-test": { type: "boolean", default: false },
      only: { type: "string", default: "" },
    },
  });
  if (values["self-test"]) {
    const [seed, graphs] = [Number(values.seed), Number(values.count)];
    process.exitCode = (await selfTest({ seed, graphs, only: values.only })) ? 0 : 1;
    return;
  }
  const { target } = values;
  if (target !== "cpu" && target !== "sm_80")
    throw new Error(`--target ${target}: give cpu or sm_80`);
  const totals = await runAll({
    target,
    seed: Number(values.seed),
    count: Number(values.count),
    jobs: Number(values.jobs),
    seconds: Number(values.seconds),
    reduce: !values["no-reduce"],
  });
  totals.print();
  process.exitCode = totals.failures.length > 0 ? 1 : 0;
  if (values.record === undefined) return;
  const { graphs, variants, passed } = totals;
  const fields = {
    target,
    seed: Number(values.seed),
    graphs,
    variants,
    passed,
    refused: totals.refused.length,
    failures: totals.failures.length,
    seconds: Math.round(totals.seconds),
    jobs: Number(values.jobs),
  };
  record(values.record, fields, values.commit);
}

const isMain =
  process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) void main();
