/**
 * One kernel under construction: its parameters, its operands' addresses and the sections of its
 * text. Parameters are 8 bytes each: the addresses of operands and workspace in order, then the host's scalars.
 */
import { FarrierError, bug } from "../../errors.js";
import type { DType } from "../../ir/dtype.js";
import type { Operand } from "../../kernel/desc.js";
import { statusOperand } from "../../kernel/desc.js";
import { addressesOf, type KernelText, type Launch, type Workspace } from "../../kernel/family.js";
import type { Target } from "../../kernel/target.js";
import type { Expr } from "../../scalar/expr.js";
import { renderTemplate, type View } from "../render.js";
import { HostScalars } from "../scalars.js";
import { type Block, PtxBuilder, type Value } from "./builder.js";
import { dependentText } from "./dependent.js";
import { memoryType, ptx, type MemoryType, type PtxType } from "./instructions.js";
import { launchOptions } from "./verify/kernel.js";

interface OperandAccess {
  readonly dtype: DType;
  readonly memory: MemoryType;
  readonly base: Value;
  /** Nothing writes it while this kernel runs, so that loads may go through the read-only cache. */
  readonly constant: boolean;
}

export class PtxKernel {
  readonly b = new PtxBuilder();
  /** First text of the kernel: addresses, scalars and whatever depends on nothing else. */
  readonly entry: Block;
  readonly target: Target;
  /** Operands, then the workspace. */
  readonly #addresses: readonly Operand[];
  readonly #operands = new Map<string, OperandAccess>();
  readonly #specials = new Map<string, Value>();
  readonly #scalars = new HostScalars();
  readonly #scalarValues = new Map<string, Value>();
  readonly #workspace: Pick<KernelText, "workspace">;

  constructor(operands: readonly Operand[], target: Target, workspace: Workspace | null = null) {
    this.target = target;
    this.entry = this.b.block.section();
    this.#workspace = workspace === null ? {} : { workspace };
    this.#addresses = addressesOf({ operands }, this.#workspace);
    this.b.into(this.entry, () => {
      this.#addresses.forEach((operand, index) => this.#declare(operand, index));
    });
  }

  #declare(operand: Operand, index: number): void {
    const memory = memoryType[operand.dtype];
    if (memory === null)
      throw new FarrierError(
        "E_TYPE_UNSUPPORTED",
        `${operand.dtype} has no loads on ${this.target.name}`,
        {
          where: operand.name,
        },
      );
    const raw = this.b.op(ptx.loadParam, "u64", `[${paramName(index)}]`);
    const base = this.b.op(ptx.toGlobal, "u64", raw);
    this.#operands.set(operand.name, {
      dtype: operand.dtype,
      memory,
      base,
      constant: operand.access === "read" && (operand.weight === true || !this.#ptx.dependent),
    });
  }

  get #ptx(): NonNullable<Target["ptx"]> {
    const { name, ptx } = this.target;
    if (ptx === undefined) throw bug(`a PTX kernel for target ${name}`);
    return ptx;
  }

  operand(name: string): OperandAccess {
    const found = this.#operands.get(name);
    if (found === undefined)
      throw bug(`a body uses operand ${name}, which its kernel does not have`);
    return found;
  }

  /** Address of the status word, or null where no body checks. */
  get status(): Value | null {
    return this.#operands.get(statusOperand)?.base ?? null;
  }

  /** A section of the kernel's text, in the order of the calls. */
  section(): Block {
    return this.b.block.section();
  }

  /** A host expression as a register, loaded once at the entry. */
  scalar(expr: Expr, type: PtxType): Value {
    const slot = this.#scalars.slot(expr);
    const key = `${slot}:${type}`;
    const known = this.#scalarValues.get(key);
    if (known !== undefined) return known;
    const suffix = type === "s32" ? "ld.param.u32" : ptx.loadParam;
    const name = paramName(this.#addresses.length + slot);
    const value = this.b.into(this.entry, () => this.b.op(suffix, type, `[${name}]`));
    this.#scalarValues.set(key, value);
    return value;
  }

  /** `%tid.x`, `%ctaid.y` … as an s32 register, read once at the entry. */
  special(name: string): Value {
    const known = this.#specials.get(name);
    if (known !== undefined) return known;
    const value = this.b.into(this.entry, () => this.b.op("mov.u32", "s32", name));
    this.#specials.set(name, value);
    return value;
  }

  /** Holes of every template: header, parameters, registers. */
  #header(launch: Launch & { kind: "gpu" }): View {
    const params = this.#addresses.length + this.#scalars.list().length;
    const { target, version } = this.#ptx;
    return {
      version,
      target,
      params: Array.from({ length: params }, (_, index) => ({
        name: paramName(index),
        comma: index + 1 < params ? "," : "",
      })),
      threads: launch.threads,
      registers: this.b.declarations(),
      entry: this.entry.lines(),
      shared: launch.sharedBytes > 0,
    };
  }

  /** Renders `template` with the common holes and `view`'s. */
  render(template: string, launch: Launch & { kind: "gpu" }, view: View): KernelText {
    const text = renderTemplate(template, { ...this.#header(launch), ...view });
    const call = { scalars: this.#scalars.list(), launch };
    const options = launchOptions({ operands: this.#addresses }, call, this.target);
    const whole = this.#ptx.dependent ? dependentText(text, options) : text;
    return { text: whole, ...call, ...this.#workspace };
  }
}

const paramName = (index: number): string => `param_${index}`;

/** Dynamic shared memory's symbol in every template. */
export const sharedSymbol = "farrier_shared";
