/**
 * What each operation of an expression computes, as tables: floats in double precision, integers
 * exactly (the caller wraps or rounds the result to the node's type).
 */
import type { BinaryOp, UnaryOp } from "./expr.js";
import { erf } from "./intrinsics.js";
import { canonical, roundEven, type Value } from "./round.js";

export type Comparison = "lt" | "le" | "eq" | "ne";
export type FloatBinary = Exclude<BinaryOp, Comparison | "and" | "or" | "xor" | "shl" | "shr">;
export type FloatUnary = Exclude<UnaryOp, "not">;

export const isComparison = (op: string): op is Comparison =>
  op === "lt" || op === "le" || op === "eq" || op === "ne";

export const floatUnary: { readonly [O in FloatUnary]: (x: number) => number } = {
  neg: (x) => -x,
  abs: Math.abs,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundEven,
  trunc: Math.trunc,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  exp: Math.exp,
  exp2: (x) => 2 ** x,
  log: Math.log,
  log2: Math.log2,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  erf,
};

/** IEEE 754's pow, and C's: 1 to any power is 1, and (-1)^±∞ too, where JavaScript has NaN. */
export function power(x: number, y: number): number {
  return x === 1 || (x === -1 && (y === Infinity || y === -Infinity)) ? 1 : x ** y;
}

/** `min` and `max` give NaN if either operand is; `mod` has the sign of the dividend (C's fmod). */
export const floatBinary: { readonly [O in FloatBinary]: (a: number, b: number) => number } = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  mod: (a, b) => a % b,
  min: Math.min,
  max: Math.max,
  pow: power,
};

export const comparisons: { readonly [O in Comparison]: (a: Value, b: Value) => boolean } = {
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  // Mixed number and bigint never arise in one type, but are compared by value all the same.
  eq: (a, b) => a === b || (typeof a !== typeof b && a <= b && a >= b),
  ne: (a, b) => a !== b && (typeof a === typeof b || a < b || a > b),
};

/** Integer operations on bigints of any size; a zero divisor gives 0. */
export const exactBinary: {
  readonly [O in Exclude<BinaryOp, Comparison>]: (a: bigint, b: bigint) => bigint;
} = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => (b === 0n ? 0n : (a - floorMod(a, b)) / b),
  mod: floorMod,
  min: (a, b) => (a < b ? a : b),
  max: (a, b) => (a > b ? a : b),
  pow: integerPower,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => (b < 0n || b > 63n ? 0n : a << b),
  shr: (a, b) => (b < 0n || b > 63n ? (a < 0n ? -1n : 0n) : a >> b),
};

function floorMod(a: bigint, b: bigint): bigint {
  if (b === 0n) return 0n;
  const rest = a % b;
  return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
}

/**
 * Integer power. A negative exponent gives 1/base truncated; one of 64 or more keeps its parity
 * only, since every base but 0 and ±1 has overflowed by then.
 */
export function integerPower(base: bigint, exponent: bigint): bigint {
  if (exponent < 0n) {
    if (base === 1n) return 1n;
    return base === -1n ? ((exponent & 1n) === 0n ? 1n : -1n) : 0n;
  }
  return base ** (exponent < 64n ? exponent : 62n + (exponent & 1n));
}

export const exactUnary: { readonly [O in UnaryOp]?: (x: bigint) => bigint } = {
  neg: (x) => -x,
  abs: (x) => (x < 0n ? -x : x),
  not: (x) => ~x,
  floor: (x) => x,
  ceil: (x) => x,
  round: (x) => x,
  trunc: (x) => x,
};

const safe = 2 ** 52;
const small = (a: number, b: number): boolean => a < safe && a > -safe && b < safe && b > -safe;

/** The operations of index arithmetic on numbers; null when doubles might not be exact. */
const fast: { readonly [O in BinaryOp]?: (a: number, b: number) => number } = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => (b === 0 ? 0 : (a - fastMod(a, b)) / b),
  mod: fastMod,
  min: (a, b) => (a < b ? a : b),
  max: (a, b) => (a > b ? a : b),
};

function fastMod(a: number, b: number): number {
  if (b === 0) return 0;
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}

/** Bitwise operations on integers of at most 32 bits, before they are wrapped to their type. */
export const narrowBits: { readonly [O in BinaryOp]?: (a: number, b: number) => number } = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => (b < 0 || b > 31 ? 0 : a << b),
  shr: (a, b) => (b < 0 || b > 31 ? (a < 0 ? -1 : 0) : Math.floor(a / 2 ** b)),
};

/** An integer operation, exactly: numbers while they are safe, bigints beyond. */
export function integerBinary(op: Exclude<BinaryOp, Comparison>, a: Value, b: Value): Value {
  const quick = fast[op];
  if (quick !== undefined && typeof a === "number" && typeof b === "number" && small(a, b)) {
    const result = quick(a, b);
    if (Number.isSafeInteger(result)) return result === 0 ? 0 : result;
  }
  return canonical(exactBinary[op](BigInt(a), BigInt(b)));
}
