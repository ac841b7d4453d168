/** Operands as they are written: registers, literals, vectors, addresses, names. */
import type { Problems } from "./problem.js";
import type { RegisterTable } from "./registers.js";
import { isDigit, isWord, type Scanner } from "./scanner.js";
import type { Operand, RegisterOperand, SymbolOperand } from "./types.js";

const specials = new Set([
  ...["tid", "ntid", "ctaid", "nctaid"].flatMap((name) =>
    ["x", "y", "z"].map((axis) => `%${name}.${axis}`),
  ),
  ...["%laneid", "%warpid", "%nwarpid", "%smid", "%clock", "%clock64", "%globaltimer"],
  ...["eq", "le", "lt", "ge", "gt"].map((order) => `%lanemask_${order}`),
]);

export class OperandParser {
  readonly #scanner: Scanner;
  readonly #registers: RegisterTable;
  readonly #problems: Problems;
  /** By register number: operands are shared. */
  readonly #known: RegisterOperand[] = [];

  constructor(scanner: Scanner, registers: RegisterTable, problems: Problems) {
    this.#scanner = scanner;
    this.#registers = registers;
    this.#problems = problems;
  }

  operand(): Operand {
    const s = this.#scanner;
    const char = s.peek();
    if (char === 37) return this.#registerOrSpecial();
    if (char === 123) return this.#vector();
    if (char === 91) return this.#address();
    if (isDigit(char) || char === 45 || char === 43) return this.#number();
    if (isWord(char)) return { kind: "symbol", name: s.word("a name") };
    return s.fail(`expected an operand, found ${s.found()}`);
  }

  /** A register; an undeclared one is a problem, and counts as the first of the table. */
  register(): RegisterOperand {
    const operand = this.#registerOrSpecial();
    if (operand.kind === "register") return operand;
    return this.#scanner.fail(`${operand.name} is no register`);
  }

  #registerOrSpecial(): RegisterOperand | { readonly kind: "special"; readonly name: string } {
    const s = this.#scanner;
    const { text } = s;
    if (s.peek() !== 37) s.fail(`expected a register, found ${s.found()}`);
    const start = s.pos++;
    while (isWord(text.charCodeAt(s.pos)) && !isDigit(text.charCodeAt(s.pos))) s.pos++;
    const digits = s.pos;
    let index = 0;
    for (let char = text.charCodeAt(s.pos); isDigit(char); char = text.charCodeAt(++s.pos))
      index = index * 10 + char - 48;
    const length = s.pos - digits;
    const plain =
      length > 0 &&
      length < 8 &&
      !isWord(text.charCodeAt(s.pos)) &&
      (length === 1 || text.charCodeAt(digits) !== 48);
    if (plain) {
      const id = this.#registers.findIndexed(text.slice(start, digits), index);
      if (id >= 0) return this.#of(id);
    }
    return this.#named(start);
  }

  #named(start: number): RegisterOperand | { readonly kind: "special"; readonly name: string } {
    const s = this.#scanner;
    while (isWord(s.text.charCodeAt(s.pos))) s.pos++;
    let name = s.text.slice(start, s.pos);
    const id = this.#registers.find(name);
    if (id >= 0) return this.#of(id);
    if (s.text.charCodeAt(s.pos) === 46) {
      s.pos++;
      name += `.${s.word("an axis")}`;
    }
    if (specials.has(name)) return { kind: "special", name };
    this.#problems.add("DECLARE", s.line, `register ${name} is not declared`);
    return this.#of(0);
  }

  #of(id: number): RegisterOperand {
    return (this.#known[id] ??= { kind: "register", register: id });
  }

  #vector(): Operand {
    const s = this.#scanner;
    s.expect("{", "before a vector");
    const registers = [this.register().register];
    while (s.take(",")) registers.push(this.register().register);
    s.expect("}", "after a vector");
    return { kind: "vector", registers };
  }

  #address(): Operand {
    const s = this.#scanner;
    s.expect("[", "before an address");
    const base: RegisterOperand | SymbolOperand =
      s.peek() === 37 ? this.register() : { kind: "symbol", name: s.word("a base address") };
    let offset = 0;
    if (s.take("+")) {
      s.peek();
      const number = this.#number();
      if (number.kind !== "integer" || Math.abs(number.value) >= 2 ** 31)
        s.fail("expected an offset of 32 bits");
      offset = number.kind === "integer" ? number.value : 0;
    }
    s.expect("]", "after an address");
    return { kind: "address", base, offset };
  }

  #number(): Operand {
    const s = this.#scanner;
    const start = s.pos;
    const sign = s.text.charCodeAt(s.pos);
    if (sign === 45 || sign === 43) s.pos++;
    const digits = s.pos;
    const source = s.word("a number");
    if (/^\d{1,15}$/.test(source)) {
      const value = Number(s.text.slice(start, s.pos));
      return { kind: "integer", value, low: lowBits(value) };
    }
    if (/^(?:\d+|0[xX][\da-fA-F]+)$/.test(source)) {
      const magnitude = BigInt(source);
      const value = sign === 45 ? -magnitude : magnitude;
      if (value >= 2n ** 64n || value < -(2n ** 63n)) s.fail("a number beyond 64 bits");
      return { kind: "integer", value: Number(value), low: Number(BigInt.asIntN(32, value)) };
    }
    if (digits === start && /^0[fF][\da-fA-F]{8}$/.test(source)) return { kind: "float", bits: 32 };
    if (digits === start && /^0[dD][\da-fA-F]{16}$/.test(source))
      return { kind: "float", bits: 64 };
    return s.fail(`${JSON.stringify(s.text.slice(start, s.pos))} is no number`);
  }
}

/** Modulo 2³², as a signed number. */
function lowBits(value: number): number {
  if (Math.abs(value) < 2 ** 31) return value | 0;
  return Number(BigInt.asIntN(32, BigInt(value)));
}
