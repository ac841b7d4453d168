/**
 * Integers and addresses of a whole body, each register by all of its definitions together: what it
 * points into, its range and its low bits. Enough for alignment and for bounds, in a few passes.
 */
import {
  add,
  and,
  anything,
  bases,
  divide,
  exactly,
  extreme,
  isExact,
  join,
  known,
  multiply,
  or,
  remainder,
  same,
  shiftLeft,
  shiftRight,
  subtract,
  unknownBase,
  widen,
  within,
  wrapped,
  type Known,
} from "./lattice.js";
import {
  bits,
  kindOf,
  type Instruction,
  type Module,
  type Operand,
  type PtxParam,
  type ScalarType,
  type VerifyOptions,
} from "./types.js";

const tracked = (type: ScalarType): boolean => type !== "pred" && kindOf[type] !== "f";

/** Operands, after the result, that the result follows from; others give a result of which nothing is known. */
const counts: Readonly<Record<string, number>> = {
  ...{ mov: 1, cvta: 1, cvt: 1 },
  // Values of other lanes are values of the same register.
  shfl: 1,
  ...{ add: 2, sub: 2, mul: 2, and: 2, or: 2, xor: 2, min: 2, max: 2, selp: 2 },
  ...{ div: 2, rem: 2, shl: 2, shr: 2, mad: 3 },
};

/** Passes after which bounds that still move are given up. */
const patience = 3;

export class Values {
  readonly #module: Module;
  readonly #options: VerifyOptions;
  readonly #known: (Known | null)[];
  readonly #definitions: Uint8Array;
  readonly #paramIndex: ReadonlyMap<string, number>;

  constructor(module: Module, options: VerifyOptions) {
    this.#module = module;
    this.#options = options;
    this.#known = new Array<Known | null>(module.registerTypes.length).fill(null);
    this.#definitions = new Uint8Array(module.registerTypes.length);
    this.#paramIndex = new Map(module.params.map(({ name }, index) => [name, index]));
    this.#solve();
  }

  /** What is known of a register that some path writes. */
  of(register: number): Known {
    return this.#known[register] ?? anything;
  }

  /** The address of a memory operand. */
  address(operand: Operand & { kind: "address" }): Known {
    const { base, offset } = operand;
    const start = base.kind === "symbol" ? this.#symbol(base.name) : this.of(base.register);
    return offset === 0 ? start : add(start, exactly(offset, offset | 0));
  }

  paramOf(name: string): PtxParam | undefined {
    return this.#options.params[this.#paramIndex.get(name) ?? -1];
  }

