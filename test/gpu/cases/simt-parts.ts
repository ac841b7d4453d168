/** What the cases of map, reduce and the f32 gemm and attention are made of. */
import type { KernelDesc, Operand } from "../../../compiler/kernel/desc.js";
import { statusOperand } from "../../../compiler/kernel/desc.js";
import type { FamilyTemplate } from "../../../compiler/kernel/family.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { add, cast, constant, int, mul, sym } from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import { seedOf, type Fill, type GpuCase, type Symbols, type Tolerance } from "./case.js";
import { reference } from "./reference.js";

export const target = targetNamed("sm_80");
export const f32 = (value: number): Expr => constant(Math.fround(value), "f32");
export const size = (name: string, highest = 4096): Expr =>
  sym({ name, space: "host", min: 1, max: highest, divisor: 1 });
export const hash = (seed: number, scale = 1, shift = 0, step?: number): Fill =>
  step === undefined
    ? { kind: "hash", seed: seedOf(seed), scale, shift }
    : { kind: "hash", seed: seedOf(seed), scale, shift, step };
export const values = (list: readonly (number | bigint)[]): Fill => ({
  kind: "values",
  values: list,
});
export const row = (at: Expr, width: Expr, column: Expr): Expr => add(mul(at, width), column);
export const read = (name: string, dtype: DType, elements: Expr): Operand => ({
  name,
  dtype,
  access: "read",
  elements,
});
export const write = (name: string, dtype: DType, elements: Expr): Operand => ({
  name,
  dtype,
  access: "write",
  elements,
});
export const status: Operand = {
  name: statusOperand,
  dtype: "i64",
  access: "readwrite",
  elements: int(1),
};
export const single = (value: Expr): Expr => cast(value, "f32");

export interface CaseOptions {
  readonly symbols?: Symbols;
  readonly inputs: Readonly<Record<string, Fill>>;
  readonly tolerance: Tolerance;
  /** Which candidates: the first (default), all, or one by index. */
  readonly configs?: "first" | "all" | number;
  readonly large?: boolean;
}

export function casesOf<D extends KernelDesc, C>(
  template: FamilyTemplate<D["family"], C>,
  desc: D,
  options: CaseOptions,
): GpuCase[] {
  const { symbols = {}, inputs, tolerance, configs = "first", large = false } = options;
  const all = template.candidates(desc as never, target);
  const chosen = configs === "all" ? all : [all[configs === "first" ? 0 : configs]!];
  return chosen.map((config, i) => ({
    name: `${desc.family} ${desc.label}${configs === "all" ? ` #${i} ${Object.values(config as object).join("-")}` : ""}`,
    desc,
    kernel: (on = target) => template.render(desc as never, config, on),
    symbols,
    inputs,
    expected: () => reference(desc, inputs, symbols, target),
    tolerance,
    large,
  }));
}

export const whole = (seed: number, scale: number): Fill => hash(seed, scale, 0.5, 1);
