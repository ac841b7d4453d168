/** Each instruction against its row of the table: kinds and types of operands, version, guard. */
import { formsOf, type Form, type Gate, type Slot, type Space, type ValueSlot } from "./forms.js";
import type { Check, Problems } from "./problem.js";
import {
  bits,
  kindOf,
  type Instruction,
  type Module,
  type Operand,
  type RegisterOperand,
  type ScalarType,
  type SymbolOperand,
} from "./types.js";

const gateText = ({ version, architecture, only = false }: Gate): string =>
  `PTX ${Math.floor(version / 100)}.${version % 100} and sm_${architecture}${only ? "a" : ""}`;

/** Finds every instruction's form, and its registers; reports what does not fit. */
export function checkOperands(module: Module, problems: Problems): void {
  const checker = new Checker(module, problems);
  for (const instruction of module.instructions) checker.check(instruction);
}

class Checker {
  readonly #module: Module;
  readonly #problems: Problems;
  readonly #version: number;
  readonly #architecture: number;

  constructor(module: Module, problems: Problems) {
    this.#module = module;
    this.#problems = problems;
    this.#version = (module.version?.major ?? 0) * 100 + (module.version?.minor ?? 0);
    this.#architecture = Number(/^sm_(\d+)/.exec(module.target)?.[1] ?? 0);
  }

  check(instruction: Instruction): void {
    const { line, opcode, operands, guard } = instruction;
    const rows = formsOf(opcode);
    if (rows === undefined) {
      this.#problems.add("OPCODE", line, `${opcode} is not allowed`);
      return;
    }
    const form =
      rows.length === 1 ? rows[0]! : (rows.find((row) => fits(row, operands)) ?? rows[0]!);
    instruction.form = form;
    if (!this.#has(form.since))
      this.#problems.add("ARCH", line, `${opcode} needs ${gateText(form.since)}`);
    if (guard >= 0) this.#guard(instruction, form);
    if (operands.length < form.required || operands.length > form.slots.length) {
      this.#problems.add("OPERANDS", line, `${opcode} with ${operands.length} operands`);
      return;
    }
    this.#collect(instruction, form);
  }

  #has({ version, architecture, only = false }: Gate): boolean {
    if (version > this.#version) return false;
    return only
      ? this.#module.target === `sm_${architecture}a`
      : architecture <= this.#architecture;
  }

  #guard({ line, opcode, guard }: Instruction, { role }: Form): void {
    if (this.#module.registerTypes[guard] !== "pred")
      this.#problems.add("GUARD", line, `${this.#module.registerNames(guard)} is not a predicate`);
    // These wait for every thread: what some skip never ends.
    if (role === "wait" || opcode.includes(".aligned"))
      this.#problems.add("GUARD", line, `${opcode} has a guard`);
  }

  #collect(instruction: Instruction, form: Form): void {
    const defs: number[] = [];
    const uses: number[] = [];
    const { operands, line } = instruction;
    for (let at = 0; at < operands.length; at++) {
      const operand = operands[at]!;
      const slot = form.slots[at]!;
      this.#operand(instruction, at, slot, operand);
      const written = slot.kind === "value" && slot.written;
      const into = written ? defs : uses;
      if (operand.kind === "register") into.push(operand.register);
      else if (operand.kind === "vector") {
        into.push(...operand.registers);
        if (written && slot.kept) uses.push(...operand.registers);
      } else if (operand.kind === "address" && operand.base.kind === "register")
        uses.push(operand.base.register);
    }
    instruction.defs = defs;
    instruction.uses = uses;
    if (defs.length > 1 && new Set(defs).size < defs.length)
      this.#problems.add("VECTOR", line, "a destination register twice");
  }

