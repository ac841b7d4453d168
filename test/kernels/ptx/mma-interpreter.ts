/**
 * Runs PTX text without a GPU: warps in lockstep with the lowest program counter first, adversarial
 * where the hardware may be (shared memory starts as NaN, `cp.async` destinations are NaN from the
 * issue until the matching wait, warps run one after the other from barrier to barrier in an order
 * that changes), and strict about addresses. Understands the dialect that farrier emits.
 */
import { newGroupState, type GroupState, type SharedBarrier } from "./mma-interpreter-group.js";
import { compileStatement, type Step } from "./mma-interpreter-ops.js";

export interface PtxBuffer {
  readonly data: Uint8Array;
}

export interface LaunchOptions {
  readonly grid: readonly [number, number, number];
  readonly threads: number;
  readonly sharedBytes: number;
  readonly buffers: readonly PtxBuffer[];
  readonly scalars: readonly (number | bigint)[];
}

/** What a run observed. */
export interface RunReport {
  instructions: number;
  /** Extra shared-memory passes of 128-bit and ldmatrix accesses: 0 is conflict-free. */
  conflicts: number;
  conflictSites: Map<string, number>;
}

export interface Registers {
  readonly words: Uint32Array;
  readonly ints: Int32Array;
  readonly floats: Float32Array;
  readonly longs: BigInt64Array;
  readonly ulongs: BigUint64Array;
  readonly doubles: Float64Array;
  readonly preds: Uint8Array;
}

export interface Copy {
  readonly to: number;
  readonly bytes: Uint8Array;
}

export interface Warp {
  readonly index: number;
  readonly regs: Registers;
  readonly pc: Int32Array;
  /** cp.async: per lane, groups committed and the open one. */
  readonly groups: Copy[][];
  open: Copy[];
  readonly group: GroupState;
  /** The barrier of the block that it waits at. */
  waiting: string | null;
  /** It found a barrier in shared memory that is not complete, and lets others run. */
  polling: boolean;
  done: boolean;
}

export interface Machine {
  readonly shared: DataView;
  readonly sharedBytes: number;
  readonly memory: GlobalMemory;
  readonly params: Map<string, bigint>;
  readonly symbols: Map<string, number>;
  readonly ctaid: readonly [number, number, number];
  readonly nctaid: readonly [number, number, number];
  readonly threads: number;
  readonly report: RunReport;
  /** Barriers in shared memory by address, and how often something arrived at one. */
  readonly barriers: Map<number, SharedBarrier>;
  events: number;
  /** What happens once all warps have run as far as they can. */
  later: (() => void)[];
}

const spacing = 1n << 36n;

/** Buffers far apart: an address outside each is an error. */
export class GlobalMemory {
  readonly #views: DataView[];

  constructor(buffers: readonly PtxBuffer[]) {
    this.#views = buffers.map(
      ({ data }) => new DataView(data.buffer, data.byteOffset, data.byteLength),
    );
  }

  addressOf = (index: number): bigint => BigInt(index + 1) * spacing;

  at(address: bigint, bytes: number, where: string): { view: DataView; offset: number } {
    const index = Number(address / spacing) - 1;
    const offset = Number(address % spacing);
    const view = this.#views[index];
    if (view === undefined || offset + bytes > view.byteLength)
      throw new Error(
        `global access out of bounds: buffer ${index}, byte ${offset} of ${view?.byteLength}: ${where}`,
      );
    if (offset % bytes !== 0) throw new Error(`misaligned global access: byte ${offset}: ${where}`);
    return { view, offset };
  }
}

interface Program {
  readonly steps: readonly Step[];
  readonly params: readonly string[];
  readonly counts: { words: number; longs: number; preds: number };
  readonly symbols: Map<string, number>;
  readonly sharedStatic: number;
}

