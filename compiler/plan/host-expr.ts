/** Expressions over host symbols, in the form that a runtime evaluates at launch. */
import { bug } from "../errors.js";
import { isOp, type Expr } from "../scalar/expr.js";
import type { HostExpr, HostOp } from "./plan.js";

const hostOps = new Set<string>([
  ...["add", "sub", "mul", "div", "mod", "min", "max"],
  ...["select", "lt", "le", "eq", "ne"],
]);
export const isHostOp = (op: string): op is HostOp => hostOps.has(op);

/** @param symbol what stands for a symbol: its name, or a number where it is fixed */
export function hostExpr(
  expr: Expr,
  symbol: (name: string, max: number) => HostExpr = (name) => name,
): HostExpr {
  if (isOp(expr, "const")) return Number(expr.attr.value);
  if (isOp(expr, "sym") && expr.attr.space === "host") return symbol(expr.attr.name, expr.attr.max);
  const op: string = expr.op;
  if (!isHostOp(op)) throw bug(`${op} cannot be evaluated on the host`);
  return [op, ...expr.args.map((arg) => hostExpr(arg, symbol))];
}
