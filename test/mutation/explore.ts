/** The search: inputs that reach what no input reached before are kept and changed further. */
import { Rng } from "../fuzz/random.js";
import { FarrierError } from "../../compiler/errors.js";
import { havoc, mostBytes, type Sources } from "./havoc.js";
import type { Reader } from "./readers.js";

/** What no reader may do, whatever it is given. */
export interface Finding {
  readonly kind: "crash" | "slow" | "memory" | "hang";
  readonly what: string;
  readonly input: Uint8Array;
  readonly times: number;
}

/** Milliseconds that one input of at most 16 KiB may take. */
const slowest = 1000;
/** Bytes by which a few inputs may raise the process's peak. */
const mostMemory = 64 * 2 ** 20;

/** 1, 2, 3, 4 to 7, 8 to 15 … executions of a branch are different things to have done. */
const classes = Uint8Array.from({ length: 256 }, (_, count) =>
  count < 4 ? [0, 1, 2, 4][count]! : 1 << Math.min(7, Math.floor(Math.log2(count)) + 1),
);

export interface ExploreOptions {
  readonly reader: Reader;
  readonly seed: number;
  readonly executions: number;
  /** After so many seconds no execution is begun. */
  readonly seconds: number;
  /** Inputs to begin with; of those that reach the same, the first is kept. */
  readonly corpus: readonly Uint8Array[];
  readonly words: readonly string[];
  /** One for each point of the code; the reader counts in them. */
  readonly counters: Uint8Array;
  /** Told before each execution. */
  readonly onInput?: (bytes: Uint8Array, executions: number) => void;
}

export interface Explored {
  readonly executions: number;
  readonly corpus: readonly Uint8Array[];
  /** Points of the code that were executed. */
  readonly reached: number;
  readonly accepted: number;
  readonly findings: readonly Finding[];
}

/** What was thrown that is no answer to a user, or null. */
function crashOf(error: unknown): string | null {
  if (error instanceof FarrierError && error.code !== "E_INTERNAL") return null;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

const placeOf = (error: unknown): string => {
  const frames = error instanceof Error ? (error.stack ?? "").split("\n    at ").slice(1) : [];
  return frames
    .slice(0, 6)
    .map((frame) =>
      frame.replace(/\(?(?:file:\/\/)?\/.*\/(compiler|test)\//, "$1/").replace(/\)$/, ""),
    )
    .join(" < ");
};

const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

class Explorer {
  readonly #rng: Rng;
  readonly #seen: Uint8Array;
  readonly #corpus: Uint8Array[] = [];
  readonly #findings = new Map<string, Finding>();
  readonly #sources: Sources;
  #executions = 0;
  #accepted = 0;
  #peak = peakBytes();
  #slowest: { bytes: Uint8Array; took: number } = { bytes: new Uint8Array(), took: 0 };

  constructor(readonly options: ExploreOptions) {
    this.#rng = new Rng(options.seed);
    this.#seen = new Uint8Array(options.counters.length);
    const other = (): Uint8Array => this.#pick();
    this.#sources = { rng: this.#rng, other, words: options.words };
  }

  run(): Explored {
    const { corpus, executions, seconds } = this.options;
    const end = performance.now() + 1000 * seconds;
    for (const input of corpus) this.#try(input);
    while (this.#executions < executions && performance.now() < end) this.#try(this.#next());
    return {
      executions: this.#executions,
      corpus: this.#corpus,
      reached: this.#seen.reduce((total, bits) => total + (bits === 0 ? 0 : 1), 0),
      accepted: this.#accepted,
      findings: [...this.#findings.values()],
    };
  }

  /** Late ones as often as all others together: they are what the search is about to follow. */
  #pick(): Uint8Array {
    const corpus = this.#corpus;
    const from = this.#rng.chance(0.5) ? Math.floor(corpus.length * 0.8) : 0;
    return corpus[this.#rng.int(Math.min(from, corpus.length - 1), corpus.length - 1)]!;
  }

  #next(): Uint8Array {
    const rng = this.#rng;
    let bytes = this.#pick();
    for (let times = rng.pick([1, 1, 1, 1, 2]); times > 0; times--)
      bytes = (rng.chance(0.85) ? this.options.reader.change : havoc)(bytes, this.#sources);
    return bytes.length > mostBytes ? bytes.slice(0, mostBytes) : bytes;
  }

  #try(bytes: Uint8Array): void {
    const { counters, reader, onInput } = this.options;
    counters.fill(0);
    onInput?.(bytes, this.#executions);
    const began = performance.now();
    try {
      reader.read(bytes);
      this.#accepted++;
    } catch (error) {
      if (crashOf(error) !== null) this.#crashed(bytes);
    }
    const took = performance.now() - began;
    this.#executions++;
    if (took > slowest) this.#checkSlow(bytes);
    this.#checkMemory(bytes, took);
    if (this.#isNew()) this.#corpus.push(bytes);
  }

  /** Whether a point was reached that never was, or as often as it never was. */
  #isNew(): boolean {
    const { counters } = this.options;
    const seen = this.#seen;
    let found = false;
    for (let i = 0; i < counters.length; i++) {
      const count = counters[i]!;
      if (count === 0) continue;
      const bit = classes[count]!;
      if ((seen[i]! & bit) !== 0) continue;
      seen[i]! |= bit;
      found = true;
    }
    return found;
  }

  /** Runs the input again, for the stack that most runs do without. */
  #crashed(bytes: Uint8Array): void {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 20;
    try {
      this.options.reader.read(bytes);
      this.#find("crash", "fails the first time only", bytes);
    } catch (error) {
      this.#find("crash", `${crashOf(error)}\n  ${placeOf(error)}`, bytes);
    } finally {
      Error.stackTraceLimit = limit;
    }
  }

  /** Only if it is slow whenever it is tried: the machine may be busy. */
  #checkSlow(bytes: Uint8Array): void {
    const times = Array.from({ length: 3 }, () => {
      const began = performance.now();
      try {
        this.options.reader.read(bytes);
      } catch {
        // How it ends was seen before.
      }
      return performance.now() - began;
    });
    const least = Math.min(...times);
    if (least > slowest) this.#find("slow", `${Math.round(least / 1000)} s`, bytes);
  }

  /** Asking for the peak takes longer than reading: it is asked for now and then, and the slowest since told. */
  #checkMemory(bytes: Uint8Array, took: number): void {
    if (took >= this.#slowest.took) this.#slowest = { bytes, took };
    if (this.#executions % 64 !== 0) return;
    const { bytes: suspect } = this.#slowest;
    this.#slowest = { bytes, took: 0 };
    const peak = peakBytes();
    const grown = peak - this.#peak;
    this.#peak = peak;
    if (grown > mostMemory + 3 * suspect.length)
      this.#find("memory", `the peak rose by ${Math.round(grown / 2 ** 20)} MiB`, suspect);
  }

  #find(kind: Finding["kind"], what: string, input: Uint8Array): void {
    const key = `${kind} ${what.replaceAll(/\d+|"[^"]*"/g, "_")}`;
    const before = this.#findings.get(key);
    const smaller = before === undefined || input.length < before.input.length;
    this.#findings.set(key, {
      ...(smaller ? { kind, what, input } : before),
      times: (before?.times ?? 0) + 1,
    });
  }
}

export const explore = (options: ExploreOptions): Explored => new Explorer(options).run();