  #complain(check: Check, { line, opcode }: Instruction, at: number, what: string): void {
    this.#problems.add(check, line, `operand ${at + 1} of ${opcode} is ${what}`);
  }

  #operand(instruction: Instruction, at: number, slot: Slot, operand: Operand): void {
    const { line } = instruction;
    if (slot.kind === "value") this.#value(instruction, at, slot, operand);
    else if (slot.kind === "address") {
      if (operand.kind !== "address") this.#complain("OPERANDS", instruction, at, "not an address");
      else this.#base(line, slot.space, operand.base);
    } else if (slot.kind === "label") {
      if (operand.kind !== "symbol") this.#complain("OPERANDS", instruction, at, "not a label");
      else if (!this.#module.labels.has(operand.name))
        this.#problems.add("DECLARE", line, `label ${operand.name} is not placed`);
    } else if (operand.kind === "symbol") {
      if (!this.#module.shared.has(operand.name))
        this.#problems.add("DECLARE", line, `${operand.name} is not declared`);
    } else if (operand.kind !== "special")
      this.#complain("OPERANDS", instruction, at, "neither a name nor a special register");
  }

  #base(line: number, space: Space, base: RegisterOperand | SymbolOperand): void {
    const { params, shared, registerTypes } = this.#module;
    if (base.kind === "symbol") {
      const { name } = base;
      const known = {
        param: params.some((param) => param.name === name),
        shared: shared.has(name),
        global: false,
      };
      if (!known[space])
        this.#problems.add("DECLARE", line, `${name} is not declared in .${space}`);
      return;
    }
    const type = registerTypes[base.register]!;
    const wide = bits[type] === 64 || (bits[type] === 32 && space === "shared");
    if (wide && space !== "param" && kindOf[type] !== "f") return;
    const name = this.#module.registerNames(base.register);
    this.#problems.add("TYPE", line, `${name} (.${type}) is no address in .${space}`);
  }

  #value(instruction: Instruction, at: number, slot: ValueSlot, operand: Operand): void {
    if (slot.lanes > 0) {
      if (operand.kind !== "vector" || operand.registers.length !== slot.lanes)
        this.#complain("VECTOR", instruction, at, `not a vector of ${slot.lanes}`);
      else
        for (const register of operand.registers) this.#register(instruction, at, slot, register);
    } else if (operand.kind === "register") {
      if (slot.literals === "only") this.#complain("OPERANDS", instruction, at, "not a literal");
      else this.#register(instruction, at, slot, operand.register);
    } else if (operand.kind === "vector") this.#complain("VECTOR", instruction, at, "a vector");
    else if (operand.kind === "integer" || operand.kind === "float") {
      if (slot.literals === "none") this.#complain("OPERANDS", instruction, at, "a literal");
      else if (!literalFits(slot.type, operand))
        this.#complain("TYPE", instruction, at, `a literal that .${slot.type} does not have`);
    } else this.#complain("OPERANDS", instruction, at, `of kind ${operand.kind}`);
  }

  #register(instruction: Instruction, at: number, slot: ValueSlot, register: number): void {
    const type = this.#module.registerTypes[register]!;
    if (agrees(slot, type)) return;
    const name = this.#module.registerNames(register);
    this.#complain("TYPE", instruction, at, `${name} (.${type}), expected .${slot.type}`);
  }
}

/** Which of an opcode's rows is meant: by the shapes of its operands. */
function fits(form: Form, operands: readonly Operand[]): boolean {
  if (operands.length < form.required || operands.length > form.slots.length) return false;
  return operands.every((operand, index) => {
    const slot = form.slots[index]!;
    if (slot.kind === "source") return operand.kind === "symbol" || operand.kind === "special";
    if (slot.kind !== "value") return true;
    if (operand.kind === "symbol" || operand.kind === "special") return false;
    return slot.lanes > 0 === (operand.kind === "vector");
  });
}

/** PTX's rule: the same width, and the same kind unless one of both is untyped. */
function agrees(slot: ValueSlot, type: ScalarType): boolean {
  if (slot.type === type) return true;
  if (type === "pred" || slot.type === "pred") return false;
  const wanted = kindOf[slot.type];
  const found = kindOf[type];
  if (slot.relaxed ? bits[type] < bits[slot.type] || found === "f" : bits[type] !== bits[slot.type])
    return false;
  return wanted === "b" || found === "b" || (wanted === "f") === (found === "f");
}

function literalFits(type: ScalarType, operand: Operand): boolean {
  if (operand.kind === "float")
    return bits[type] === operand.bits && (kindOf[type] === "f" || kindOf[type] === "b");
  if (operand.kind !== "integer" || type === "pred" || kindOf[type] === "f") return false;
  const half = 2 ** (bits[type] - 1);
  return operand.value >= -half && operand.value <= 2 * half - (bits[type] === 64 ? 0 : 1);
}
