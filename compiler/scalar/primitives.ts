/**
 * Scalar functions that mean the same for every dtype: arithmetic, comparison, logic, rounding.
 *
 * `evaluate` takes a bigint for a value of an integer type and a number for a float or a boolean
 * (0 or 1); integers come back as bigints of any size, which the caller wraps to the node's type.
 */
import { dtypes, isFloat, isInteger, type DType } from "../ir/dtype.js";
import { floatBinary, exactBinary, exactUnary, floatUnary, comparisons } from "./arithmetic.js";
import type { Comparison, FloatBinary } from "./arithmetic.js";
import * as build from "./build.js";
import type { Expr } from "./expr.js";
import type { ScalarFunction } from "./function.js";
import { rangeOf } from "./range.js";

type Value = number | bigint;
type Evaluate = ScalarFunction["evaluate"];

const signatures = {
  identity: 1,
  neg: 1,
  abs: 1,
  sign: 1,
  not: 1,
  floor: 1,
  ceil: 1,
  round: 1,
  trunc: 1,
  is_nan: 1,
  is_inf: 1,
  add: 2,
  sub: 2,
  mul: 2,
  div: 2,
  mod: 2,
  fmod: 2,
  min: 2,
  max: 2,
  pow: 2,
  and: 2,
  or: 2,
  xor: 2,
  shl: 2,
  shr: 2,
  lt: 2,
  le: 2,
  gt: 2,
  ge: 2,
  eq: 2,
  ne: 2,
  select: 3,
  clip: 3,
} as const;

export type PrimitiveName = keyof typeof signatures;
export const isPrimitive = (name: string): name is PrimitiveName => Object.hasOwn(signatures, name);
export const primitiveNames = Object.keys(signatures) as PrimitiveName[];

/** Primitives whose result is boolean whatever the dtype of their arguments. */
export function isPredicate(name: PrimitiveName): boolean {
  return ["lt", "le", "gt", "ge", "eq", "ne", "is_nan", "is_inf"].includes(name);
}

const number = (value: number, type: DType): Expr => build.constant(value, type);

/** Integer division towards zero; a zero divisor gives 0, and least / -1 wraps to least. */
function divide(a: Expr, b: Expr): Expr {
  const { type } = a;
  if (!isInteger(type)) return build.div(a, b);
  const zero = number(0, type);
  const bySign = dtypes[type].kind === "int";
  const minusOne = bySign ? build.eq(b, number(-1, type)) : build.no;
  const byZero = build.eq(b, zero);
  // -1 and 0 are the divisors that trap on a CPU: neither reaches its division.
  const divisor = build.select(build.or(byZero, minusOne), number(1, type), b);
  const floored = build.div(a, divisor);
  const quotient =
    !bySign || (rangeOf(a).min >= 0 && rangeOf(b).min >= 0)
      ? floored
      : build.add(floored, build.select(truncates(a, divisor), number(1, type), zero));
  return build.select(byZero, zero, build.select(minusOne, build.unary("neg", a), quotient));
}

/** Whether rounding a / b down differs from truncating it. */
function truncates(a: Expr, b: Expr): Expr {
  const zero = number(0, a.type);
  const signs = build.ne(build.lt(a, zero), build.lt(b, zero));
  return build.and(signs, build.ne(build.mod(a, b), zero));
}

/** Remainder with the sign of the divisor (Python's); 0 for an integer divisor of zero. */
function floorMod(a: Expr, b: Expr): Expr {
  const { type } = a;
  const zero = number(0, type);
  if (isInteger(type)) {
    const byZero = build.eq(b, zero);
    return build.select(byZero, zero, build.mod(a, build.select(byZero, number(1, type), b)));
  }
  const rest = build.mod(a, b);
  const differs = build.ne(build.lt(rest, zero), build.lt(b, zero));
  return build.select(build.and(build.ne(rest, zero), differs), build.add(rest, b), rest);
}

