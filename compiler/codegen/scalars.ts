/** The 64-bit arguments of a kernel: subexpressions that the host evaluates once per launch. */
import { isOp, type Expr } from "../scalar/expr.js";
import type { HostOp } from "../plan/plan.js";
import { dtypes } from "../ir/dtype.js";
import { rangeOf } from "../scalar/range.js";

const hostOps: { readonly [O in HostOp]: true } = {
  add: true,
  sub: true,
  mul: true,
  div: true,
  mod: true,
  min: true,
  max: true,
  select: true,
  lt: true,
  le: true,
  eq: true,
  ne: true,
};

const cache = new WeakMap<Expr, boolean>();

/** True if the host can evaluate `expr` as a `HostExpr`: integers of literals and host symbols. */
export function isHostExpr(expr: Expr): boolean {
  const known = cache.get(expr);
  if (known !== undefined) return known;
  const answer = decide(expr);
  cache.set(expr, answer);
  return answer;
}

function decide(expr: Expr): boolean {
  if (dtypes[expr.type].kind === "float") return false;
  if (isOp(expr, "const")) return typeof expr.attr.value === "number";
  if (isOp(expr, "sym")) return expr.attr.space === "host";
  return Object.hasOwn(hostOps, expr.op) && isBounded(expr) && expr.args.every(isHostExpr);
}

/** Kernels wrap around where the host refuses to: what might overflow is theirs. */
function isBounded(expr: Expr): boolean {
  const { min, max } = rangeOf(expr);
  return min > -Infinity && max < Infinity;
}

/** Collects host expressions into slots; equal expressions share one. */
export class HostScalars {
  readonly #slots = new Map<Expr, number>();

  /** The slot of `expr`, an i64 for which `isHostExpr` holds. */
  slot(expr: Expr): number {
    const known = this.#slots.get(expr);
    if (known !== undefined) return known;
    const slot = this.#slots.size;
    this.#slots.set(expr, slot);
    return slot;
  }

  /** What the launch passes, in order. */
  list(): Expr[] {
    return [...this.#slots.keys()];
  }
}
