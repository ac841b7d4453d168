/** Each instruction against its row of the table: kinds and types of operands, version, guard. */
import { formsOf, type Form, type Gate, type Slot, type ValueSlot } from "./forms.js";
import type { Problems } from "./problem.js";
import { bits, type Instruction, type Module, type Operand, type ScalarType } from "./types.js";

const gateText = ({ version, architecture }: Gate): string =>
  `PTX ${Math.floor(version / 100)}.${version % 100} and sm_${architecture}`;

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
    const form = rows.length === 1 ? rows[0]! : (rows.find((row) => fits(row, operands)) ?? rows[0]!);
    instruction.form = form;
    const { since } = form;
    if (since.version > this.#version || since.architecture > this.#architecture)
      this.#problems.add("ARCH", line, `${opcode} needs ${gateText(since)}`);
    if (guard >= 0) this.#guard(instruction, form);
    if (operands.length < form.required || operands.length > form.slots.length) {
      this.#problems.add("OPERANDS", line, `${opcode} with ${operands.length} operands`);
      return;
    }
    this.#collect(instruction, form);
  }

  #guard({ line, opcode, guard }: Instruction, { role }: Form): void {
    if (this.#module.registerTypes[guard] !== "pred")
      this.#problems.add("GUARD", line, `${this.#name(guard)} is not a predicate`);
    // These wait for every thread: what some skip never ends.
    if (role === "wait" || opcode.includes(".aligned"))
      this.#problems.add("GUARD", line, `${opcode} has a guard`);
  }

  #collect(instruction: Instruction, form: Form): void {
    const defs: number[] = [];
    const uses: number[] = [];
    instruction.operands.forEach((operand, index) => {
      const slot = form.slots[index]!;
      this.#operand(instruction, index, slot, operand);
      const into = slot.kind === "value" && slot.written ? defs : uses;
      if (operand.kind === "register") into.push(operand.register);
      else if (operand.kind === "vector") into.push(...operand.registers);
      else if (operand.kind === "address" && operand.base.kind === "register")
        uses.push(operand.base.register);
    });
    instruction.defs = defs;
    instruction.uses = uses;
    if (defs.length > 1 && new Set(defs).size < defs.length)
      this.#problems.add("VECTOR", instruction.line, "a destination register twice");
  }

  #operand(instruction: Instruction, index: number, slot: Slot, operand: Operand): void {
    const { line, opcode } = instruction;
    const complain = (what: string): void =>
      this.#problems.add("OPERANDS", line, `operand ${index + 1} of ${opcode} is ${what}`);
    if (slot.kind === "label") {
      if (operand.kind !== "symbol") complain("not a label");
      else if (!this.#module.labels.has(operand.name))
        this.#problems.add("DECLARE", line, `label ${operand.name} is not placed`);
    } else if (slot.kind === "source") {
      if (operand.kind === "symbol" && !this.#module.shared.has(operand.name))
        this.#problems.add("DECLARE", line, `${operand.name} is not declared`);
      else if (operand.kind !== "symbol" && operand.kind !== "special") complain("no source");
    } else if (slot.kind === "address") {
      if (operand.kind !== "address") complain("not an address");
      else this.#base(line, slot.space, operand.base);
    } else this.#value(instruction, index, slot, operand);
  }

  #base(line: number, space: string, base: (Operand & { kind: "address" })["base"]): void {
    if (base.kind === "symbol") {
      const known = space === "param" ? this.#module.params.some(({ name }) => name === base.name) : this.#module.shared.has(base.name);
      if (!known || space === "global")
        this.#problems.add("DECLARE", line, `${base.name} is not declared in .${space}`);
      return;
    }
    const type = this.#module.registerTypes[base.register]!;
    const allowed = space === "global" ? [64] : space === "shared" ? [32, 64] : [];
    if (!allowed.includes(bits[type]) || type.startsWith("f"))
      this.#problems.add("TYPE", line, `${this.#name(base.register)} (.${type}) is no address in .${space}`);
  }

  #value(instruction: Instruction, index: number, slot: ValueSlot, operand: Operand): void {
    const { line, opcode } = instruction;
    const place = `operand ${index + 1} of ${opcode}`;
    if (slot.lanes > 0) {
      if (operand.kind !== "vector" || operand.registers.length !== slot.lanes)
        this.#problems.add("VECTOR", line, `${place} is not a vector of ${slot.lanes}`);
      else for (const register of operand.registers) this.#register(line, place, slot, register);
    } else if (operand.kind === "register") {
      if (slot.literals === "only")
        this.#problems.add("OPERANDS", line, `${place} is not a literal`);
      else this.#register(line, place, slot, operand.register);
    } else if (operand.kind === "vector") {
      this.#problems.add("VECTOR", line, `${place} is a vector`);
    } else if (operand.kind === "integer" || operand.kind === "float") {
      if (slot.literals === "none")
        this.#problems.add("OPERANDS", line, `${place} is a literal`);
      else if (!literalFits(slot.type, operand))
        this.#problems.add("TYPE", line, `${place} is a literal that .${slot.type} does not have`);
    } else this.#problems.add("OPERANDS", line, `${place} is a ${operand.kind}`);
  }

  #register(line: number, place: string, slot: ValueSlot, register: number): void {
    const type = this.#module.registerTypes[register]!;
    if (agrees(slot, type)) return;
    const name = this.#name(register);
    this.#problems.add("TYPE", line, `${place} is ${name} (.${type}), expected .${slot.type}`);
  }

  #name(register: number): string {
    return this.#module.registerNames(register);
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

const numeric = (type: ScalarType): "b" | "i" | "f" =>
  type.startsWith("b") ? "b" : type.startsWith("f") ? "f" : "i";

/** PTX's rule: the same width, and the same kind unless one of both is untyped. */
function agrees(slot: ValueSlot, type: ScalarType): boolean {
  if (slot.type === type) return true;
  if (type === "pred" || slot.type === "pred") return false;
  const [wanted, found] = [numeric(slot.type), numeric(type)];
  if (slot.relaxed ? bits[type] < bits[slot.type] || found === "f" : bits[type] !== bits[slot.type])
    return false;
  return wanted === "b" || found === "b" || wanted === found;
}

function literalFits(type: ScalarType, operand: Operand): boolean {
  if (operand.kind === "float")
    return (type === "f32" && operand.bits === 32) || (type === "f64" && operand.bits === 64);
  if (operand.kind !== "integer" || type === "pred" || numeric(type) === "f") return false;
  const half = 2 ** (bits[type] - 1);
  return operand.value >= -half && operand.value <= 2 * half - (bits[type] === 64 ? 0 : 1);
}
