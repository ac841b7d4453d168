/** One PTX statement as a closure over a warp: see `mma-interpreter.ts`. */
import type { Machine, Warp } from "./mma-interpreter.js";
import { bfloatFrom, bfloatOf, halfFrom, halfOf } from "./mma-floats.js";
import { hopperStep } from "./mma-interpreter-group.js";
import { matrixStep } from "./mma-interpreter-tensor.js";

export interface Context {
  readonly labels: ReadonlyMap<string, number>;
  readonly register: (name: string, kind: "words" | "longs" | "preds") => number;
  readonly symbols: ReadonlyMap<string, number>;
}

export interface Step {
  readonly text: string;
  /** Waits at a barrier of the block, by its operands: which, and of how many threads. */
  readonly barrier: string | null;
  run(machine: Machine, warp: Warp, mask: number): void;
}

/** A value of one lane: 64-bit integers as bigint, all else as number. */
export type Scalar = number | bigint;
export type Read = (machine: Machine, warp: Warp, lane: number) => Scalar;
export type Write = (warp: Warp, lane: number, value: Scalar) => void;

export const isLong = (type: string): boolean => /64$/.test(type);

export function bankOf(type: string): "words" | "longs" | "preds" {
  return type === "pred" ? "preds" : isLong(type) ? "longs" : "words";
}

export function writer(name: string, type: string, context: Context): Write {
  if (name === "_") return () => undefined;
  const base = context.register(name, bankOf(type)) * 32;
  switch (type) {
    case "pred":
      return (warp, lane, value) => (warp.regs.preds[base + lane] = Number(value));
    case "f32":
      return (warp, lane, value) => (warp.regs.floats[base + lane] = Number(value));
    case "f64":
      return (warp, lane, value) => (warp.regs.doubles[base + lane] = Number(value));
    case "s64":
    case "u64":
    case "b64":
      return (warp, lane, value) =>
        (warp.regs.ulongs[base + lane] = BigInt.asUintN(64, value as bigint));
    default:
      return (warp, lane, value) => (warp.regs.words[base + lane] = Number(value) | 0);
  }
}

const special: Readonly<Record<string, (machine: Machine, warp: Warp, lane: number) => number>> = {
  "%tid.x": (_, warp, lane) => warp.index * 32 + lane,
  "%ntid.x": (machine) => machine.threads,
  "%laneid": (_, __, lane) => lane,
  "%warpid": (_, warp) => warp.index,
  "%ctaid.x": (machine) => machine.ctaid[0],
  "%ctaid.y": (machine) => machine.ctaid[1],
  "%ctaid.z": (machine) => machine.ctaid[2],
  "%nctaid.x": (machine) => machine.nctaid[0],
  "%nctaid.y": (machine) => machine.nctaid[1],
  "%nctaid.z": (machine) => machine.nctaid[2],
};

const punned = new DataView(new ArrayBuffer(8));

function literal(text: string, type: string): Scalar {
  if (text.startsWith("0f")) {
    punned.setUint32(0, Number.parseInt(text.slice(2), 16));
    return type === "f32" ? punned.getFloat32(0) : punned.getUint32(0);
  }
  if (text.startsWith("0d")) {
    punned.setBigUint64(0, BigInt(`0x${text.slice(2)}`));
    return type === "f64" ? punned.getFloat64(0) : punned.getBigUint64(0);
  }
  const negative = text.startsWith("-");
  const value = BigInt(negative ? text.slice(1) : text) * (negative ? -1n : 1n);
  if (isLong(type)) return type === "s64" ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
  if (type === "u32" || type === "b32") return Number(BigInt.asUintN(32, value));
  return Number(type === "s32" ? BigInt.asIntN(32, value) : value);
}

