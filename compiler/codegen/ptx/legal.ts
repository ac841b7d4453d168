/** Expressions as PTX has instructions for: transcendental functions become trees of these. */
import type { Expr } from "../../scalar/expr.js";
import { legalise } from "../../scalar/legalise.js";

/**
 * What sm_80 has at about 2 ulp. `lg2.approx` is not among them: near 1 its relative error is large;
 * nor `sin.approx` and `tanh.approx`, which are far outside.
 */
const native: ReadonlySet<string> = new Set([
  "fma",
  "floor",
  "ceil",
  "round",
  "trunc",
  "exp2",
  "rsqrt",
  "rsqrt.f64",
]);

const cache = new WeakMap<Expr, Expr>();

export function legal(expr: Expr): Expr {
  const known = cache.get(expr);
  if (known !== undefined) return known;
  const [result] = legalise([expr], native);
  cache.set(expr, result!);
  // Legal trees are legal.
  cache.set(result!, result!);
  return result!;
}
