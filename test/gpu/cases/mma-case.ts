/** A kernel, its operands and what it must write. */
import type { KernelDesc, Operand } from "../../../compiler/kernel/desc.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { castValue, type Value } from "../../../compiler/scalar/round.js";
import { seedOf } from "./case.js";
import type { Symbols, Tensors } from "./mma-reference.js";

export interface MmaCase<D extends KernelDesc, C> {
  readonly name: string;
  readonly desc: D;
  /** Null: the first candidate. */
  readonly config: C | null;
  readonly symbols: Symbols;
  /** Operands before the run; outputs hold `untouched`. */
  readonly tensors: Tensors;
  /** Operands after the run. */
  readonly expected: Tensors;
  /** Error allowed, relative to the root mean square of the reference; 0: the same values. */
  readonly tolerance: number;
}

/** What outputs hold before the run: a kernel that writes too much shows. */
export const untouched = 77;

/** Deterministic numbers in [-1, 1). */
export function generator(seed: number): () => number {
  let state = (Math.imul(seedOf(seed), 0x9e3779b1) + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

export type Fill = (index: number, random: () => number) => number;

export const fills = {
  unit: ((_, random) => random()) as Fill,
  /** Small integers: products are exact, so that results must be too. */
  whole: ((_, random) => Math.round(random() * 3)) as Fill,
  zero: (() => 0) as Fill,
};

export function tensorOf(operand: Operand, count: number, fill: Fill, seed: number): Value[] {
  const random = generator(seed);
  return Array.from({ length: count }, (_, index) =>
    castValue(fill(index, random), "f64", operand.dtype),
  );
}

export const copyTensors = (tensors: Tensors): Tensors =>
  new Map([...tensors].map(([name, values]) => [name, [...values]]));

/** Worst error of each written operand, relative to the root mean square of what was expected. */
export function worstError(
  desc: KernelDesc,
  actual: Tensors,
  expected: Tensors,
): { error: number; place: string } {
  let worst = { error: 0, place: "" };
  for (const { name, access } of desc.operands) {
    if (access === "read") continue;
    const [got, want] = [actual.get(name)!.map(Number), expected.get(name)!.map(Number)];
    const finite = want.filter(Number.isFinite);
    const scale =
      Math.sqrt(finite.reduce((sum, x) => sum + x * x, 0) / Math.max(1, finite.length)) || 1;
    want.forEach((x, index) => {
      const y = got[index]!;
      const error = Object.is(x, y) || x === y ? 0 : Math.abs(x - y) / scale;
      if (!(error <= worst.error))
        worst = {
          error: Number.isNaN(error) ? Infinity : error,
          place: `${name}[${index}]: ${y}, expected ${x}`,
        };
    });
  }
  return worst;
}

/** Unit roundoff of a dtype: what a correctly rounded result may be off by. */
export const roundoff: Partial<Record<DType, number>> = {
  f32: 2 ** -22,
  f16: 2 ** -10,
  bf16: 2 ** -7,
};
