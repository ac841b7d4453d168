/**
 * Rewrites f32 expressions into operations that C and PTX print as they stand. What a target has
 * natively at sufficient accuracy stays; the rest becomes the forms of `approximations.ts`.
 *
 * Always there, for every type that an expression has: constants, loads, casts, bitcasts, selects,
 * comparisons, logic, shifts, neg, abs, add, sub, mul, div, min, max (see `expr.ts` for NaN), sqrt,
 * integer div and mod. Nothing here survives a compiler that re-associates floats (-ffast-math).
 */
import {
  cos,
  d,
  erf,
  exp,
  exp2,
  f,
  log,
  log2,
  onePlusErf,
  onePlusTanh,
  sin,
  tanh,
} from "./approximations.js";
import type { Native } from "./approximations.js";
import * as build from "./build.js";
import { expandDouble } from "./doubles.js";
import { isOp, type Expr, type ExprOp } from "./expr.js";
import { mod, pow } from "./power.js";
import { ceil, floor, round, trunc } from "./rounding.js";

type Rule = (native: Native, ...args: Expr[]) => Expr;

/** In doubles the product is exact, and the sum right but for a double rounding of 2^-29. */
function fma(native: Native, a: Expr, b: Expr, c: Expr): Expr {
  if (native.has("fma")) return build.fma(a, b, c);
  const [x, y, z] = [a, b, c].map((each) => build.cast(each, "f64")) as [Expr, Expr, Expr];
  return build.cast(build.add(build.mul(x, y), z), "f32");
}

/** What becomes of each f32 operation that is not always there. */
const rules: Partial<Record<ExprOp, Rule>> = {
  exp,
  exp2,
  log,
  log2,
  sin,
  cos,
  tanh,
  erf,
  floor,
  ceil,
  round,
  trunc,
  fma,
  pow,
  mod,
  rsqrt: (native, x) =>
    native.has("rsqrt") ? build.unary("rsqrt", x) : build.div(f(1), build.unary("sqrt", x)),
};

/** 1 + tanh(u) and 1 + erf(u), the halves of every GELU, cancel where u is negative. */
function withoutCancellation(native: Native, node: Expr): Expr | null {
  if (!isOp(node, "add") || node.type !== "f32") return null;
  const [a, b] = node.args as [Expr, Expr];
  const other = build.isConst(a, 1) ? b : build.isConst(b, 1) ? a : null;
  if (other === null) return null;
  if (isOp(other, "tanh") && !native.has("tanh")) return onePlusTanh(other.args[0]!);
  return isOp(other, "erf") && !native.has("erf") ? onePlusErf(native, other.args[0]!) : null;
}

/** Doubles on targets without the operation: names in `native` end in `.f64`. */
function legaliseDouble(native: Native, node: Expr): Expr | null {
  if (isOp(node, "rsqrt") && !native.has("rsqrt.f64"))
    return build.div(d(1), build.unary("sqrt", node.args[0]!));
  return expandDouble(native, node);
}

/**
 * The same values from operations of `native` and the ones that are always there.
 *
 * @param native names of operations that the printer has for f32 within about 2 ulp: of
 * `fma floor ceil round trunc exp exp2 log log2 sin cos tanh erf pow mod rsqrt`
 */
export function legalise(roots: readonly Expr[], native: Native): Expr[] {
  const prepared = build.rewriteExpr(roots, (node) => withoutCancellation(native, node));
  return build.rewriteExpr(prepared, (node) => {
    if (node.type === "f64") return legaliseDouble(native, node);
    const rule = node.type === "f32" ? rules[node.op] : undefined;
    return rule === undefined ? null : rule(native, ...node.args);
  });
}
