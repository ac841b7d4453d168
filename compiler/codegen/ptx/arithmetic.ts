/** Operators of the expression language on registers: one instruction, or a few composed ones. */
import { bug, FarrierError } from "../../errors.js";
import { dtypes, isFloat, type DType } from "../../ir/dtype.js";
import type { BinaryOp, UnaryOp } from "../../scalar/expr.js";
import { immediate, isImmediate, type PtxBuilder, type Value } from "./builder.js";
import {
  binaryInstruction,
  bitsOf,
  convertInstruction,
  halfInstruction,
  machineType,
  narrowInstruction,
  ptx,
  unaryInstruction,
  type PtxType,
} from "./instructions.js";

const comparisons: ReadonlySet<BinaryOp> = new Set(["lt", "le", "eq", "ne"]);

/** What is proved about the operands of an integer division. */
export interface Signs {
  readonly nonNegative?: boolean;
  readonly nonZeroDivisor?: boolean;
}

/** x op y on registers of `type`, the type of both operands. */
export function emitBinary(
  b: PtxBuilder,
  op: BinaryOp,
  x: Value,
  y: Value,
  signs: Signs = {},
): Value {
  const { type } = x;
  if ((op === "div" || op === "mod") && type !== "f32" && type !== "f64") {
    const result = intDivision(b, op, x, y, signs);
    if (signs.nonZeroDivisor === true || isImmediate(y)) return result;
    return b.op(
      ptx.select(type),
      type,
      immediate(0, type),
      result,
      b.op(ptx.setp("eq", type), "pred", y, 0),
    );
  }
  if (op === "mod") return floatMod(b, x, y);
  if (type === "f64" && (op === "min" || op === "max")) return extremum64(b, op, x, y);
  if (type === "pred" && comparisons.has(op)) return predicateCompare(b, op, x, y);
  const instruction = binaryInstruction[op][type];
  if (instruction === undefined) throw bug(`no PTX instruction for ${op} on ${type}`);
  // Shift counts are 32 bits wide whatever is shifted.
  const right = op === "shl" || op === "shr" ? convertRegister(b, y, "u32") : y;
  return b.op(instruction, comparisons.has(op) ? "pred" : type, x, right);
}

const unsigned = (type: PtxType): "u32" | "u64" =>
  type === "s32" || type === "u32" ? "u32" : "u64";

function intDivision(b: PtxBuilder, op: "div" | "mod", x: Value, y: Value, signs: Signs): Value {
  const literal = isImmediate(y) ? Number(y.text) : 0;
  const { type } = x;
  if (literal > 0 && Number.isInteger(Math.log2(literal))) {
    // Arithmetic shifts and masks round towards minus infinity by themselves.
    const shift = binaryInstruction.shr[signs.nonNegative === true ? unsigned(type) : type]!;
    return op === "div"
      ? b.op(shift, type, x, Math.log2(literal))
      : b.op(binaryInstruction.and[type]!, type, x, literal - 1);
  }
  const plain = signs.nonNegative === true || type === "u32" || type === "u64";
  const by = plain ? unsigned(type) : type;
  if (plain) return b.op(binaryInstruction[op][by]!, type, x, y);
  const quotient = b.op(binaryInstruction.div[by]!, type, x, y);
  const product = b.op(binaryInstruction.mul[type]!, type, quotient, y);
  const rest = b.op(binaryInstruction.sub[type]!, type, x, product);
  const signed = b.op(binaryInstruction.xor[type]!, type, rest, y);
  const opposite = b.op(ptx.setp("lt", type), "pred", signed, 0);
  const inexact = b.op(ptx.setp("ne", type), "pred", rest, 0);
  const fix = b.op("and.pred", "pred", opposite, inexact);
  const other =
    op === "div"
      ? b.op(binaryInstruction.sub[type]!, type, quotient, 1)
      : b.op(binaryInstruction.add[type]!, type, rest, y);
  return b.op(ptx.select(type), type, other, op === "div" ? quotient : rest, fix);
}

/** x - trunc(x / y) * y in doubles, exact while the quotient is: f32 is legalised. */
function floatMod(b: PtxBuilder, x: Value, y: Value): Value {
  const { type } = x;
  const quotient = b.op(binaryInstruction.div[type]!, type, x, y);
  const whole = b.op(unaryInstruction.trunc[type]!, type, quotient);
  const negated = b.op(unaryInstruction.neg[type]!, type, whole);
  return b.op(ptx.fma[type]!, type, negated, y, x);
}

/** `min.f64` and `max.f64` drop NaN: an unordered pair gives the sum, which is NaN. */
function extremum64(b: PtxBuilder, op: "min" | "max", x: Value, y: Value): Value {
  const plain = b.op(`${op}.f64`, "f64", x, y);
  const unordered = b.op(ptx.isNaN("f64"), "pred", x, y);
  const sum = b.op(binaryInstruction.add.f64!, "f64", x, y);
  return b.op(ptx.select("f64"), "f64", sum, plain, unordered);
}

function predicateCompare(b: PtxBuilder, op: BinaryOp, x: Value, y: Value): Value {
  const different = b.op("xor.pred", "pred", x, y);
  if (op === "ne") return different;
  if (op === "eq") return b.op("not.pred", "pred", different);
  const notX = b.op("not.pred", "pred", x);
  return b.op(op === "lt" ? "and.pred" : "or.pred", "pred", notX, y);
}

