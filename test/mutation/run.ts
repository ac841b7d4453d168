/**
 * Mutation of the readers, guided by what they execute.
 *
 *   npm run mutate -- [--reader onnx,safetensors,config] [--executions N] [--seed A]
 *       [--corpus DIR] [--seconds S] [--record FILE [--commit HASH]]
 *
 * Rounds run in processes whose memory is bounded; of one that hangs or dies, the input is told.
 * With `--corpus` a later call goes on where this one ended.
 */
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { packageRoot } from "../../compiler/version.js";
import { record } from "../fuzz/record.js";
import type { Explored, Finding } from "./explore.js";
import { instrument, type Instrumented } from "./instrument.js";
import { readers, type ReaderName } from "./readers.js";
import { makeWatched, readWatched } from "./watched.js";
import type { Round } from "./worker.js";

/** Milliseconds without a next execution after which a round hangs. */
const patience = 20_000;
/** MiB of JavaScript objects: what a reader of 16 KiB inputs may hold, with all that is interned. */
const heapMiB = 512;
/** Expressions are interned for as long as a process lives. */
const roundSize = 50_000;

export interface Job {
  readonly reader: ReaderName;
  readonly seed: number;
  readonly executions: number;
  readonly seconds: number;
  readonly corpus: readonly Uint8Array[];
  /** Told after each round. */
  readonly onRound?: (progress: Progress) => void;
}

interface Progress {
  readonly executions: number;
  readonly reached: number;
  /** Of the last round. */
  readonly findings: readonly Finding[];
  readonly seconds: number;
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

/** What is known of a round that did not end by itself: its last input is the finding. */
function stoppedRound(kind: Finding["kind"], what: string, round: Round): Explored {
  const { executions, input } = readWatched(round.watched);
  const findings = [{ kind, what, input, times: 1 }];
  return { executions, corpus: round.corpus, reached: 0, accepted: 0, findings };
}

/** One round in a process of its own. */
function runRound(code: Instrumented, round: Round): Promise<Explored> {
  makeWatched(round.watched);
  const file = path.join(code.directory, "test/mutation/worker.js");
  const child = fork(file, [String(code.points)], {
    execArgv: [`--max-old-space-size=${heapMiB}`],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  return new Promise((resolve) => {
    let made: Explored | null = null;
    let last = -1;
    const watch = setInterval(() => {
      const { executions } = readWatched(round.watched);
      if (executions === last) {
        made ??= stoppedRound("hang", "does not end", round);
        child.kill("SIGKILL");
      }
      last = executions;
    }, patience);
    child.on("message", (message: Explored) => void (made = message));
    child.on("exit", (status, signal) => {
      clearInterval(watch);
      const how = `the process ended: ${signal ?? `status ${status}`}`;
      const end = (): void => resolve(made ?? stoppedRound("crash", how, round));
      // What it said last may still be on its way.
      if (child.connected) child.once("disconnect", end);
      else end();
    });
    child.send(round);
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
      seconds: job.seconds - elapsed(),
      corpus: [...corpus].sort((a, b) => a.length - b.length),
      words,
      root: packageRoot(),
      watched: path.join(code.directory, "watched"),
    });
    executions += made.executions;
    accepted += made.accepted;
    reached = Math.max(reached, made.reached);
    corpus = made.corpus;
    findings.push(...made.findings);
    job.onRound?.({ executions, reached, findings: made.findings, seconds: elapsed() });
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

/** What is left of a call that is cut off: findings at once, and how far it came. */
function tellProgress(reader: ReaderName, progress: Progress): void {
  const { executions, reached, findings, seconds } = progress;
  tellFindings(reader, findings);
  const rate = Math.round(executions / seconds);
  process.stderr.write(
    `${reader}: ${executions} executions, ${rate} a second, ${reached} points\n`,
  );
}

function tellFindings(reader: ReaderName, findings: readonly Finding[]): void {
  for (const { kind, what, input, times } of findings) {
    console.log(`${reader}: ${kind} (${times} times): ${what}`);
    console.log(`  input of ${input.length} bytes: ${Buffer.from(input).toString("base64")}`);
  }
}

function report(reader: ReaderName, total: Total): void {
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
        onRound: (progress) => tellProgress(reader, progress),
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
