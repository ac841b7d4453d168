/** Targets: one capability table per architecture, behind one interface. */
import type { DType } from "../ir/dtype.js";
import { FarrierError } from "../errors.js";
import type { PackedLayout } from "./packing.js";

export interface Target {
  readonly name: string;
  readonly language: "c" | "ptx";
  /** Element types that gemm and attention multiply. */
  readonly multiplies: readonly DType[];
  /** The layout of gemm weights whose products have type `dtype`. */
  packing(dtype: DType): PackedLayout;
  /** GPU: the `.target` and the lowest `.version` with every instruction that its templates use. */
  readonly ptx?: {
    readonly target: string;
    readonly version: string;
    /** The lowest NVIDIA driver that knows this version. */
    readonly driver: string;
    /** Kernels begin while the one before them runs: docs/adr/0008-dependent-launches.md. */
    readonly dependent: boolean;
  };
  /** GPU: dynamic shared memory that one block may ask for, bytes. */
  readonly sharedBytes?: number;
  readonly multiprocessors?: number;
  /**
   * Columns of a product that share one evaluation of its left operand's row statistics. Left out: a
   * product normalises its rows itself, whatever that repeats.
   */
  readonly columnsOfPass?: number;
  /** So few rows are normalised by every product, whatever that repeats: its tiles wait for weights. */
  readonly rowsOfPass?: number;
  /** Extents up to which tiles differ: what ranges of symbols are cut at unless the caller says. */
  readonly splits: readonly number[];
  /** Blocks of a launch may meet: whoever launches it has memory and tickets for them (`Workspace`). */
  readonly blocksMeet?: boolean;
  /** GPU: elements of a value that one attention kernel adds up, for keys of `depth` elements. */
  valuesAtOnce?(dtype: DType, depth: number): number;
}

const rowPanels = (columns: number, dtype: DType): PackedLayout => ({
  columns,
  rows: 1,
  columnMajor: false,
  dtype,
});

/** Text that every GPU of compute capability 8.0 or above runs. */
const ampere: Target = {
  name: "sm_80",
  language: "ptx",
  multiplies: ["f32", "f16", "bf16"],
  splits: [16, 128, 1024],
  // The columns of a tile, and the fewest rows: see docs/performance.md for both sides measured.
  columnsOfPass: 128,
  rowsOfPass: 16,
  blocksMeet: true,
  // f32: rows of 64 columns for the SIMT kernel; 16 bits: k contiguous for ldmatrix, padded to 16 bytes.
  packing: (dtype) =>
    dtype === "f32" ? rowPanels(64, dtype) : { columns: 1, rows: 8, columnMajor: true, dtype },
  ptx: { target: "sm_80", version: "7.0", driver: "450.36", dependent: false },
  // What sm_86, sm_89 and sm_120 have too: this text runs on every later GPU.
  sharedBytes: 99 * 1024,
  multiprocessors: 108,
  // Registers hold a row's values; where keys are deep, f32 tiles leave little shared memory.
  valuesAtOnce: (dtype, depth) => (dtype === "f32" && depth > 256 ? 128 : 256),
};

/** The same templates, launched before what they depend on has ended; every later GPU runs it too. */
const hopper: Target = {
  ...ampere,
  name: "sm_90",
  ptx: { target: "sm_90", version: "7.8", driver: "520.61", dependent: true },
  multiprocessors: 132,
};

export const targets: Readonly<Record<string, Target>> = {
  cpu: {
    name: "cpu",
    language: "c",
    multiplies: ["f32", "f64", "f16", "bf16"],
    // Its tiles are chosen as kernels run.
    splits: [],
    // Products of 16-bit types run in f32 on a CPU; the packed weight stays 16 bits wide.
    packing: (dtype) => rowPanels(16, dtype),
    // The narrowest run of columns for which a task normalises many rows (`templates/gemm/cpu.ts`).
    columnsOfPass: 128,
  },
  sm_80: ampere,
  sm_90: hopper,
  // Besides, instructions that GPUs of compute capability 9.0 alone have, and all of their shared memory.
  sm_90a: {
    ...hopper,
    name: "sm_90a",
    ptx: { target: "sm_90a", version: "8.0", driver: "525.60", dependent: true },
    sharedBytes: 227 * 1024,
  },
};

/** The best NVIDIA target that a GPU of this compute capability (90 for 9.0) runs: its own, if it has one. */
export function newestTarget(capability: number): string {
  const own = `sm_${capability}a`;
  if (own in targets) return own;
  const runs = Object.values(targets)
    .map(({ name }) => [Number(/^sm_(\d+)$/.exec(name)?.[1] ?? Infinity), name] as const)
    .filter(([number]) => number <= capability)
    .sort(([a], [b]) => b - a);
  return runs[0]?.[1] ?? "sm_80";
}

export function targetNamed(name: string): Target {
  const target = targets[name];
  if (target === undefined)
    throw new FarrierError("E_TARGET", `target ${JSON.stringify(name)} is not supported`, {
      hint: `choose from ${Object.keys(targets).join(", ")}`,
    });
  return target;
}