export function reader(text: string, type: string, context: Context): Read {
  const known = special[text];
  if (known !== undefined) return known;
  if (!text.startsWith("%")) {
    const symbol = context.symbols.get(text);
    if (symbol !== undefined) {
      const value = isLong(type) ? BigInt(symbol) : symbol;
      return () => value;
    }
    const value = literal(text, type);
    return () => value;
  }
  const base = context.register(text, bankOf(type)) * 32;
  switch (type) {
    case "pred":
      return (_, warp, lane) => warp.regs.preds[base + lane]!;
    case "f32":
      return (_, warp, lane) => warp.regs.floats[base + lane]!;
    case "f64":
      return (_, warp, lane) => warp.regs.doubles[base + lane]!;
    case "s64":
      return (_, warp, lane) => warp.regs.longs[base + lane]!;
    case "u64":
    case "b64":
      return (_, warp, lane) => warp.regs.ulongs[base + lane]!;
    case "s32":
      return (_, warp, lane) => warp.regs.ints[base + lane]!;
    case "s16":
      return (_, warp, lane) => (warp.regs.words[base + lane]! << 16) >> 16;
    case "s8":
      return (_, warp, lane) => (warp.regs.words[base + lane]! << 24) >> 24;
    case "u16":
    case "b16":
    case "f16":
    case "bf16":
      return (_, warp, lane) => warp.regs.words[base + lane]! & 0xffff;
    default:
      return (_, warp, lane) => warp.regs.words[base + lane]!;
  }
}

/** `[base+offset]` */
export function addressOf(operand: string, wide: boolean, context: Context): Read {
  const match = /^\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\w+))?\s*\]$/.exec(operand);
  if (match === null) throw new Error(`address ${operand}`);
  const base = reader(match[1]!, wide ? "u64" : "u32", context);
  const offset = Number(match[2] ?? 0);
  if (wide) {
    const add = BigInt(offset);
    return (machine, warp, lane) => (base(machine, warp, lane) as bigint) + add;
  }
  return (machine, warp, lane) => (base(machine, warp, lane) as number) + offset;
}

function splitOperands(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let current = "";
  for (const char of text) {
    if (char === "{" || char === "[") depth++;
    if (char === "}" || char === "]") depth--;
    if (char === "," && depth === 0) {
      parts.push(current.trim());
      current = "";
    } else current += char;
  }
  if (current.trim() !== "") parts.push(current.trim());
  return parts;
}

export const members = (operand: string): string[] =>
  operand.startsWith("{")
    ? operand
        .slice(1, -1)
        .split(",")
        .map((part) => part.trim())
    : [operand];

const int32 = (value: number, type: string): number => (type === "s32" ? value | 0 : value >>> 0);

function integerOp(base: string, modifiers: readonly string[], type: string, a: Scalar[]): Scalar {
  if (typeof a[0] === "bigint") return longOp(base, type, a);
  const [x, y, z] = a as [number, number, number];
  switch (base) {
    case "add":
      return int32(x + y, type);
    case "sub":
      return int32(x - y, type);
    case "mul":
      return modifiers.includes("hi")
        ? Number((BigInt(x) * BigInt(y)) >> 32n)
        : int32(Math.imul(x, y), type);
    case "mad":
      return int32(Math.imul(x, y) + z, type);
    case "div":
      return y === 0 ? 0xffffffff : int32(Math.trunc(x / y), type);
    case "rem":
      return y === 0 ? x : int32(x % y, type);
    case "min":
      return Math.min(x, y);
    case "max":
      return Math.max(x, y);
    case "neg":
      return int32(-x, type);
    case "abs":
      return Math.abs(x);
    case "and":
      return (x & y) >>> 0;
    case "or":
      return (x | y) >>> 0;
    case "xor":
      return (x ^ y) >>> 0;
    case "not":
      return ~x >>> 0;
    case "shl":
      return y > 31 ? 0 : (x << y) >>> 0;
    case "shr":
      return type === "s32" ? x >> Math.min(y, 31) : y > 31 ? 0 : x >>> y;
    default:
      throw new Error(`integer ${base}`);
  }
}

function longOp(base: string, type: string, a: (bigint | number)[]): bigint {
  const [x, y] = [a[0] as bigint, a[1] as bigint];
  const wrap = (value: bigint): bigint =>
    type === "s64" ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
  switch (base) {
    case "add":
      return wrap(x + y);
    case "sub":
      return wrap(x - y);
    case "mul":
      return wrap(x * y);
    case "mad":
      return wrap(x * y + (a[2] as bigint));
    case "div":
      return y === 0n ? -1n : wrap(x / y);
    case "rem":
      return y === 0n ? x : wrap(x % y);
    case "min":
      return x < y ? x : y;
    case "max":
      return x > y ? x : y;
    case "neg":
      return wrap(-x);
    case "abs":
      return x < 0n ? -x : x;
    case "and":
      return wrap(x & y);
    case "or":
      return wrap(x | y);
    case "xor":
      return wrap(x ^ y);
    case "not":
      return wrap(~x);
    case "shl":
      return wrap(x << BigInt(a[1]!));
    case "shr":
      return wrap(x >> BigInt(a[1]!));
    default:
      throw new Error(`long ${base}`);
  }
}