/** Splits a text into statements, labels and directives. */
function parse(text: string): Program {
  const clean = text.replace(/\/\/.*$/gm, "").replace(/\/\*[\s\S]*?\*\//g, "");
  const header = /\.entry\s+[\w$]+\s*\(([\s\S]*?)\)/.exec(clean);
  if (header === null) throw new Error("no .entry");
  const params = [...header[1]!.matchAll(/\.param\s+\.[us]64\s+([\w$]+)/g)].map(
    (match) => match[1]!,
  );
  const start = clean.indexOf("{", header.index + header[0].length);
  const body = clean.slice(start + 1, clean.lastIndexOf("}"));
  const statements: string[] = [];
  const labels = new Map<string, number>();
  const symbols = new Map<string, number>();
  let sharedStatic = 0;
  const declare = (source: string): void => {
    for (const match of source.matchAll(
      /\.shared\s+(?:\.align\s+(\d+)\s+)?\.\w+\s+([\w$]+)\s*\[(\d*)\]/g,
    )) {
      const align = Number(match[1] ?? 16);
      sharedStatic = Math.ceil(sharedStatic / align) * align;
      symbols.set(match[2]!, sharedStatic);
      sharedStatic += Number(match[3] === "" ? 0 : match[3]);
    }
  };
  declare(clean.slice(0, start));
  for (const piece of body.split(";")) {
    let rest = piece.trim();
    for (;;) {
      const label = /^([A-Za-z_$][\w$]*)\s*:\s*/.exec(rest);
      if (label === null) break;
      labels.set(label[1]!, statements.length);
      rest = rest.slice(label[0].length);
    }
    if (rest === "" || rest.startsWith(".reg") || rest.startsWith(".pragma")) continue;
    if (rest.startsWith(".shared") || rest.startsWith(".extern")) declare(rest);
    else statements.push(rest.replace(/\s+/g, " "));
  }
  const counts = { words: 0, longs: 0, preds: 0 };
  const names = new Map<string, number>();
  const register = (name: string, kind: keyof typeof counts): number => {
    const key = `${kind}:${name}`;
    const found = names.get(key);
    if (found !== undefined) return found;
    names.set(key, counts[kind]);
    return counts[kind]++;
  };
  const steps = statements.map((statement) =>
    compileStatement(statement, { labels, register, symbols }),
  );
  return { steps, params, counts, symbols, sharedStatic };
}

function makeWarp(index: number, lanes: number, counts: Program["counts"]): Warp {
  const words = new ArrayBuffer(Math.max(1, counts.words) * 128);
  const longs = new ArrayBuffer(Math.max(1, counts.longs) * 256);
  new Uint32Array(words).fill(0x7fc0dead);
  const regs: Registers = {
    words: new Uint32Array(words),
    ints: new Int32Array(words),
    floats: new Float32Array(words),
    longs: new BigInt64Array(longs),
    ulongs: new BigUint64Array(longs),
    doubles: new Float64Array(longs),
    preds: new Uint8Array(Math.max(1, counts.preds) * 32),
  };
  regs.ulongs.fill(0x7ff8dead0000dead0n & 0xffffffffffffffffn);
  const pc = new Int32Array(32).fill(-1);
  pc.fill(0, 0, lanes);
  return {
    index,
    regs,
    pc,
    groups: [],
    open: [],
    group: newGroupState(),
    waiting: null,
    polling: false,
    done: false,
  };
}

/** Runs a warp until it waits at a barrier or ends. */
function runWarp(machine: Machine, program: Program, warp: Warp): void {
  const { steps } = program;
  for (let budget = 0; ; budget++) {
    if (budget > 20_000_000) throw new Error("runaway kernel");
    let pc = 1 << 30;
    for (let lane = 0; lane < 32; lane++) {
      const at = warp.pc[lane]!;
      if (at >= 0 && at < pc) pc = at;
    }
    if (pc === 1 << 30 || pc >= steps.length) {
      warp.done = true;
      return;
    }
    let mask = 0;
    for (let lane = 0; lane < 32; lane++) if (warp.pc[lane] === pc) mask |= 1 << lane;
    const step = steps[pc]!;
    machine.report.instructions++;
    for (let lane = 0; lane < 32; lane++) if ((mask >> lane) & 1) warp.pc[lane] = pc + 1;
    step.run(machine, warp, mask);
    if (warp.polling) return;
    if (step.barrier !== null) {
      if (warp.pc.some((at) => at >= 0 && at !== pc + 1))
        throw new Error(`divergent barrier: ${step.text}`);
      warp.waiting = step.barrier;
      return;
    }
  }
}

function runBlock(machine: Machine, program: Program, order: number): void {
  const count = Math.ceil(machine.threads / 32);
  const warps = Array.from({ length: count }, (_, index) =>
    makeWarp(index, Math.min(32, machine.threads - index * 32), program.counts),
  );
  for (let phase = 0; warps.some((warp) => !warp.done); phase++) {
    const forward = (phase + order) % 2 === 0;
    const { events } = machine;
    let ended = false;
    for (const warp of forward ? warps : [...warps].reverse()) {
      if (warp.done || warp.waiting !== null) continue;
      warp.polling = false;
      runWarp(machine, program, warp);
      ended ||= warp.done;
    }
    for (const act of machine.later.splice(0)) act();
    const released = release(warps);
    if (!ended && !released && machine.events === events)
      throw new Error("all warps wait, and nothing happens");
  }
}

/** Lets go those whose barrier is complete; whether there were any. */
function release(warps: readonly Warp[]): boolean {
  let released = false;
  for (const barrier of new Set(warps.map(({ waiting }) => waiting))) {
    if (barrier === null) continue;
    const [, threads] = barrier.split(",");
    const here = warps.filter(({ waiting }) => waiting === barrier);
    if (threads === undefined && warps.some(({ done }) => done))
      throw new Error("a warp left while others wait at a barrier");
    const wanted = threads === undefined ? warps.length : Number(threads) / 32;
    if (here.length < wanted) continue;
    released = true;
    for (const warp of here) warp.waiting = null;
  }
  return released;
}

const programs = new Map<string, Program>();

/** Runs a kernel over its whole grid. Buffers are changed in place. */
export function runPtx(text: string, options: LaunchOptions): RunReport {
  const program = programs.get(text) ?? parse(text);
  programs.set(text, program);
  const memory = new GlobalMemory(options.buffers);
  const report: RunReport = { instructions: 0, conflicts: 0, conflictSites: new Map() };
  const values = [
    ...options.buffers.map((_, index) => memory.addressOf(index)),
    ...options.scalars.map(BigInt),
  ];
  if (values.length !== program.params.length)
    throw new Error(`${values.length} arguments for ${program.params.length} parameters`);
  const params = new Map(program.params.map((name, index) => [name, values[index]!]));
  const [gx, gy, gz] = options.grid;
  const sharedBytes = program.sharedStatic + options.sharedBytes;
  for (let z = 0; z < gz; z++)
    for (let y = 0; y < gy; y++)
      for (let x = 0; x < gx; x++) {
        const shared = new Uint8Array(sharedBytes).fill(0xff);
        const machine: Machine = {
          shared: new DataView(shared.buffer),
          sharedBytes,
          memory,
          params,
          symbols: program.symbols,
          ctaid: [x, y, z],
          nctaid: options.grid,
          threads: options.threads,
          report,
          barriers: new Map(),
          events: 0,
          later: [],
        };
        runBlock(machine, program, x + y + z);
      }
  return report;
}
