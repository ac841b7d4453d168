/** Kernel cases that run in the interpreter, through ptxas and on a GPU: one list for all three. */
import type { KernelDesc, Operand } from "../../../compiler/kernel/desc.js";
import type { KernelText } from "../../../compiler/kernel/family.js";
import type { Target } from "../../../compiler/kernel/target.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { castValue, type Value } from "../../../compiler/scalar/round.js";
import { readElements } from "../../../compiler/scalar/elements.js";
import { evaluateExpr } from "../../../compiler/scalar/evaluate.js";
import type { Expr } from "../../../compiler/scalar/expr.js";

export type Symbols = Readonly<Record<string, number>>;
export type Tensors = Map<string, Value[]>;

/**
 * How a tensor is filled. `hash` is a 24-bit hash of the element's index, uniform in
 * [shift - scale, shift + scale), computed alike by `run_cases.py`; where `step` is given values are
 * rounded to multiples of it, so that sums are exact.
 */
export type Fill =
  | {
      readonly kind: "hash";
      readonly seed: number;
      readonly scale: number;
      readonly shift: number;
      readonly step?: number;
    }
  | { readonly kind: "values"; readonly values: readonly Value[] };

/** Allowed: |out - ref| <= absolute + relative·|ref| + rms·rms(ref). All zero: the same value. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
  readonly rms: number;
}

export interface GpuCase {
  readonly name: string;
  readonly desc: KernelDesc;
  /** The text for `on`, by default sm_80, whose configurations every NVIDIA target has. */
  readonly kernel: (on?: Target) => KernelText;
  readonly symbols: Symbols;
  /** Operands that are read. An operand left out is poisoned before the run. */
  readonly inputs: Readonly<Record<string, Fill>>;
  /** What is in memory after the run, in double precision; NaN where nothing is written. */
  readonly expected: () => Tensors;
  readonly tolerance: Tolerance;
  /** Too large for the interpreter: a GPU only. */
  readonly large?: boolean;
}

let salt = 0;

/** Other random inputs for all cases that are made from now on. */
export function reseed(seed: number): void {
  salt = seed;
}

/** The seed of a tensor: `own` until `reseed` is called. */
export const seedOf = (own: number): number => own + 4096 * salt;

/** The hash of `Fill`, as an unsigned 32-bit integer. */
export function hash32(index: number, seed: number): number {
  let h = (Math.imul(index, 0x9e3779b1) + Math.imul(seed, 0x85ebca77)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

export function fillValue(fill: Fill, index: number, dtype: DType): Value {
  if (fill.kind === "values") return fill.values[index]!;
  const unit = (hash32(index, fill.seed) >>> 8) / 2 ** 23 - 1;
  const value = unit * fill.scale + fill.shift;
  const stepped = fill.step === undefined ? value : Math.floor(value / fill.step + 0.5) * fill.step;
  return castValue(stepped, "f64", dtype);
}

export const hostValue = (expr: Expr, symbols: Symbols): number =>
  Number(evaluateExpr([expr], { sym: (name) => symbols[name]! })[0]);

export function tensorOf(operand: Operand, test: GpuCase): Value[] | null {
  const fill = test.inputs[operand.name];
  if (fill === undefined) return null;
  const count = hostValue(operand.elements, test.symbols);
  return Array.from({ length: count }, (_, index) => fillValue(fill, index, operand.dtype));
}

/** Tolerances by the type that is stored, per `|out - ref|`; f32 arithmetic throughout. */
export const tolerances = {
  exact: { absolute: 0, relative: 0, rms: 0 },
  f32: { absolute: 1e-6, relative: 2e-6, rms: 0 },
  f32Reduce: { absolute: 1e-6, relative: 1e-5, rms: 0 },
  f16: { absolute: 1e-5, relative: 1e-3, rms: 0 },
  bf16: { absolute: 1e-5, relative: 8e-3, rms: 0 },
} as const satisfies Record<string, Tolerance>;

/** Sums of `depth` products of random signs in f32: 8·sqrt(K) units of the sum's own size. */
export const productTolerance = (
  depth: number,
  stored: "f32" | "f16" | "bf16" = "f32",
): Tolerance => ({
  absolute: 1e-6,
  relative: { f32: 2 ** -22, f16: 2 ** -10, bf16: 2 ** -7 }[stored],
  rms: 8 * Math.sqrt(depth) * 2 ** -24 + 2 ** -22,
});

/** A kernel's workspace before a run: what it may assume of it, and nothing else. */
export function workspaceBytes(
  { workspace }: KernelText,
  symbols: Symbols,
): { readonly partials: Uint8Array; readonly tickets: Uint8Array } | null {
  if (workspace === undefined) return null;
  return {
    partials: new Uint8Array(4 * hostValue(workspace.partials, symbols)).fill(poison),
    tickets: new Uint8Array(4 * hostValue(workspace.tickets, symbols)),
  };
}

/** What a buffer holds before a kernel writes it: NaN in every float type. */
export const poison = 0xff;

/** Null where every written element is as expected, else the worst. */
export function mismatch(test: GpuCase, after: Tensors, expected: Tensors): string | null {
  for (const { name, access, dtype } of test.desc.operands) {
    if (access === "read") continue;
    const untouched = Number(readElements(dtype, new Uint8Array(8).fill(poison), 1)[0]);
    const [got, want] = [after.get(name)!, expected.get(name)!];
    const finite = want.map(Number).filter(Number.isFinite);
    const rms = Math.sqrt(finite.reduce((sum, x) => sum + x * x, 0) / Math.max(1, finite.length));
    const { absolute, relative } = test.tolerance;
    for (let i = 0; i < want.length; i++) {
      const y = Number.isNaN(want[i]) ? untouched : Number(want[i]);
      const x = Number(got[i]);
      if (got[i] === want[i] || Object.is(x, y) || x === y) continue;
      const allowed = absolute + relative * Math.abs(y) + test.tolerance.rms * rms;
      if (!(Math.abs(x - y) <= allowed)) return `${name}[${i}] = ${x}, expected ${y} ± ${allowed}`;
    }
  }
  return null;
}