function floatOp(base: string, modifiers: readonly string[], a: number[]): number {
  const [x, y, z] = a as [number, number, number];
  const nan = modifiers.includes("NaN");
  switch (base) {
    case "add":
      return x + y;
    case "sub":
      return x - y;
    case "mul":
      return x * y;
    case "div":
      return x / y;
    case "fma":
      return x * y + z;
    case "min":
      return nan || !(Number.isNaN(x) || Number.isNaN(y))
        ? Math.min(x, y)
        : Number.isNaN(x)
          ? y
          : x;
    case "max":
      return nan || !(Number.isNaN(x) || Number.isNaN(y))
        ? Math.max(x, y)
        : Number.isNaN(x)
          ? y
          : x;
    case "neg":
      return -x;
    case "abs":
      return Math.abs(x);
    case "sqrt":
      return Math.sqrt(x);
    case "rsqrt":
      return 1 / Math.sqrt(x);
    case "rcp":
      return 1 / x;
    case "ex2":
      return 2 ** x;
    case "lg2":
      return Math.log2(x);
    case "tanh":
      return Math.tanh(x);
    case "sin":
      return Math.sin(x);
    case "cos":
      return Math.cos(x);
    default:
      throw new Error(`float ${base}`);
  }
}

function compare(relation: string, x: Scalar, y: Scalar): boolean {
  const nan = Number.isNaN(Number(x)) || Number.isNaN(Number(y));
  switch (relation) {
    case "lt":
      return x < y;
    case "le":
      return x <= y;
    case "gt":
      return x > y;
    case "ge":
      return x >= y;
    case "eq":
      return x === y;
    case "ne":
      return !nan && x !== y;
    case "neu":
      return x !== y;
    case "nan":
      return nan;
    default:
      throw new Error(`relation ${relation}`);
  }
}

export function lanesOf(mask: number, body: (lane: number) => void): void {
  for (let lane = 0; lane < 32; lane++) if ((mask >> lane) & 1) body(lane);
}

type Body = (machine: Machine, warp: Warp, lane: number) => void;

const floatTypes = new Set(["f32", "f64"]);

function arithmetic(parts: readonly string[], operands: readonly string[], context: Context): Body {
  const [base, ...modifiers] = parts as [string, ...string[]];
  const type = modifiers[modifiers.length - 1]!;
  const wide = modifiers.includes("wide");
  const result = wide ? type.replace("32", "64") : type;
  const to = writer(operands[0]!, result, context);
  const shift = base === "shl" || base === "shr";
  const from = operands
    .slice(1)
    .map((operand, index) =>
      reader(operand, shift && index === 1 ? "u32" : wide && index === 2 ? result : type, context),
    );
  if (type === "pred") {
    return (m, w, lane) =>
      to(
        w,
        lane,
        Number(
          integerOp(
            base,
            modifiers,
            "u32",
            from.map((f) => f(m, w, lane)),
          ),
        ) & 1,
      );
  }
  if (floatTypes.has(type)) {
    return (m, w, lane) =>
      to(
        w,
        lane,
        floatOp(
          base,
          modifiers,
          from.map((f) => f(m, w, lane) as number),
        ),
      );
  }
  if (wide) {
    return (m, w, lane) => {
      const [x, y, z] = from.map((f) => BigInt(f(m, w, lane)));
      to(w, lane, x! * y! + (z ?? 0n));
    };
  }
  const computing = type === "b16" ? "u32" : type;
  return (m, w, lane) =>
    to(
      w,
      lane,
      integerOp(
        base,
        modifiers,
        computing,
        from.map((f) => f(m, w, lane)),
      ),
    );
}

