/**
 * Mutation of the readers, guided by what they execute.
 *
 *   npm run mutate -- [--reader onnx,safetensors,config] [--executions N] [--seed A]
 *       [--corpus DIR] [--seconds S] [--record FILE [--commit HASH]]
 *
 * Rounds run in threads whose memory is bounded; one that hangs is ended, and its input told.
 * With `--corpus` a later call goes on where this one ended.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../compiler/version.js";
import { record } from "../fuzz/record.js";
import type { Explored, Finding } from "./explore.js";
import { instrument, type Instrumented } from "./instrument.js";
import { readers, type ReaderName } from "./readers.js";
import type { Round } from "./worker.js";

/** Before the input in the memory that a round shares: executions and length, 32 bits each. */
const watchedHeader = 8;
const watchedBytes = 1 << 20;
/** Milliseconds without a next execution after which a round hangs. */
const patience = 20_000;
/** MiB of JavaScript objects: what a reader of 16 KiB inputs may hold, with all that is interned. */
const heapMiB = 512;
/** Expressions are interned for as long as a thread lives. */
const roundSize = 200_000;

export interface Job {
  readonly reader: ReaderName;
  readonly seed: number;
  readonly executions: number;
  readonly seconds: number;
  readonly corpus: readonly Uint8Array[];
}

export interface Total extends Explored {
  readonly points: number;
  readonly seconds: number;
}

/** What the readers' own sources compare with. */
function wordsOf({ words }: Instrumented, pattern: RegExp): string[] {
  const found = [...words].filter(([file]) => pattern.test(file)).flatMap(([, each]) => [...each]);
  return [...new Set(found)].filter((text) => text.length < 40 && !text.includes("/")).sort();
}

function stoppedRound(
  kind: Finding["kind"],
  what: string,
  watched: SharedArrayBuffer,
  corpus: readonly Uint8Array[],
): Explored {
  const [executions, length] = new Int32Array(watched, 0, 2) as unknown as [number, number];
  const input = new Uint8Array(watched, watchedHeader, length).slice();
  const findings = [{ kind, what, input, times: 1 }];
  return { executions, corpus, reached: 0, accepted: 0, findings };
}

/** One round in a thread of its own. */
function runRound(code: Instrumented, round: Omit<Round, "watched" | "root">): Promise<Explored> {
  const watched = new SharedArrayBuffer(watchedHeader + watchedBytes);
  const file = pathToFileURL(path.join(code.directory, "test/mutation/worker.js"));
  const worker = new Worker(file, {
    workerData: { ...round, watched, root: packageRoot(), points: code.points },
    resourceLimits: { maxOldGenerationSizeMb: heapMiB },
    execArgv: [],
  });
  return new Promise((resolve) => {
    let last = -1;
    const watch = setInterval(() => {
      const executions = Atomics.load(new Int32Array(watched, 0, 1), 0);
      if (executions === last) end(stoppedRound("hang", "does not end", watched, round.corpus));
      last = executions;
    }, patience);
    const end = (made: Explored): void => {
      clearInterval(watch);
      void worker.terminate().then(() => resolve(made));
    };
    worker.on("message", end);
    worker.on("error", (error) => {
      end(stoppedRound("crash", `the thread died: ${error.message}`, watched, round.corpus));
    });
  });
}

function merged(findings: readonly Finding[]): Finding[] {
  const known = new Map<string, Finding>();
  for (const finding of findings) {
    const before = known.get(finding.what);
    const times = finding.times + (before?.times ?? 0);
    known.set(finding.what, { ...(before ?? finding), times });
  }
  return [...known.values()];
}

/** Rounds until so many executions are done, each from the inputs that the last one kept. */
export async function fuzzReader(code: Instrumented, job: Job): Promise<Total> {
  const began = performance.now();
  const words = wordsOf(code, readers[job.reader].words);
  let [executions, accepted, reached] = [0, 0, 0];
  let { corpus } = job;
  const findings: Finding[] = [];
  const elapsed = (): number => (performance.now() - began) / 1000;
  for (let round = 0; executions < job.executions && elapsed() < job.seconds; round++) {
    const made = await runRound(code, {
      reader: job.reader,
      seed: job.seed * 10_007 + round,
      executions: Math.min(roundSize, job.executions - executions),
      corpus: [...corpus].sort((a, b) => a.length - b.length),
      words,
    });
    executions += made.executions;
    accepted += made.accepted;
    reached = Math.max(reached, made.reached);
    corpus = made.corpus;
    findings.push(...made.findings);
    if (process.stderr.isTTY) {
      const rate = Math.round(executions / elapsed());
      process.stderr.write(
        `\r${job.reader}: ${executions} executions, ${rate} a second, ${reached} points, ` +
          `${findings.length} findings `,
      );
    }
  }
  const { points } = code;
  const seconds = elapsed();
  return { executions, accepted, reached, corpus, findings: merged(findings), points, seconds };
}

/** The readers' instrumented code in a directory of its own, for as long as `body` runs. */
export async function withInstrumented<T>(body: (code: Instrumented) => Promise<T>): Promise<T> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-mutation-"));
  try {
    return await body(instrument("test/mutation/worker.ts", directory));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const nameOf = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex").slice(0, 16);

function load(directory: string): Uint8Array[] {
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory)
    .sort()
    .map((name) => new Uint8Array(fs.readFileSync(path.join(directory, name))));
}

function save(directory: string, corpus: readonly Uint8Array[]): void {
  fs.rmSync(directory, { recursive: true, force: true });
  fs.mkdirSync(directory, { recursive: true });
  for (const bytes of corpus) fs.writeFileSync(path.join(directory, nameOf(bytes)), bytes);
}

function report(reader: ReaderName, total: Total): void {
  for (const { kind, what, input, times } of total.findings) {
    console.log(`${reader}: ${kind} (${times} times): ${what}`);
    console.log(`  input of ${input.length} bytes: ${Buffer.from(input).toString("base64")}`);
  }
  const rate = Math.round(total.executions / total.seconds);
  console.log(
    `${reader}: ${total.executions} executions in ${total.seconds.toFixed(0)} s, ${rate} a second: ` +
      `${total.accepted} accepted, ${total.corpus.length} inputs kept, ` +
      `${total.reached} points reached, ${total.findings.length} findings`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      reader: { type: "string", default: "onnx,safetensors,config" },
      executions: { type: "string", default: "200000" },
      seed: { type: "string", default: "1" },
      seconds: { type: "string", default: "Infinity" },
      corpus: { type: "string" },
      record: { type: "string" },
      commit: { type: "string" },
    },
  });
  const { corpus } = values;
  await withInstrumented(async (code) => {
    for (const reader of values.reader.split(",") as ReaderName[]) {
      const stored = corpus === undefined ? null : path.join(corpus, reader);
      const total = await fuzzReader(code, {
        reader,
        seed: Number(values.seed),
        executions: Number(values.executions),
        seconds: Number(values.seconds),
        corpus: stored === null ? [] : load(stored),
      });
      report(reader, total);
      if (stored !== null) save(stored, total.corpus);
      if (total.findings.length > 0) process.exitCode = 1;
      if (values.record !== undefined)
        record(values.record, fieldsOf(reader, values.seed, total), values.commit);
    }
  });
}

const fieldsOf = (reader: ReaderName, seed: string, total: Total): Record<string, unknown> => ({
  reader,
  seed: Number(seed),
  executions: total.executions,
  seconds: Math.round(total.seconds),
  accepted: total.accepted,
  corpus: total.corpus.length,
  reached: total.reached,
  findings: total.findings.length,
});

const isMain =
  process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) void main();
