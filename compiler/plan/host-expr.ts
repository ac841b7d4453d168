/** Expressions over host symbols, in the form that a runtime evaluates at launch. */
import { bug } from "../errors.js";
import { isOp, type Expr } from "../scalar/expr.js";
import type { HostExpr, HostOp } from "./plan.js";

const hostOps = new Set<string>([
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "min",
  "max",
  "select",
  "lt",
  "le",
  "eq",
  "ne",
]);

/** @param symbol what stands for a symbol: its name, or a number where it is fixed */
export function hostExpr(
  expr: Expr,
  symbol: (name: string, max: number) => HostExpr = (name) => name,
): HostExpr {
  if (isOp(expr, "const")) return Number(expr.attr.value);
  if (isOp(expr, "sym") && expr.attr.space === "host") return symbol(expr.attr.name, expr.attr.max);
  if (!hostOps.has(expr.op)) throw bug(`${expr.op} cannot be evaluated on the host`);
  const args = expr.args.map((arg) => hostExpr(arg, symbol));
  return [expr.op as HostOp, ...args] as HostExpr;
}