/** Remainder with the sign of the dividend (C's); 0 for an integer divisor of zero. */
function truncatedMod(a: Expr, b: Expr): Expr {
  const { type } = a;
  if (!isInteger(type)) return build.mod(a, b);
  const zero = number(0, type);
  const byZero = build.eq(b, zero);
  const divisor = build.select(byZero, number(1, type), b);
  const rest = build.mod(a, divisor);
  const fixed =
    dtypes[type].kind === "uint" || (rangeOf(a).min >= 0 && rangeOf(b).min >= 0)
      ? rest
      : build.select(truncates(a, divisor), build.sub(rest, divisor), rest);
  return build.select(byZero, zero, fixed);
}

/** Square and multiply over the six low bits of the exponent: see `integerPower`. */
function power(a: Expr, b: Expr): Expr {
  const { type } = a;
  if (!isInteger(type)) return build.binary("pow", a, b);
  const [zero, one] = [number(0, type), number(1, type)];
  const parity = build.ne(build.and(b, one), zero);
  const large = build.lt(number(63, type), b);
  const capped =
    dtypes[type].bits < 8
      ? b
      : build.select(large, build.add(number(62, type), build.and(b, one)), b);
  let result = one;
  let square = a;
  for (let bit = 0; bit < Math.min(6, dtypes[type].bits); bit++) {
    const set =
      bit === 0 ? parity : build.ne(build.and(capped, number(bitValue(bit, type), type)), zero);
    result = build.mul(result, build.select(set, square, one));
    square = build.mul(square, square);
  }
  if (dtypes[type].kind === "uint") return result;
  const minusOne = number(-1, type);
  const inverse = build.select(
    build.eq(a, one),
    one,
    build.select(build.eq(a, minusOne), build.select(parity, minusOne, one), zero),
  );
  return build.select(build.lt(b, zero), inverse, result);
}

/** 2^bit as a value of `type`, whose top bit is negative in a signed type. */
const bitValue = (bit: number, type: DType): number =>
  dtypes[type].kind === "int" && bit === dtypes[type].bits - 1 ? -(2 ** bit) : 2 ** bit;

function sign(x: Expr): Expr {
  const [zero, one] = [number(0, x.type), number(1, x.type)];
  if (dtypes[x.type].kind === "uint") return build.select(build.lt(zero, x), one, zero);
  const negative = build.select(build.lt(x, zero), number(-1, x.type), x);
  return build.select(build.lt(zero, x), one, negative);
}

const rounding = (op: "floor" | "ceil" | "round" | "trunc") => (x: Expr) =>
  isFloat(x.type) ? build.unary(op, x) : x;

const applications: { readonly [P in PrimitiveName]: (a: Expr, b: Expr, c: Expr) => Expr } = {
  identity: (x) => x,
  neg: (x) => build.unary("neg", x),
  abs: (x) => (dtypes[x.type].kind === "uint" ? x : build.unary("abs", x)),
  sign,
  not: build.not,
  floor: rounding("floor"),
  ceil: rounding("ceil"),
  round: rounding("round"),
  trunc: rounding("trunc"),
  is_nan: (x) => (isFloat(x.type) ? build.ne(x, x) : build.no),
  is_inf: (x) =>
    isFloat(x.type) ? build.eq(build.unary("abs", x), number(Infinity, x.type)) : build.no,
  add: build.add,
  sub: build.sub,
  mul: build.mul,
  div: divide,
  mod: floorMod,
  fmod: truncatedMod,
  min: build.min,
  max: build.max,
  pow: power,
  and: build.and,
  or: build.or,
  xor: (a, b) => (a.type === "bool" ? build.ne(a, b) : build.binary("xor", a, b)),
  shl: (a, b) => build.binary("shl", a, b),
  shr: (a, b) => build.binary("shr", a, b),
  lt: build.lt,
  le: build.le,
  gt: build.gt,
  ge: build.ge,
  eq: build.eq,
  ne: build.ne,
  select: build.select,
  // The order of numpy.clip and of ONNX: the upper bound wins where they cross.
  clip: (x, low, high) => build.min(build.max(x, low), high),
};