  #solve(): void {
    const { registerTypes, instructions } = this.#module;
    const work: Instruction[] = [];
    for (const instruction of instructions) {
      const [first] = instruction.defs;
      if (first === undefined || !tracked(registerTypes[first]!)) continue;
      work.push(instruction);
      for (const register of instruction.defs)
        this.#definitions[register] = Math.min(2, this.#definitions[register]! + 1);
    }
    for (let pass = 0, changed = true; changed; pass++) {
      changed = false;
      for (const instruction of work) changed = this.#step(instruction, pass) || changed;
    }
  }

  #step(instruction: Instruction, pass: number): boolean {
    const { defs } = instruction;
    const result = defs.length === 1 ? this.#transfer(instruction) : anything;
    if (result === null) return false;
    let changed = false;
    for (const register of defs) {
      const before = this.#known[register]!;
      const width = bits[this.#module.registerTypes[register]!];
      let next = wrapped(result, width);
      if (before !== null && this.#definitions[register]! > 1) {
        next = join(before, next);
        if (pass >= patience) next = widen(before, next);
      }
      if (before !== null && same(before, next)) continue;
      this.#known[register] = next;
      changed = true;
    }
    return changed;
  }

  #symbol(name: string): Known {
    const symbol = this.#module.shared.get(name);
    if (symbol === undefined) return unknownBase;
    return known(bases.shared, 0, 0, 31 - Math.clz32(symbol.align), 0);
  }

  #operand(operand: Operand): Known | null {
    if (operand.kind === "register") {
      const { register } = operand;
      return tracked(this.#module.registerTypes[register]!) ? this.#known[register]! : anything;
    }
    if (operand.kind === "integer") return exactly(operand.value, operand.low);
    if (operand.kind === "symbol") return this.#symbol(operand.name);
    if (operand.kind === "special") return this.#special(operand.name);
    return anything;
  }

  #special(name: string): Known {
    const { threads } = this.#options;
    switch (name) {
      case "%tid.x":
        return within(0, threads - 1);
      case "%ntid.x":
        return exactly(threads, threads);
      case "%tid.y":
      case "%tid.z":
        return exactly(0, 0);
      case "%laneid":
        return within(0, 31);
      default:
        return within(0, 2 ** 31 - 1);
    }
  }

  #parameter(operand: Operand, width: number): Known {
    if (operand.kind !== "address" || operand.base.kind !== "symbol") return anything;
    const index = this.#paramIndex.get(operand.base.name) ?? -1;
    const param = this.#options.params[index];
    if (param === undefined || operand.offset !== 0) return anything;
    if (param.kind === "pointer")
      return known(width === 64 ? index + 1 : bases.mixed, 0, 0, log2(param.align), 0);
    return wrapped(known(0, param.min, param.max, log2(param.multiple), 0), width);
  }

  /** The result of an instruction with one destination; null while an operand is not known yet. */
  #transfer(instruction: Instruction): Known | null {
    const { operands, form } = instruction;
    const { name, type } = form!;
    if (name === "ld") return this.#load(instruction);
    const count = counts[name] ?? 0;
    if (count === 0) return anything;
    const x = this.#operand(operands[1]!);
    if (x === null || count === 1)
      return name === "cvt" && x !== null ? convert(instruction, x) : x;
    const y = this.#operand(operands[2]!);
    if (y === null || form!.opcode.startsWith("mul.hi")) return y && anything;
    if (count === 2) return combine(name, type, read(x, type), read(y, type));
    const z = this.#operand(operands[3]!);
    return z && add(multiply(read(x, type), read(y, type)), z);
  }

  #load({ operands, form }: Instruction): Known {
    const { opcode, type } = form!;
    if (opcode.startsWith("ld.param")) return this.#parameter(operands[1]!, bits[type]);
    if (type === "u8" || type === "u16") return within(0, 2 ** bits[type] - 1);
    if (type === "s8" || type === "s16")
      return within(-(2 ** (bits[type] - 1)), 2 ** (bits[type] - 1) - 1);
    return anything;
  }
}

function convert({ opcode }: Instruction, x: Known): Known {
  const [to, from] = opcode.split(".").slice(-2) as [ScalarType, ScalarType];
  if (kindOf[from] === "f") return anything;
  const narrow = Math.min(bits[to], bits[from]);
  const source = read(x, from);
  if (narrow >= 32) return narrow === 32 && bits[from] === 64 ? wrapped(source, 32) : source;
  const [min, max] =
    kindOf[opcode.includes(".sat") ? to : from] === "s"
      ? [-(2 ** (narrow - 1)), 2 ** (narrow - 1) - 1]
      : [0, 2 ** narrow - 1];
  return known(0, min, max, opcode.includes(".sat") ? 0 : Math.min(narrow, x.bits), x.low);
}

/** A value as `type` reads it. */
function read(value: Known, type: ScalarType): Known {
  const width = bits[type];
  const kind = kindOf[type];
  if (kind !== "s" && kind !== "u") return value;
  const signed = kind === "s";
  const [least, most] = signed ? [-(2 ** (width - 1)), 2 ** (width - 1)] : [0, 2 ** width];
  const unbounded = value.max === Infinity;
  if (value.base !== bases.none || (value.min >= least && (value.max < most || unbounded)))
    return value;
  return known(0, least, most - 1, value.bits, value.low);
}

function combine(name: string, type: ScalarType, x: Known, y: Known): Known {
  switch (name) {
    case "add":
      return add(x, y);
    case "sub":
      return subtract(x, y);
    case "mul":
      return multiply(x, y);
    case "and":
      return and(x, y);
    case "or":
      return or(x, y, false);
    case "xor":
      return or(x, y, true);
    case "min":
    case "max":
      return extreme(x, y, name === "max");
    case "selp":
      return join(x, y);
    case "div":
      return divide(x, y);
    case "rem":
      return remainder(x, y);
    case "shl":
    case "shr": {
      if (!isExact(y) || y.min < 0 || y.min >= bits[type]) return anything;
      if (name === "shl") return shiftLeft(x, y.min);
      return shiftRight(x, y.min, kindOf[type] === "s", bits[type]);
    }
    default:
      return anything;
  }
}

/** The power of two in a positive number. */
function log2(multiple: number): number {
  let power = 0;
  for (let rest = Math.abs(multiple); rest !== 0 && rest % 2 === 0 && power < 32; rest /= 2)
    power++;
  return multiple === 0 ? 32 : power;
}
