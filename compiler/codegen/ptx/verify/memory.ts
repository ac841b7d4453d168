/** Every memory access: what it points into, whether it may, alignment against its width, bounds. */
import type { AddressSlot, Form } from "./forms.js";
import type { Flow } from "./flow.js";
import { bases, trailing, type Known } from "./lattice.js";
import type { Problems } from "./problem.js";
import type { Instruction, Module, Operand, VerifyOptions } from "./types.js";
import type { Values } from "./values.js";

type AddressOperand = Operand & { readonly kind: "address" };

/** Bytes that an access touches; null where they are not literal. */
export function accessBytes({ operands }: Instruction, { bytes }: Form): number | null {
  if (bytes > 0) return bytes;
  const [, , size] = operands;
  return size?.kind === "integer" ? size.value : null;
}

/** Calls `visit` for each address of an instruction that code reaches. */
export function forEachAccess(
  module: Module,
  flow: Flow,
  visit: (instruction: Instruction, slot: AddressSlot, operand: AddressOperand) => void,
): void {
  module.instructions.forEach((instruction, index) => {
    const { form, operands } = instruction;
    if (form === null || !flow.blocks[flow.blockOf[index]!]!.reachable) return;
    form.slots.forEach((slot, place) => {
      const operand = operands[place];
      if (slot.kind === "address" && operand?.kind === "address") visit(instruction, slot, operand);
    });
  });
}

export class MemoryCheck {
  readonly #options: VerifyOptions;
  readonly #values: Values;
  readonly #problems: Problems;
  /** Bytes of shared memory from the symbols on. */
  readonly #sharedBytes: number;

  constructor(module: Module, options: VerifyOptions, values: Values, problems: Problems) {
    this.#options = options;
    this.#values = values;
    this.#problems = problems;
    this.#sharedBytes = [...module.shared.values()].reduce(
      (sum, { bytes }) => sum + (bytes ?? options.sharedBytes),
      0,
    );
  }

  run(module: Module, flow: Flow): void {
    forEachAccess(module, flow, (instruction, slot, operand) => {
      const bytes = accessBytes(instruction, instruction.form!);
      if (bytes === null || !this.#copySize(instruction, bytes)) return;
      if (slot.space === "param") this.#parameter(instruction, operand, bytes);
      else if (slot.space === "shared") this.#shared(instruction, operand, bytes);
      else this.#global(instruction, slot, operand, bytes);
    });
  }

  #copySize({ opcode, line, operands }: Instruction, bytes: number): boolean {
    if (!/^cp\.async\.c[ag]\./.test(opcode)) return true;
    const sizes = opcode.startsWith("cp.async.cg") ? [16] : [4, 8, 16];
    const taken = operands[3];
    const fine =
      sizes.includes(bytes) &&
      !(taken?.kind === "integer" && (taken.value > bytes || taken.value < 0));
    if (!fine) this.#problems.add("OPERANDS", line, `${opcode} of ${bytes} bytes`);
    return fine;
  }

  #parameter({ line }: Instruction, { base, offset }: AddressOperand, bytes: number): void {
    if (base.kind !== "symbol") return;
    if (offset < 0 || offset + bytes > 8)
      this.#problems.add("PARAM", line, `bytes ${offset} to ${offset + bytes} of ${base.name}`);
    else if (offset % bytes !== 0)
      this.#problems.add("ALIGN", line, `${bytes} bytes at ${base.name}+${offset}`);
    else if (bytes < 8 && this.#values.paramOf(base.name)?.kind === "pointer")
      this.#problems.add("PARAM", line, `${bytes} bytes of the address in ${base.name}`);
  }

  #shared({ line, opcode }: Instruction, operand: AddressOperand, bytes: number): void {
    const address = this.#values.address(operand);
    if (address.base !== bases.shared) {
      this.#problems.add("ADDRESS", line, `${opcode}: the address is not one of shared memory`);
      return;
    }
    this.#aligned(line, opcode, address, bytes);
    const size = this.#sharedBytes;
    const proved = address.max === Infinity || address.max + bytes <= size;
    if (address.min + bytes > size || address.max < 0 || (this.#options.proof && !proved))
      this.#problems.add(
        "SHARED",
        line,
        `${opcode} of ${bytes} bytes at ${range(address)} of ${size}`,
      );
  }

  #global(
    { line, opcode }: Instruction,
    slot: AddressSlot,
    operand: AddressOperand,
    bytes: number,
  ): void {
    const address = this.#values.address(operand);
    const param = address.base > 0 ? this.#options.params[address.base - 1] : undefined;
    if (param?.kind !== "pointer") {
      this.#problems.add("ADDRESS", line, `${opcode}: the address is not one of an operand`);
      return;
    }
    this.#aligned(line, opcode, address, bytes);
    const name = `param ${address.base - 1}`;
    if (slot.mode !== "read" && slot.mode !== "constant" && param.access === "read")
      this.#problems.add("ACCESS", line, `${opcode} to ${name}, which is only read`);
    if (slot.mode === "constant" && param.access !== "read")
      this.#problems.add("ACCESS", line, `${opcode} of ${name}, which is written`);
  }

  /** Low bits that are known and not zero; with `proof`, low bits that are not known too. */
  #aligned(line: number, opcode: string, address: Known, bytes: number): void {
    const zeros = trailing(address);
    if (zeros < address.bits && 2 ** zeros < bytes)
      this.#problems.add(
        "ALIGN",
        line,
        `${opcode}: an odd multiple of ${2 ** zeros} bytes, the access has ${bytes}`,
      );
    else if (this.#options.proof && 2 ** zeros < bytes)
      this.#problems.add("ALIGN", line, `${opcode}: not provably a multiple of ${bytes} bytes`);
  }
}

const range = ({ min, max }: Known): string => (min === max ? `${min}` : `${min} to ${max}`);
