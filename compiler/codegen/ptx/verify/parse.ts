/** Text of a module → its header, declarations and instructions. One kernel, one flat body. */
import { OperandParser } from "./operands.js";
import type { Problems } from "./problem.js";
import { RegisterTable } from "./registers.js";
import { GrammarError, isWord, Scanner } from "./scanner.js";
import {
  isScalarType,
  type Instruction,
  type Module,
  type Operand,
  type ScalarType,
} from "./types.js";

/** Null if the text is not of the grammar: the problems say where. */
export function parseModule(text: string, problems: Problems): Module | null {
  try {
    return new Parser(text, problems).module();
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    problems.add("GRAMMAR", error.line, error.message);
    return null;
  }
}

const noRegisters: readonly number[] = [];

class Parser {
  readonly #s: Scanner;
  readonly #problems: Problems;
  readonly #registers = new RegisterTable();
  readonly #operands: OperandParser;
  readonly #opcodes = new Map<string, string>();
  readonly #module: Module;

  constructor(text: string, problems: Problems) {
    this.#s = new Scanner(text);
    this.#problems = problems;
    this.#operands = new OperandParser(this.#s, this.#registers, problems);
    this.#module = {
      version: null,
      target: "",
      addressSize: 0,
      shared: new Map(),
      entry: null,
      params: [],
      tuning: new Map(),
      registerTypes: this.#registers.types,
      registerNames: this.#registers.name,
      instructions: [],
      labels: new Map(),
      endLine: 0,
    };
  }

  module(): Module {
    const s = this.#s;
    this.#header();
    while (!s.atEnd && this.#module.entry === null) {
      const directive = this.#directive();
      if (directive === ".extern") this.#shared(this.#directive(), true);
      else if (directive === ".shared") this.#shared(directive, false);
      else if (directive === ".visible") this.#entry();
      else s.fail(`${directive} is not of the dialect`);
    }
    if (this.#module.entry === null) s.fail("no .visible .entry");
    if (!s.atEnd) s.fail(`expected the end of the text, found ${s.found()}`);
    return this.#module;
  }

  #directive(): string {
    if (this.#s.peek() !== 46) this.#s.fail(`expected a directive, found ${this.#s.found()}`);
    return this.#s.dotted();
  }

  #header(): void {
    const s = this.#s;
    if (this.#directive() !== ".version") s.fail("a text begins with .version");
    const major = s.decimal("a version");
    s.expect(".", "in a version");
    this.#module.version = { major, minor: s.decimal("a version") };
    if (this.#directive() !== ".target") s.fail(".version is followed by .target");
    s.peek();
    this.#module.target = s.word("a target");
    if (this.#directive() !== ".address_size") s.fail(".target is followed by .address_size");
    this.#module.addressSize = s.decimal("an address size");
  }

  #type(what: string): ScalarType {
    const name = this.#directive().slice(1);
    if (!isScalarType(name)) this.#s.fail(`.${name} is no type of ${what}`);
    return name;
  }

  /** After `.shared`: `.align N .b8 name[bytes];` */
  #shared(directive: string, dynamic: boolean): void {
    const s = this.#s;
    if (directive !== ".shared") s.fail(`${directive} is not of the dialect`);
    if (this.#directive() !== ".align") s.fail("shared memory without .align");
    const align = s.decimal("an alignment");
    if (this.#type("shared memory") !== "b8") s.fail("shared memory is declared in bytes");
    s.peek();
    const name = s.word("a name");
    s.expect("[", "after the name of shared memory");
    const bytes = dynamic ? null : s.decimal("a size");
    s.expect("]", "after the size of shared memory");
    s.expect(";", "after a declaration");
    if (align === 0 || (align & (align - 1)) !== 0 || align > 1024)
      this.#problems.add("SHARED", s.line, `an alignment of ${align} bytes`);
    if (this.#module.shared.has(name))
      this.#problems.add("DECLARE", s.line, `${name} is declared twice`);
    this.#module.shared.set(name, { name, align, bytes, line: s.line });
  }

  #entry(): void {
    const s = this.#s;
    if (this.#directive() !== ".entry") s.fail("only .entry may be visible");
    s.peek();
    this.#module.entry = { line: s.line, name: s.word("the kernel's name") };
    s.expect("(", "after the kernel's name");
    while (!s.take(")")) {
      if (this.#directive() !== ".param") s.fail("expected .param");
      const type = this.#type("parameters");
      s.peek();
      const name = s.word("a parameter's name");
      if (this.#module.params.some((param) => param.name === name))
        this.#problems.add("DECLARE", s.line, `parameter ${name} is declared twice`);
      this.#module.params.push({ name, type, line: s.line });
      if (s.peek() !== 41) s.expect(",", "between parameters");
    }
    while (s.peek() === 46) this.#tuning();
    s.expect("{", "before the body");
    while (!s.take("}")) this.#statement();
    this.#module.endLine = s.line;
  }

  #tuning(): void {
    const s = this.#s;
    const name = this.#directive();
    if (![".maxntid", ".reqntid", ".minnctapersm", ".maxnreg"].includes(name))
      s.fail(`${name} is not of the dialect`);
    const values = [s.decimal("a number")];
    while (s.take(",")) values.push(s.decimal("a number"));
    if (this.#module.tuning.has(name)) this.#problems.add("DECLARE", s.line, `${name} twice`);
    this.#module.tuning.set(name, values);
  }

  #statement(): void {
    const s = this.#s;
    const char = s.peek();
    if (char === 46) {
      this.#declaration();
      return;
    }
    const { line } = s;
    let guard = -1;
    let negated = false;
    if (char === 64) {
      s.pos++;
      negated = s.take("!");
      guard = this.#operands.register().register;
      s.peek();
    } else if (this.#label()) return;
    const opcode = this.#opcode();
    const operands: Operand[] = [];
    if (s.peek() !== 59) {
      do operands.push(this.#operands.operand());
      while (s.take(","));
    }
    s.expect(";", `after ${opcode}`);
    this.#module.instructions.push(instruction(line, opcode, guard, negated, operands));
  }

  /** The same string for the same opcode, which makes later look-ups cheap. */
  #opcode(): string {
    const s = this.#s;
    if (!isWord(s.text.charCodeAt(s.pos))) s.fail(`expected an instruction, found ${s.found()}`);
    const source = s.dotted();
    const known = this.#opcodes.get(source);
    if (known !== undefined) return known;
    this.#opcodes.set(source, source);
    return source;
  }

  #label(): boolean {
    const s = this.#s;
    const start = s.pos;
    let end = start;
    while (isWord(s.text.charCodeAt(end))) end++;
    if (end === start || s.text.charCodeAt(end) !== 58 || s.text.charCodeAt(end + 1) === 58)
      return false;
    const name = s.text.slice(start, end);
    s.pos = end + 1;
    if (this.#module.labels.has(name))
      this.#problems.add("DECLARE", s.line, `label ${name} is placed twice`);
    this.#module.labels.set(name, { index: this.#module.instructions.length, line: s.line });
    return true;
  }

  #declaration(): void {
    const s = this.#s;
    const directive = this.#directive();
    if (directive === ".reg") this.#registerDeclaration();
    else if (directive === ".pragma") {
      s.peek();
      if (!/^"[^"\n]*"\s*;/.test(s.text.slice(s.pos, s.pos + 80))) s.fail("a malformed .pragma");
      s.pos = s.text.indexOf(";", s.pos) + 1;
    } else if (directive === ".shared") this.#shared(directive, false);
    else s.fail(`${directive} is not of the dialect`);
  }

  #registerDeclaration(): void {
    const s = this.#s;
    const type = this.#type("registers");
    do {
      s.expect("%", "before a register's name");
      const name = `%${s.word("a register's name")}`;
      let done: boolean;
      if (s.take("<")) {
        const count = s.decimal("a number of registers");
        if (count > 1_000_000) s.fail(`${count} registers`);
        s.expect(">", "after a number of registers");
        done = this.#registers.declareRange(name, count, type);
      } else done = this.#registers.declare(name, type);
      if (!done) this.#problems.add("DECLARE", s.line, `register ${name} is declared twice`);
    } while (s.take(","));
    s.expect(";", "after a declaration");
  }
}

const instruction = (
  line: number,
  opcode: string,
  guard: number,
  negated: boolean,
  operands: readonly Operand[],
): Instruction => ({
  line,
  opcode,
  guard,
  negated,
  operands,
  form: null,
  defs: noRegisters,
  uses: noRegisters,
});
