/** What the members of Math and farrier's intrinsics become in an expression tree. */
import * as build from "./build.js";
import { isOp, type Expr, type UnaryOp } from "./expr.js";
import { erf, fma, round_half_even } from "./intrinsics.js";

export interface MathFunction {
  /** Number of arguments; `many` is one or more. */
  readonly arity: number | "many";
  build(...args: readonly Expr[]): Expr;
  /** The function itself, for arguments that are literals. */
  readonly fold: (...args: number[]) => number;
}

const literal = (value: number): Expr => build.constant(value, "f64");
const [zero, one] = [literal(0), literal(1)];

const unary = (op: UnaryOp, fold: (x: number) => number): MathFunction => ({
  arity: 1,
  build: (x) => build.unary(op, x),
  fold,
});

const many = (
  join: (a: Expr, b: Expr) => Expr,
  fold: (...args: number[]) => number,
): MathFunction => ({ arity: "many", build: (...args) => args.reduce(join), fold });

/**
 * Math.round takes ties up and keeps the sign of zero. x - floor(x) is exact except just below an
 * integer from under it, where it rounds to 1 and the answer is the same.
 */
function roundHalfUp(x: Expr): Expr {
  const down = build.unary("floor", x);
  const up = build.le(literal(0.5), build.sub(x, down));
  const nearest = build.select(up, build.add(down, one), down);
  return build.select(build.and(build.lt(x, zero), build.eq(nearest, zero)), literal(-0), nearest);
}

/** Kahan's: the rounding error of u = e^x cancels between u - 1 and log u (Higham, §1.14.1). */
function expm1(x: Expr): Expr {
  const u = build.unary("exp", x);
  const less = build.sub(u, one);
  const general = build.div(build.mul(less, x), build.unary("log", u));
  const tiny = build.select(build.eq(u, one), x, general);
  const low = build.select(build.eq(less, literal(-1)), literal(-1), tiny);
  return build.select(build.eq(u, literal(Infinity)), u, low);
}

/** Kahan's, as above, for log(1 + x). */
function log1p(x: Expr): Expr {
  const u = build.add(one, x);
  const log = build.unary("log", u);
  const general = build.mul(log, build.div(x, build.sub(u, one)));
  const tiny = build.select(build.eq(u, one), x, general);
  return build.select(build.eq(u, literal(Infinity)), u, tiny);
}

function sign(x: Expr): Expr {
  const negative = build.select(build.lt(x, zero), literal(-1), x);
  return build.select(build.lt(zero, x), one, negative);
}

/** Members of Math that a scalar function may call. */
export const mathFunctions: Readonly<Record<string, MathFunction>> = {
  abs: unary("abs", Math.abs),
  sqrt: unary("sqrt", Math.sqrt),
  exp: unary("exp", Math.exp),
  log: unary("log", Math.log),
  log2: unary("log2", Math.log2),
  sin: unary("sin", Math.sin),
  cos: unary("cos", Math.cos),
  tanh: unary("tanh", Math.tanh),
  floor: unary("floor", Math.floor),
  ceil: unary("ceil", Math.ceil),
  trunc: unary("trunc", Math.trunc),
  expm1: { arity: 1, build: (x) => expm1(x), fold: Math.expm1 },
  log1p: { arity: 1, build: (x) => log1p(x), fold: Math.log1p },
  log10: {
    arity: 1,
    build: (x) => build.mul(build.unary("log", x), literal(Math.LOG10E)),
    fold: Math.log10,
  },
  tan: {
    arity: 1,
    build: (x) => build.div(build.unary("sin", x), build.unary("cos", x)),
    fold: Math.tan,
  },
  round: { arity: 1, build: (x) => roundHalfUp(x), fold: Math.round },
  sign: { arity: 1, build: (x) => sign(x), fold: Math.sign },
  fround: {
    arity: 1,
    build: (x) => build.cast(build.cast(x, "f32"), "f64"),
    fold: Math.fround,
  },
  pow: { arity: 2, build: (a, b) => power(a, b), fold: Math.pow },
  min: many(build.min, Math.min),
  max: many(build.max, Math.max),
};

/** 2 ** x has an operation of its own. */
export function power(base: Expr, exponent: Expr): Expr {
  if (build.isConst(base, 2)) return build.unary("exp2", exponent);
  return build.binary("pow", base, exponent);
}

/** Members of Math that are other built-in functions of farrier. */
export const mathBuiltins: readonly string[] = [
  "sinh",
  "cosh",
  "asinh",
  "acosh",
  "atanh",
  "asin",
  "acos",
  "atan",
];

/** Functions that farrier exports to be called inside a scalar function. */
export const intrinsics: Readonly<Record<string, MathFunction>> = {
  erf: unary("erf", erf),
  round_half_even: unary("round", round_half_even),
  fma: { arity: 3, build: (a, b, c) => build.fma(a, b, c), fold: fma },
};

/** Properties that are numbers. */
export const mathConstants: Readonly<Record<string, number>> = {
  "Math.PI": Math.PI,
  "Math.E": Math.E,
  "Math.LN2": Math.LN2,
  "Math.LN10": Math.LN10,
  "Math.LOG2E": Math.LOG2E,
  "Math.LOG10E": Math.LOG10E,
  "Math.SQRT2": Math.SQRT2,
  "Math.SQRT1_2": Math.SQRT1_2,
  "Number.EPSILON": Number.EPSILON,
  "Number.MAX_VALUE": Number.MAX_VALUE,
  "Number.MIN_VALUE": Number.MIN_VALUE,
  "Number.MAX_SAFE_INTEGER": Number.MAX_SAFE_INTEGER,
  "Number.MIN_SAFE_INTEGER": Number.MIN_SAFE_INTEGER,
  "Number.POSITIVE_INFINITY": Infinity,
  "Number.NEGATIVE_INFINITY": -Infinity,
  "Number.NaN": NaN,
};

/** The value of a literal number, or null. */
export function literalValue(expr: Expr): number | null {
  return isOp(expr, "const") && expr.type === "f64" ? Number(expr.attr.value) : null;
}
