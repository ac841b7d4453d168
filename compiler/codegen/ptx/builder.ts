/**
 * Builds the body of one PTX function: virtual registers by class, labels, and lines in nested
 * blocks, so that code found late can still be put before a loop.
 */
import type { PtxType } from "./instructions.js";
import { bitsOf, ptx, registerClass } from "./instructions.js";

/** A register or an immediate. */
export interface Value {
  readonly text: string;
  readonly type: PtxType;
  /** A 16-bit value that is half of a 32-bit register: it need not be unpacked to be converted. */
  readonly half?: { readonly word: Value; readonly high: boolean };
}

export const isImmediate = (value: Value): boolean => !value.text.startsWith("%");

/** Text in order. While an inner block is open, what is hoisted to the outer one goes before it. */
export class Block {
  readonly #items: (string | Block)[] = [];
  /** Where hoisted lines go while an inner block is open. */
  #before: Block | null = null;

  append(line: string): void {
    if (this.#before === null) this.#items.push(line);
    else this.#before.append(line);
  }

  /** A block in this place of the text, straight-line with its surroundings. */
  section(): Block {
    if (this.#before !== null) return this.#before.section();
    const block = new Block();
    this.#items.push(block);
    return block;
  }

  /** Opens an inner block (a loop's body): until `close`, lines appended here land before it. */
  open(): { readonly inner: Block; readonly close: () => void } {
    if (this.#before !== null) return this.#before.open();
    const before = this.section();
    const inner = this.section();
    this.#before = before;
    return {
      inner,
      close: () => {
        this.#before = null;
      },
    };
  }

  lines(): string[] {
    return this.#items.flatMap((item) => (typeof item === "string" ? [item] : item.lines()));
  }
}

export class PtxBuilder {
  readonly #counts = new Map<string, number>();
  #labels = 0;
  #block = new Block();

  get block(): Block {
    return this.#block;
  }

  /** Runs `body` with lines going to `block`. */
  into<T>(block: Block, body: () => T): T {
    const outer = this.#block;
    this.#block = block;
    try {
      return body();
    } finally {
      this.#block = outer;
    }
  }

  reg(type: PtxType): Value {
    const { prefix } = registerClass[type];
    const index = this.#counts.get(prefix) ?? 0;
    this.#counts.set(prefix, index + 1);
    return { text: `${prefix}${index}`, type };
  }

  regs(type: PtxType, count: number): Value[] {
    return Array.from({ length: count }, () => this.reg(type));
  }

  /** `instruction result, args…;` into a new register. */
  op(instruction: string, type: PtxType, ...args: readonly (Value | string | number)[]): Value {
    const result = this.reg(type);
    this.line(instruction, result, ...args);
    return result;
  }

  /** `instruction args…;` */
  line(instruction: string, ...args: readonly (Value | string | number)[]): void {
    this.raw(`${instruction} ${args.map(textOf).join(", ")};`);
  }

  /** `@guard instruction args…;` where there is a guard. */
  lineIf(
    guard: Value | null,
    instruction: string,
    ...args: readonly (Value | string | number)[]
  ): void {
    this.line(guard === null ? instruction : `@${guard.text} ${instruction}`, ...args);
  }

  raw(text: string): void {
    this.#block.append(text);
  }

  label(hint: string): string {
    return `${hint.toUpperCase()}_${this.#labels++}`;
  }

  place(label: string): void {
    this.raw(`${label}:`);
  }

  branch(label: string, guard: Value | null = null, negated = false): void {
    this.raw(
      guard === null ? `bra ${label};` : `@${negated ? "!" : ""}${guard.text} bra ${label};`,
    );
  }

  /** `body` a known number of times, as a loop that ptxas leaves one: unrolled loads would spill. */
  repeat(count: number, body: () => void): void {
    if (count <= 1) {
      if (count === 1) body();
      return;
    }
    const counter = this.op("mov.b32", "s32", 0);
    const head = this.label("repeat");
    this.raw('.pragma "nounroll";');
    this.place(head);
    body();
    this.line("add.s32", counter, counter, 1);
    this.branch(head, this.op("setp.lt.s32", "pred", counter, count));
  }

  /** Assigns to an existing register. */
  assign(target: Value, value: Value): void {
    this.line(ptx.move(target.type), target, value);
  }

  /** `value` in a register: immediates are moved. */
  inRegister(value: Value): Value {
    return isImmediate(value) ? this.op(ptx.move(value.type), value.type, value) : value;
  }

  /** The low and the high 16 bits of a 32-bit register. */
  halves(word: Value): readonly [Value, Value] {
    const [low, high] = [this.reg("b16"), this.reg("b16")];
    this.raw(`mov.b32 {${low.text}, ${high.text}}, ${word.text};`);
    return [
      { ...low, half: { word, high: false } },
      { ...high, half: { word, high: true } },
    ];
  }

  /** Two 16-bit registers as one word. */
  packHalves(low: Value, high: Value): Value {
    const word = this.reg("u32");
    this.raw(`mov.b32 ${word.text}, {${low.text}, ${high.text}};`);
    return word;
  }

  /** `.reg` declarations of everything used. */
  declarations(): string[] {
    const declared = new Map(
      Object.values(registerClass).map((entry) => [entry.prefix, entry.declared]),
    );
    return [...this.#counts.entries()]
      .filter(([, count]) => count > 0)
      .map(([prefix, count]) => `.reg ${declared.get(prefix)} ${prefix}<${count}>;`);
  }
}

const textOf = (arg: Value | string | number): string =>
  typeof arg === "object" ? arg.text : String(arg);

/** `{a, b}` of a vector load or store; a single register stands alone. */
export function vector(values: readonly Value[]): string {
  return values.length === 1
    ? values[0]!.text
    : `{${values.map((value) => value.text).join(", ")}}`;
}

/** `[base+offset]` */
export function address(base: Value, offset = 0): string {
  return offset === 0 ? `[${base.text}]` : `[${base.text}+${offset}]`;
}

const floatBits = new DataView(new ArrayBuffer(8));

/** A literal as PTX writes it. */
export function immediate(value: number | bigint, type: PtxType): Value {
  if (type === "f32") {
    floatBits.setFloat32(0, Number(value));
    return {
      text: `0f${floatBits.getUint32(0).toString(16).padStart(8, "0").toUpperCase()}`,
      type,
    };
  }
  if (type === "f64") {
    floatBits.setFloat64(0, Number(value));
    return {
      text: `0d${floatBits.getBigUint64(0).toString(16).padStart(16, "0").toUpperCase()}`,
      type,
    };
  }
  if (type === "b16") return { text: `0x${Number(value).toString(16).padStart(4, "0")}`, type };
  return {
    text: (bitsOf[type] === "b32" ? BigInt.asIntN(32, BigInt(value)) : BigInt(value)).toString(),
    type,
  };
}