function saturate(value: number, type: string): number {
  const bits = Number(type.slice(1));
  const [min, max] = type.startsWith("s")
    ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    : [0, 2 ** bits - 1];
  return Number.isNaN(value) ? 0 : Math.max(min, Math.min(max, value));
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

function convertValue(
  value: Scalar,
  to: string,
  from: string,
  modifiers: readonly string[],
): Scalar {
  if (to === "f32" || to === "f64") {
    const x =
      from === "f16"
        ? halfOf(value as number)
        : from === "bf16"
          ? bfloatOf(value as number)
          : Number(value);
    if (modifiers.includes("rmi")) return Math.floor(x);
    if (modifiers.includes("rpi")) return Math.ceil(x);
    if (modifiers.includes("rni")) return roundEven(x);
    if (modifiers.includes("rzi")) return Math.trunc(x);
    return x;
  }
  if (to === "f16") return halfFrom(Number(value));
  if (to === "bf16") return bfloatFrom(Number(value));
  if (floatTypes.has(from)) {
    const whole = modifiers.includes("rni")
      ? roundEven(value as number)
      : Math.trunc(value as number);
    const bounded = saturate(whole, to);
    return isLong(to) ? BigInt(bounded) : bounded;
  }
  if (modifiers.includes("sat")) return saturate(Number(value), to);
  if (isLong(to)) return BigInt(value);
  const bits = Number(to.slice(1));
  return Number(
    to.startsWith("s") ? BigInt.asIntN(bits, BigInt(value)) : BigInt.asUintN(bits, BigInt(value)),
  );
}

function convert(parts: readonly string[], operands: readonly string[], context: Context): Body {
  const [to, from] = [parts[parts.length - 2]!, parts[parts.length - 1]!];
  const inputs = operands.slice(1).map((operand) => reader(operand, from, context));
  if (to === "f16x2" || to === "bf16x2") {
    const narrow = to === "f16x2" ? halfFrom : bfloatFrom;
    const write = writer(operands[0]!, "b32", context);
    return (m, w, lane) => {
      const [high, low] = inputs.map((input) => narrow(input(m, w, lane) as number));
      write(w, lane, ((high! << 16) | low!) >>> 0);
    };
  }
  const write = writer(operands[0]!, /^[su]8$/.test(to) ? "u32" : to, context);
  return (m, w, lane) => write(w, lane, convertValue(inputs[0]!(m, w, lane), to, from, parts));
}

function move(type: string, operands: readonly string[], context: Context): Body {
  const [to, from] = [members(operands[0]!), members(operands[1]!)];
  if (type.endsWith("64") && to.length + from.length === 3) return moveHalves(to, from, context);
  if (to.length === 2) {
    const read = reader(from[0]!, "b32", context);
    const [low, high] = to.map((name) => writer(name, "b16", context));
    return (m, w, lane) => {
      const value = read(m, w, lane) as number;
      low!(w, lane, value & 0xffff);
      high!(w, lane, value >>> 16);
    };
  }
  const write = writer(to[0]!, type, context);
  if (from.length === 2) {
    const [low, high] = from.map((name) => reader(name, "b16", context));
    return (m, w, lane) =>
      write(w, lane, (((high!(m, w, lane) as number) << 16) | (low!(m, w, lane) as number)) >>> 0);
  }
  // `mov.b32 %f, %r` moves bits whatever the register is declared as: both live in one bank.
  const read = reader(from[0]!, type, context);
  return (m, w, lane) => write(w, lane, read(m, w, lane));
}

/** A 64-bit register and its two 32-bit halves. */
function moveHalves(to: readonly string[], from: readonly string[], context: Context): Body {
  const reads = from.map((name) => reader(name, from.length === 1 ? "b64" : "b32", context));
  const writes = to.map((name) => writer(name, to.length === 1 ? "b64" : "b32", context));
  const word = (value: number | bigint): bigint => BigInt.asUintN(32, BigInt(value));
  return (m, w, lane) => {
    const [low, high] = reads.map((read) => read(m, w, lane)) as [number | bigint, number | bigint];
    if (to.length === 1) return writes[0]!(w, lane, (word(high) << 32n) | word(low));
    writes[0]!(w, lane, Number(word(low)));
    writes[1]!(w, lane, Number(word(BigInt(low) >> 32n)));
  };
}

function lookup(parts: readonly string[], operands: readonly string[], context: Context): Body {
  const base = parts[0]!;
  const reads = operands.slice(1).map((operand) => reader(operand, "u32", context));
  const write = writer(operands[0]!, "u32", context);
  return (m, w, lane) => {
    const values = reads.map((read) => read(m, w, lane) as number);
    const [a, b, c, d] = values as [number, number, number, number];
    let result = 0;
    if (base === "lop3")
      for (let bit = 0; bit < 32; bit++) {
        const index = (((a >>> bit) & 1) << 2) | (((b >>> bit) & 1) << 1) | ((c >>> bit) & 1);
        result |= ((d >> index) & 1) << bit;
      }
    else if (base === "prmt") {
      const bytes = [0, 8, 16, 24]
        .map((at) => (a >>> at) & 255)
        .concat([0, 8, 16, 24].map((at) => (b >>> at) & 255));
      for (let at = 0; at < 4; at++) result |= bytes[(c >> (at * 4)) & 7]! << (at * 8);
    } else result = c === 0 ? 0 : (a >>> b) & (c > 31 ? 0xffffffff : (1 << c) - 1);
    write(w, lane, result >>> 0);
  };
}

function laneBody(parts: readonly string[], operands: readonly string[], context: Context): Body {
  const [base, ...modifiers] = parts as [string, ...string[]];
  const type = modifiers[modifiers.length - 1] ?? "";
  switch (base) {
    case "mov":
      return move(type, operands, context);
    case "cvt":
      return convert(parts, operands, context);
    case "cvta":
      return move("u64", operands, context);
    case "lop3":
    case "prmt":
    case "bfe":
      return lookup(parts, operands, context);
    case "setp": {
      const write = writer(operands[0]!, "pred", context);
      const [x, y] = operands.slice(1).map((operand) => reader(operand, type, context));
      return (m, w, lane) =>
        write(w, lane, compare(modifiers[0]!, x!(m, w, lane), y!(m, w, lane)) ? 1 : 0);
    }
    case "selp": {
      const write = writer(operands[0]!, type, context);
      const [x, y] = operands.slice(1, 3).map((operand) => reader(operand, type, context));
      const test = reader(operands[3]!, "pred", context);
      return (m, w, lane) => write(w, lane, (test(m, w, lane) ? x! : y!)(m, w, lane));
    }
    default:
      return arithmetic(parts, operands, context);
  }
}

export function compileStatement(text: string, context: Context): Step {
  const match = /^(?:@(!?)(%[\w]+)\s+)?([\w.:]+)\s*(.*)$/s.exec(text);
  if (match === null) throw new Error(`statement ${text}`);
  const [, negated, guardName, mnemonic, rest] = match;
  const operands = splitOperands(rest!);
  const parts = mnemonic!.split(".");
  const guard = guardName === undefined ? null : reader(guardName, "pred", context);
  const live = (machine: Machine, warp: Warp, mask: number): number => {
    if (guard === null) return mask;
    let result = 0;
    lanesOf(mask, (lane) => {
      if ((guard(machine, warp, lane) === 1) !== (negated === "!")) result |= 1 << lane;
    });
    return result;
  };
  const body = bodyOf(parts, operands, context, text);
  return {
    text,
    barrier: parts[0] === "bar" && parts[1] === "sync" ? rest! : null,
    run: (m, w, mask) => body(m, w, live(m, w, mask)),
  };
}

/** `atom.global.….add.u32` */
function atomicAdd(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): (machine: Machine, warp: Warp, mask: number) => void {
  if (parts[1] !== "global" || parts.slice(-2).join() !== "add,u32") throw new Error(text);
  const write = writer(operands[0]!, "u32", context);
  const address = addressOf(operands[1]!, true, context);
  const more = reader(operands[2]!, "u32", context);
  return (machine, warp, mask) =>
    lanesOf(mask, (lane) => {
      const { view, offset } = machine.memory.at(address(machine, warp, lane) as bigint, 4, text);
      const before = view.getUint32(offset, true);
      view.setUint32(offset, before + (more(machine, warp, lane) as number), true);
      write(warp, lane, before);
    });
}

function bodyOf(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): (machine: Machine, warp: Warp, mask: number) => void {
  if (parts[0] === "bra") {
    const target = context.labels.get(operands[0]!);
    if (target === undefined) throw new Error(`no label ${operands[0]}`);
    return (_, warp, mask) => lanesOf(mask, (lane) => (warp.pc[lane] = target));
  }
  if (parts[0] === "ret" || parts[0] === "exit")
    return (_, warp, mask) => lanesOf(mask, (lane) => (warp.pc[lane] = -1));
  if (parts[0] === "trap")
    return (_, __, mask) => {
      if (mask !== 0) throw new Error("the kernel gave up");
    };
  const hopper = hopperStep(parts, operands, context, text);
  if (hopper !== null) return hopper;
  // Warps run one after the other: what was written is seen.
  if (["bar", "fence", "griddepcontrol"].includes(parts[0]!)) return () => undefined;
  if (parts[0] === "atom") return atomicAdd(parts, operands, context, text);
  const special = matrixStep(parts, operands, context, text);
  if (special !== null) return special;
  const lane = laneBody(parts, operands, context);
  return (machine, warp, mask) => lanesOf(mask, (index) => lane(machine, warp, index));
}
