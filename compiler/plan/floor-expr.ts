/** Floors of kernels as `report.json` has them: written here, and given their values. */
import { bug, FarrierError } from "../errors.js";
import type { Total } from "../kernel/floor.js";
import { mul } from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import { isHostOp } from "./host-expr.js";
import type { HostOp } from "./plan.js";

/**
 * As a `HostExpr`, and `["sum", NAME, count, body]`: the body's values for NAME from 0 below count.
 * A name that begins with `@` is the value of the input of that name, one that begins with `%` a sum's.
 */
export type FloorExpr =
  | number
  | string
  | readonly ["sum", string, FloorExpr, FloorExpr]
  | readonly [HostOp, ...FloorExpr[]];

/** An integer expression over symbols of both spaces, and coordinates that a sum runs over. */
export function floorExpr(expr: Expr): FloorExpr {
  if (isOp(expr, "const")) return Number(expr.attr.value);
  if (isOp(expr, "sym")) return expr.attr.space === "host" ? expr.attr.name : `@${expr.attr.name}`;
  if (isOp(expr, "coord")) return `%${expr.attr.name}`;
  const op: string = expr.op;
  if (!isHostOp(op)) throw bug(`${op} in a floor`);
  return [op, ...expr.args.map(floorExpr)];
}

export function totalExpr({ factor, each, over }: Total): FloorExpr {
  if (!isOp(over, "coord")) return floorExpr(mul(factor, each));
  const count = over.args[0]!;
  if (!someExpr(each, (node) => node === over)) return floorExpr([factor, count, each].reduce(mul));
  const sum = ["sum", `%${over.attr.name}`, floorExpr(count), floorExpr(each)] as const;
  return ["mul", floorExpr(factor), sum];
}

type Names = Readonly<Record<string, number>>;

const floorDiv = (a: number, b: number): number => (b === 0 ? 0 : Math.floor(a / b));

const operators: { readonly [O in HostOp]: (...args: readonly number[]) => number } = {
  add: (...args) => args.reduce((a, b) => a + b),
  sub: (a, b) => a - b,
  mul: (...args) => args.reduce((a, b) => a * b),
  div: (a, b) => floorDiv(a, b),
  mod: (a, b) => a - floorDiv(a, b) * b,
  min: (...args) => Math.min(...args),
  max: (...args) => Math.max(...args),
  select: (condition, whenTrue, whenFalse) => (condition === 0 ? whenFalse : whenTrue),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
};

/** What a report that somebody edited may ask for. */
const mostTerms = 2 ** 24;

/**
 * @param names values of symbols, and of inputs with `@` before their names
 * @throws FarrierError E_BUNDLE_FORMAT
 */
export function floorValue(expr: FloorExpr, names: Names): number {
  if (typeof expr === "number") return expr;
  if (typeof expr === "string") return known(names[expr], expr);
  if (expr[0] === "sum") {
    const [, name, count, body] = expr;
    const terms = floorValue(count, names);
    if (terms > mostTerms) throw strange(`a sum of ${terms} terms`);
    let total = 0;
    for (let at = 0; at < terms; at++) total += floorValue(body, { ...names, [name]: at });
    return total;
  }
  const [op, ...args] = expr;
  const operator = known(Object.hasOwn(operators, op) ? operators[op] : undefined, op);
  return operator(...args.map((arg) => floorValue(arg, names)));
}

function known<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw strange(`${name}, which is not known`);
  return value;
}

const strange = (what: string): FarrierError =>
  new FarrierError("E_BUNDLE_FORMAT", `a floor has ${what}`, { hint: "compile the model again" });