const compared = (op: Comparison, flip = false): Evaluate => {
  const compare = comparisons[op];
  return (a, b) => (flip ? compare(b, a) : compare(a, b));
};

/** A float operation for numbers, an exact one for bigints; a lone number joins a bigint. */
function both(
  float: (a: number, b: number) => number,
  exact: (a: bigint, b: bigint) => bigint,
): (...args: Value[]) => Value {
  return (a, b) =>
    typeof a === "bigint" || typeof b === "bigint" ? exact(BigInt(a), BigInt(b)) : float(a, b);
}

const arithmetic = (op: FloatBinary): ((...args: Value[]) => Value) =>
  both(floatBinary[op], exactBinary[op]);

/** Booleans are numbers here, integers bigints. */
const logic = (op: "and" | "or" | "xor", truth: (a: boolean, b: boolean) => boolean): Evaluate => {
  return (a, b) =>
    typeof a === "bigint" || typeof b === "bigint"
      ? exactBinary[op](BigInt(a), BigInt(b))
      : truth(a !== 0, b !== 0);
};

const roundingOf = (op: "floor" | "ceil" | "round" | "trunc"): Evaluate => {
  return (x) => (typeof x === "bigint" ? x : floatUnary[op](x));
};

const [lowest, highest] = [arithmetic("min"), arithmetic("max")];

const evaluations: { readonly [P in PrimitiveName]: Evaluate } = {
  identity: (x) => x,
  neg: (x) => -x,
  abs: (x) => (typeof x === "bigint" ? exactUnary.abs!(x) : Math.abs(x)),
  sign: (x) => (typeof x === "bigint" ? (x > 0n ? 1n : x < 0n ? -1n : 0n) : Math.sign(x)),
  not: (x) => (typeof x === "bigint" ? ~x : x === 0),
  floor: roundingOf("floor"),
  ceil: roundingOf("ceil"),
  round: roundingOf("round"),
  trunc: roundingOf("trunc"),
  is_nan: (x) => Number.isNaN(x),
  is_inf: (x) => x === Infinity || x === -Infinity,
  add: arithmetic("add"),
  sub: arithmetic("sub"),
  mul: arithmetic("mul"),
  div: both(floatBinary.div, (a, b) => (b === 0n ? 0n : a / b)),
  mod: both(floatFloorMod, exactBinary.mod),
  fmod: both(floatBinary.mod, (a, b) => (b === 0n ? 0n : a % b)),
  min: lowest,
  max: highest,
  pow: arithmetic("pow"),
  and: logic("and", (a, b) => a && b),
  or: logic("or", (a, b) => a || b),
  xor: logic("xor", (a, b) => a !== b),
  shl: (a, b) => exactBinary.shl(BigInt(a), BigInt(b)),
  shr: (a, b) => exactBinary.shr(BigInt(a), BigInt(b)),
  lt: compared("lt"),
  le: compared("le"),
  gt: compared("lt", true),
  ge: compared("le", true),
  eq: compared("eq"),
  ne: compared("ne"),
  select: (condition, a, b) => (Number(condition) === 0 ? b : a),
  clip: (x, low, high) => lowest(highest(x, low), high),
};

function floatFloorMod(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}

function make(name: PrimitiveName): ScalarFunction {
  const application = applications[name];
  return Object.freeze({
    name,
    arity: signatures[name],
    key: name,
    apply: (args: readonly Expr[]) => application(args[0]!, args[1]!, args[2]!),
    evaluate: evaluations[name],
  });
}

const made = new Map(primitiveNames.map((name) => [name, make(name)]));

/** The primitive `name`: one object per name. */
export const primitive = (name: PrimitiveName): ScalarFunction => made.get(name)!;
