/** Renders, compiles and runs C kernels on the instruction sets that this machine has. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileC, defaultIsas, type Isa } from "../../../compiler/codegen/c/compile.js";
import type { KernelDesc } from "../../../compiler/kernel/desc.js";
import { kernelNamePlaceholder, type KernelText } from "../../../compiler/kernel/family.js";
import { dtypes, type DType } from "../../../compiler/ir/dtype.js";
import { evaluateExpr } from "../../../compiler/scalar/evaluate.js";
import { readElements, writeElements } from "../../../compiler/scalar/elements.js";
import type { Expr } from "../../../compiler/scalar/expr.js";

export type Symbols = Readonly<Record<string, number>>;
/** Values by operand; an operand that is only written may be left out. */
export type Values = Readonly<Record<string, ArrayLike<number>>>;

export interface RunOptions {
  readonly isa: Isa;
  readonly threads?: number;
  readonly repeat?: number;
  readonly backwards?: boolean;
}

export interface RunResult {
  readonly outputs: Record<string, Float64Array>;
  readonly nanoseconds: number;
}

const guardBytes = 256;
const here = fileURLToPath(new URL(".", import.meta.url));

function machineFlags(): Set<string> {
  try {
    const line = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
    return new Set(line?.[1]?.trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

/** The instruction sets that can be run here; `FARRIER_ISA` narrows them to one. */
export function runnableIsas(): Isa[] {
  const flags = machineFlags();
  const needs: Record<Isa, string[]> = {
    portable: [],
    avx2: ["avx2", "fma", "f16c", "bmi2"],
    avx512: ["avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "f16c", "bmi2"],
  };
  const forced = process.env["FARRIER_ISA"];
  return defaultIsas().filter(
    (isa) => needs[isa].every((flag) => flags.has(flag)) && (!forced || forced === isa),
  );
}

/** A kernel's own text, without the preludes before it. */
export const kernelOf = ({ text }: KernelText): string =>
  text.slice(text.indexOf(`void ${kernelNamePlaceholder}(`));

export const hostValue = (expr: Expr, symbols: Symbols): number =>
  Number(evaluateExpr([expr], { sym: (name) => symbols[name]! })[0]);

export class Kernels {
  readonly #folder = mkdtempSync(join(tmpdir(), "farrier-c-test-"));
  readonly #symbols = new Map<string, string>();
  readonly #runner = join(this.#folder, "runner");

  /** Compiles all `texts` at once. */
  async compile(
    texts: readonly KernelText[],
    isas: readonly Isa[] = runnableIsas(),
  ): Promise<void> {
    const files = texts.map(({ text }) => {
      const symbol = `k_${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
      this.#symbols.set(text, symbol);
      return { name: `${symbol}.c`, text: text.replaceAll(kernelNamePlaceholder, symbol) };
    });
    await compileC(files, this.#folder, { isas });
    execFileSync(process.env["CC"] || "cc", [
      "-O1",
      "-o",
      this.#runner,
      join(here, "runner.c"),
      "-lpthread",
      "-ldl",
    ]);
  }

  /**
   * Runs a kernel. Buffers have guard bands, and what is only written starts as NaN (or -1): both are
   * checked to be as they were wherever the kernel had nothing to write.
   */
  run(
    desc: KernelDesc,
    text: KernelText,
    values: Values,
    symbols: Symbols,
    options: RunOptions,
  ): RunResult {
    const buffers = desc.operands.map((operand, index) => {
      const elements = hostValue(operand.elements, symbols);
      const bytes = Math.ceil((elements * dtypes[operand.dtype].bits) / 8);
      const given = values[operand.name];
      const file = new Uint8Array(guardBytes * 2 + bytes).fill(0xff);
      if (given !== undefined)
        file.set(writeElements(operand.dtype, given).subarray(0, bytes), guardBytes);
      const path = join(this.#folder, `buffer${index}`);
      writeFileSync(path, file);
      return { operand, elements, bytes, path, before: file };
    });
    const scalars = text.scalars.map((scalar) => hostValue(scalar, symbols));
    if (text.launch.kind !== "cpu") throw new Error("not a CPU kernel");
    const args = [
      join(this.#folder, `cpu.${options.isa}.so`),
      this.#symbols.get(text.text)!,
      hostValue(text.launch.tasks, symbols),
      text.launch.scratchBytes,
      options.threads ?? 1,
      options.repeat ?? 1,
      options.backwards === true ? 1 : 0,
      scalars.length,
      ...scalars,
      ...buffers.flatMap(({ path }) => [path, guardBytes]),
    ].map(String);
    const nanoseconds = Number(execFileSync(this.#runner, args, { encoding: "utf8" }));
    const outputs: Record<string, Float64Array> = {};
    for (const { operand, elements, bytes, path, before } of buffers) {
      const after = new Uint8Array(readFileSync(path));
      const changed = (from: number, to: number): boolean =>
        !Buffer.from(after.subarray(from, to)).equals(Buffer.from(before.subarray(from, to)));
      if (changed(0, guardBytes) || changed(guardBytes + bytes, after.length))
        throw new Error(
          `${operand.name} (${desc.label}): written outside its ${elements} elements`,
        );
      if (operand.access === "read" && changed(0, after.length))
        throw new Error(`${operand.name} is read-only`);
      if (operand.access !== "read")
        outputs[operand.name] = toNumbers(operand.dtype, after.subarray(guardBytes), elements);
    }
    return { outputs, nanoseconds };
  }

  /** `values` as an operand of `dtype` holds them. */
  stored(dtype: DType, values: ArrayLike<number>): Float64Array {
    return toNumbers(dtype, writeElements(dtype, values), values.length);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function toNumbers(dtype: DType, bytes: Uint8Array, count: number): Float64Array {
  return Float64Array.from(readElements(dtype, bytes, count) as ArrayLike<number | bigint>, Number);
}

/** Values in [-1, 1) that are multiples of 2^-12, from a seed: exact in f32 and nearly in f16. */
export function random(seed: number, count: number): Float64Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 19) - 4096) / 4096;
  });
}

/** ‖out − ref‖₂ / ‖ref‖₂; NaN where one has NaN and the other does not counts as infinite. */
export function relativeRms(out: ArrayLike<number>, ref: ArrayLike<number>): number {
  let error = 0;
  let size = 0;
  if (out.length !== ref.length) return Infinity;
  for (let i = 0; i < ref.length; i++) {
    const [x, y] = [out[i]!, ref[i]!];
    if (Object.is(x, y) || x === y || (Number.isNaN(x) && Number.isNaN(y))) {
      if (Number.isFinite(y)) size += y * y;
      continue;
    }
    if (!Number.isFinite(x) || !Number.isFinite(y)) return Infinity;
    error += (x - y) ** 2;
    size += y * y;
  }
  return error === 0 ? 0 : Math.sqrt(error / size);
}