export function emitUnary(b: PtxBuilder, op: UnaryOp, x: Value): Value {
  const { type } = x;
  if (op === "rsqrt" && (type === "f32" || type === "f64")) {
    const root = b.op(unaryInstruction.sqrt[type]!, type, x);
    return b.op(`rcp.rn.${type}`, type, root);
  }
  const instruction = unaryInstruction[op][type];
  if (instruction === undefined && type === "f64")
    throw new FarrierError("E_TYPE_UNSUPPORTED", `the PTX back end has no ${op} of f64`, {
      hint: "compute it in f32",
    });
  if (instruction === undefined)
    throw bug(`no PTX instruction for ${op} on ${type}: legalise it first`);
  return b.op(instruction, type, x);
}

/** condition ? x : y */
export function emitSelect(b: PtxBuilder, condition: Value, x: Value, y: Value): Value {
  if (x.type !== "pred") return b.op(ptx.select(x.type), x.type, x, y, condition);
  const taken = b.op("and.pred", "pred", condition, x);
  const negated = b.op("not.pred", "pred", condition);
  const other = b.op("and.pred", "pred", negated, y);
  return b.op("or.pred", "pred", taken, other);
}

/** The same integer in a register of another width; a float in another format. */
export function convertRegister(b: PtxBuilder, value: Value, type: PtxType): Value {
  if (value.type === type) return value;
  const sameBits = { s32: "u32", u32: "s32", s64: "u64", u64: "s64" } as Partial<
    Record<PtxType, PtxType>
  >;
  if (sameBits[value.type] === type) return { ...value, type };
  if (isImmediate(value) && type !== "f32" && type !== "f64")
    return immediate(BigInt(value.text), type);
  const instruction = convertInstruction[value.type][type];
  if (instruction === undefined) throw bug(`no PTX conversion from ${value.type} to ${type}`);
  return b.op(instruction, type, value);
}

/** An f16 or bf16 bit pattern as f32. */
export function widenHalf(b: PtxBuilder, value: Value, dtype: DType): Value {
  if (dtype === "f16") return b.op(ptx.widenHalf, "f32", value);
  const { half } = value;
  if (half === undefined) {
    const result = b.reg("f32");
    const zero = b.op("mov.b16", "b16", 0);
    b.raw(`mov.b32 ${result.text}, {${zero.text}, ${value.text}};`);
    return result;
  }
  const bits = half.high
    ? b.op("and.b32", "u32", half.word, "0xffff0000")
    : b.op("shl.b32", "u32", half.word, 16);
  return b.op("mov.b32", "f32", bits);
}

/** A conversion of the expression language: rounds to nearest even; to integers truncates and saturates. */
export function emitCast(b: PtxBuilder, value: Value, from: DType, to: DType): Value {
  if (from === to) return value;
  if (from === "f16" || from === "bf16") {
    const wide = widenHalf(b, value, from);
    return to === "f32" ? wide : emitCast(b, wide, "f32", to);
  }
  const target = machineType[to];
  if (target === null) throw bug(`no PTX register holds ${to}`);
  if (to === "bool") return toPredicate(b, value);
  if (to === "f16" || to === "bf16") {
    if (to === "f16" && value.type === "f64") return b.op("cvt.rn.f16.f64", "b16", value);
    const single = emitCast(b, value, from, "f32");
    return b.op(halfInstruction[to].narrow, "b16", single);
  }
  if (from === "bool") return fromPredicate(b, value, target);
  const narrow = narrowInstruction[to];
  if (narrow !== undefined) return toNarrow(b, value, from, target, narrow);
  // A 32-bit register already holds the i64 that it becomes: see `Scope`.
  if (to === "i64" && value.type === "s32" && dtypes[from].kind === "int") return value;
  return convertRegister(b, value, target);
}

/** The same bits as another type of the same width. */
export function emitBitcast(b: PtxBuilder, value: Value, to: DType): Value {
  const target = machineType[to];
  if (target === null) throw bug(`no PTX register holds ${to}`);
  if (target === value.type) return value;
  if (value.type === "pred") return fromPredicate(b, value, target);
  if (target === "pred") return toPredicate(b, value);
  // Registers of 16 bits hold floats only; integers of 16 bits are in wider ones.
  if (value.type === "b16") return b.op(narrowInstruction[to]!.wrap, target, value);
  if (target === "b16") return b.halves(b.inRegister(convertRegister(b, value, "u32")))[0];
  // An i64 that fits is kept in 32 bits; as a pattern it has 64.
  const whole =
    value.type === "s32" && bitsOf[target] !== "b32" && target !== "f32"
      ? convertRegister(b, value, "s64")
      : value;
  const suffix = target === "f64" || bitsOf[target] === "b64" ? "b64" : "b32";
  return b.op(`mov.${suffix}`, target, whole);
}

function toNarrow(
  b: PtxBuilder,
  value: Value,
  from: DType,
  target: PtxType,
  narrow: { wrap: string; saturate: string },
): Value {
  const word = convertRegister(b, value, target);
  return b.op(isFloat(from) ? narrow.saturate : narrow.wrap, target, word);
}

function toPredicate(b: PtxBuilder, value: Value): Value {
  const zero = value.type === "f32" || value.type === "f64" ? immediate(0, value.type) : 0;
  return b.op(binaryInstruction.ne[value.type]!, "pred", value, zero);
}

function fromPredicate(b: PtxBuilder, value: Value, target: PtxType): Value {
  return b.op(ptx.select(target), target, immediate(1, target), immediate(0, target), value);
}

/** Results of 8- and 16-bit integer arithmetic wrap around at their width. */
export function wrapNarrow(b: PtxBuilder, value: Value, dtype: DType): Value {
  const narrow = narrowInstruction[dtype];
  return narrow === undefined || value.type === "pred"
    ? value
    : b.op(narrow.wrap, value.type, value);
}
