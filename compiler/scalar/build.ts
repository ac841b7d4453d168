/** Constructors of expressions: the only way to make one outside this folder. */
import type { DType } from "../ir/dtype.js";
import { isFloat, isInteger } from "../ir/dtype.js";
import { integerBinary } from "./arithmetic.js";
import {
  compareExprs,
  intern,
  isOp,
  type BinaryOp,
  type Expr,
  type SymbolInfo,
  type UnaryOp,
} from "./expr.js";
import {
  boundsOf,
  divideOut,
  expands,
  polynomialOf,
  product,
  provablyNonNegative,
  scale,
  sum,
  toExpr,
  upperBound,
  type Polynomial,
} from "./polynomial.js";
import { rangeOf } from "./range.js";
import { castValue, roundFloat, wrapInteger } from "./round.js";

/** A literal; of an integer type, wrapped to it. */
export function constant(value: number | bigint | boolean, type: DType): Expr {
  let literal: number | bigint = typeof value === "boolean" ? Number(value) : value;
  if (isInteger(type)) literal = wrapInteger(literal, type);
  else if (isFloat(type)) literal = roundFloat(Number(literal), type);
  return intern("const", type, [], { value: literal });
}

/** An i64 literal: the usual case in index arithmetic. */
export const int = (value: number): Expr => constant(value, "i64");
export const zero = int(0);
export const one = int(1);
export const yes = constant(true, "bool");
export const no = constant(false, "bool");

/** A symbol of the profile. The same name with another range is another symbol. */
export function sym(info: SymbolInfo): Expr {
  if (info.min === info.max) return int(info.min);
  const { name, space, min, max, divisor } = info;
  return intern("sym", "i64", [], { name, space, min, max, divisor });
}

/** A coordinate of an iteration space: 0 <= value < extent. */
export function coord(name: string, extent: Expr): Expr {
  return isConst(extent, 1) ? zero : intern("coord", "i64", [extent], { name });
}

export const param = (name: string, type: DType): Expr => intern("param", type, [], { name });
export const load = (buffer: string, offset: Expr, type: DType): Expr =>
  intern("load", type, [offset], { buffer });

export function isConst(expr: Expr, value?: number): boolean {
  return isOp(expr, "const") && (value === undefined || expr.attr.value === value);
}

/** The value of an integer literal, or null. */
export function constValue(expr: Expr): number | null {
  return isOp(expr, "const") && typeof expr.attr.value === "number" ? expr.attr.value : null;
}

/** `index`, proved or checked at run time to be inside [0, extent). */
export function check(index: Expr, extent: Expr, site: number): Expr {
  const range = rangeOf(index);
  const inside = range.min >= 0 && provablyNonNegative(polynomialOf(sub(sub(extent, one), index)));
  return inside ? index : intern("check", "i64", [index, extent], { site });
}

export function cast(value: Expr, type: DType): Expr {
  if (value.type === type) return value;
  if (isOp(value, "const")) return constant(castValue(value.attr.value, value.type, type), type);
  return intern("cast", type, [value], null);
}

/** The bits of `value` as another type of the same width. */
export const bitcast = (value: Expr, type: DType): Expr =>
  value.type === type ? value : intern("bitcast", type, [value], null);

export function select(condition: Expr, whenTrue: Expr, whenFalse: Expr): Expr {
  if (isConst(condition, 1) || whenTrue === whenFalse) return whenTrue;
  if (isConst(condition, 0)) return whenFalse;
  if (sameAtFirst(condition, whenTrue, whenFalse)) return whenFalse;
  return intern("select", whenTrue.type, [condition, whenTrue, whenFalse], null);
}

/** select(i < 1, a, b) => b where the arms agree at i = 0, the only place that the condition leaves. */
function sameAtFirst(condition: Expr, whenTrue: Expr, whenFalse: Expr): boolean {
  const [index, limit] = condition.args;
  if (
    !isOp(condition, "lt") ||
    !isOp(index!, "coord") ||
    !isConst(limit!, 1) ||
    whenTrue.type !== "i64"
  )
    return false;
  const [a, b] = substitute([whenTrue, whenFalse], new Map([[index, zero]]));
  return a === b;
}

export const fma = (a: Expr, b: Expr, c: Expr): Expr => intern("fma", a.type, [a, b, c], null);

const isIndex = (a: Expr, b: Expr): boolean => a.type === "i64" && b.type === "i64";

/** The literals' sum or product, where it is exact; null for anything else. */
function ofLiterals(a: Expr, b: Expr, fold: (x: number, y: number) => number): Expr | null {
  if (!isOp(a, "const") || !isOp(b, "const")) return null;
  const [x, y] = [a.attr.value, b.attr.value];
  if (typeof x !== "number" || typeof y !== "number") return null;
  const value = fold(x, y);
  // Never minus zero.
  return Number.isSafeInteger(value) ? int(value + 0) : null;
}

/** Models repeat themselves: the latest results, one for each place of the table. */
class Latest {
  readonly #left: (Expr | undefined)[] = [];
  readonly #right: (Expr | undefined)[] = [];
  readonly #results: (Expr | undefined)[] = [];

  of(a: Expr, b: Expr, compute: () => Expr): Expr {
    const place = (Math.imul(a.id, 0x9e3779b1) ^ Math.imul(b.id, 0x85ebca6b)) >>> 18;
    if (this.#left[place] === a && this.#right[place] === b) return this.#results[place]!;
    const result = compute();
    this.#left[place] = a;
    this.#right[place] = b;
    this.#results[place] = result;
    return result;
  }
}

const [sums, differences, products] = [new Latest(), new Latest(), new Latest()];

export function add(a: Expr, b: Expr): Expr {
  if (!isIndex(a, b)) return plain("add", a, b);
  return (
    ofLiterals(a, b, (x, y) => x + y) ??
    sums.of(a, b, () => toExpr(sum(polynomialOf(a), polynomialOf(b))))
  );
}

export function sub(a: Expr, b: Expr): Expr {
  if (!isIndex(a, b)) return plain("sub", a, b);
  return (
    ofLiterals(a, b, (x, y) => x - y) ??
    differences.of(a, b, () => toExpr(sum(polynomialOf(a), scale(polynomialOf(b), -1))))
  );
}

export function mul(a: Expr, b: Expr): Expr {
  if (!isIndex(a, b)) return plain("mul", a, b);
  return ofLiterals(a, b, (x, y) => x * y) ?? products.of(a, b, () => multiplied(a, b));
}

function multiplied(a: Expr, b: Expr): Expr {
  const [x, y] = [polynomialOf(a), polynomialOf(b)];
  if (expands(x, y)) return toExpr(product(x, y));
  return intern("mul", "i64", compareExprs(a, b) <= 0 ? [a, b] : [b, a], null);
}

/**
 * Division; of integers, rounded towards minus infinity. A divisor of i64 that could be 0 has to be
 * guarded by the caller, as `primitive("div")` does: a dimension cancels without asking.
 */
export function div(a: Expr, b: Expr): Expr {
  if (!isIndex(a, b) || isConst(b, 0)) return plain("div", a, b);
  const split = splitBy(a, b);
  if (split === null) return plain("div", a, b);
  const { quotient, remainder } = split;
  const rest = toExpr(remainder);
  const [x, y] = [constValue(rest), constValue(b)];
  const tail =
    x !== null && y !== null
      ? constant(integerBinary("div", x, y), "i64")
      : staysBelow(rest, b)
        ? zero
        : intern("div", "i64", [rest, b], null);
  return add(toExpr(quotient), tail);
}

/** Remainder with the sign of the divisor, so that a == b * div(a, b) + mod(a, b). */
export function mod(a: Expr, b: Expr): Expr {
  if (!isIndex(a, b) || isConst(b, 0)) return plain("mod", a, b);
  const split = splitBy(a, b);
  if (split === null) return plain("mod", a, b);
  const rest = toExpr(split.remainder);
  const [x, y] = [constValue(rest), constValue(b)];
  if (x !== null && y !== null) return constant(integerBinary("mod", x, y), "i64");
  return staysBelow(rest, b) ? rest : intern("mod", "i64", [rest, b], null);
}

export const ceilDiv = (a: Expr, b: Expr): Expr => div(add(a, sub(b, one)), b);

function splitBy(
  a: Expr,
  b: Expr,
): {
  quotient: ReturnType<typeof polynomialOf>;
  remainder: ReturnType<typeof polynomialOf>;
} | null {
  const [divisor, ...others] = polynomialOf(b);
  if (divisor === undefined || others.length > 0) return null;
  return divideOut(polynomialOf(a), divisor);
}

/** 0 <= a < b everywhere. */
function staysBelow(a: Expr, b: Expr): boolean {
  const p = polynomialOf(a);
  if (rangeOf(a).min < 0 && !provablyNonNegative(p)) return false;
  if (rangeOf(a).max < rangeOf(b).min) return true;
  const upper = upperBound(p);
  if (upper === null) return false;
  const slack = sum(sum(polynomialOf(b), [{ atoms: [], coefficient: -1 }]), scale(upper, -1));
  return boundsOf(slack).min >= 0;
}

const floatFold: Partial<Record<BinaryOp, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

/** No laws but folding of literals, which IEEE arithmetic makes exact for f32 through f64. */
function plain(op: BinaryOp, a: Expr, b: Expr, type: DType = a.type): Expr {
  const fold = floatFold[op];
  if (fold !== undefined && isFloat(a.type) && isOp(a, "const") && isOp(b, "const")) {
    const value = fold(Number(a.attr.value), Number(b.attr.value));
    if (a.type === "f64") return constant(value, "f64");
    if (a.type === "f32") return constant(Math.fround(value), "f32");
  }
  return intern(op, type, [a, b], null);
}

type Verdict = (difference: { min: number; max: number }) => boolean | null;

const verdicts: { readonly [O in "lt" | "le" | "eq" | "ne"]: Verdict } = {
  lt: (d) => (d.max < 0 ? true : d.min >= 0 ? false : null),
  le: (d) => (d.max <= 0 ? true : d.min > 0 ? false : null),
  eq: (d) => (d.min === 0 && d.max === 0 ? true : d.min > 0 || d.max < 0 ? false : null),
  ne: (d) => (d.min > 0 || d.max < 0 ? true : d.min === 0 && d.max === 0 ? false : null),
};

function comparison(op: "lt" | "le" | "eq" | "ne", a: Expr, b: Expr): Expr {
  if (isIndex(a, b)) {
    const difference = sum(polynomialOf(a), scale(polynomialOf(b), -1));
    const numeric = boundsOf(difference);
    const upper = upperBound(difference);
    const lower = upperBound(scale(difference, -1));
    const max = Math.min(numeric.max, upper === null ? Infinity : boundsOf(upper).max);
    const min = Math.max(numeric.min, lower === null ? -Infinity : -boundsOf(lower).max);
    const verdict = verdicts[op]({ min, max });
    if (verdict !== null) return verdict ? yes : no;
    if (op === "lt" || op === "le") {
      // Over integers a <= b is a - b - 1 < 0.
      const shifted = op === "lt" ? difference : sum(difference, [{ atoms: [], coefficient: -1 }]);
      const simpler = reduceSign(shifted);
      if (simpler !== null) return signTest(simpler);
    }
  } else if (isOp(a, "const") && isOp(b, "const") && a.type === b.type) {
    const [x, y] = [a.attr.value, b.attr.value];
    return { lt: x < y, le: x <= y, eq: x === y, ne: x !== y }[op] ? yes : no;
  } else if (a.type === "bool" && (op === "eq" || op === "ne")) {
    const flip = op === "ne";
    if (isOp(b, "const")) return (b.attr.value === 1) !== flip ? a : not(a);
    if (isOp(a, "const")) return (a.attr.value === 1) !== flip ? b : not(b);
    if (a === b) return flip ? no : yes;
  }
  return plain(op, a, b, "bool");
}

/**
 * A simpler polynomial that is negative exactly where `p` is, or null: with p = d·q + r and
 * 0 <= r < d, the sign is that of q; and div(x, d) + c < 0 is x + c·d < 0.
 */
function reduceSign(p: Polynomial): Polynomial | null {
  const divisor = Math.max(
    ...p.filter(({ atoms }) => atoms.length > 0).map(({ coefficient }) => Math.abs(coefficient)),
  );
  if (divisor > 1) {
    const { quotient, remainder } = divideOut(p, { atoms: [], coefficient: divisor });
    const rest = boundsOf(remainder);
    if (quotient.some(({ atoms }) => atoms.length > 0) && rest.min >= 0 && rest.max < divisor)
      return reduceSign(quotient) ?? quotient;
    return null;
  }
  const [term, ...others] = p.filter(({ atoms }) => atoms.length > 0);
  const quotient = term?.atoms[0];
  if (
    term === undefined ||
    quotient === undefined ||
    others.length > 0 ||
    term.atoms.length > 1 ||
    !isOp(quotient, "div")
  )
    return null;
  const [x, by] = quotient.args as [Expr, Expr];
  const unit = constValue(by);
  // A negative divisor turns the comparison round.
  if (unit === null || unit < 1 || Math.abs(term.coefficient) !== 1) return null;
  const offset = p.find(({ atoms }) => atoms.length === 0)?.coefficient ?? 0;
  // -div(x, d) + c < 0  <=>  div(x, d) >= c + 1  <=>  x >= (c + 1)·d.
  const constantPart = term.coefficient > 0 ? offset * unit : (offset + 1) * unit - 1;
  if (!Number.isSafeInteger(constantPart)) return null;
  const next = sum(scale(polynomialOf(x), term.coefficient), [
    { atoms: [], coefficient: constantPart },
  ]);
  return reduceSign(next) ?? next;
}

/** p < 0, with what is subtracted on the other side. */
function signTest(p: Polynomial): Expr {
  const positive = p.filter(({ coefficient }) => coefficient > 0);
  const negative = p.filter(({ coefficient }) => coefficient < 0);
  return lt(toExpr(positive), toExpr(scale(negative, -1)));
}

export const lt = (a: Expr, b: Expr): Expr => comparison("lt", a, b);
export const le = (a: Expr, b: Expr): Expr => comparison("le", a, b);
export const eq = (a: Expr, b: Expr): Expr => comparison("eq", a, b);
export const ne = (a: Expr, b: Expr): Expr => comparison("ne", a, b);
export const gt = (a: Expr, b: Expr): Expr => lt(b, a);
export const ge = (a: Expr, b: Expr): Expr => le(b, a);

export function and(a: Expr, b: Expr): Expr {
  if (a.type === "bool") {
    if (isConst(a, 1) || a === b) return b;
    if (isConst(b, 1)) return a;
    if (isConst(a, 0) || isConst(b, 0)) return no;
  }
  return plain("and", a, b);
}

export function or(a: Expr, b: Expr): Expr {
  if (a.type === "bool") {
    if (isConst(a, 0) || a === b) return b;
    if (isConst(b, 0)) return a;
    if (isConst(a, 1) || isConst(b, 1)) return yes;
  }
  return plain("or", a, b);
}

export function not(a: Expr): Expr {
  if (isOp(a, "const") && a.type === "bool") return a.attr.value === 1 ? no : yes;
  if (isOp(a, "not")) return a.args[0]!;
  if (isOp(a, "lt") && a.args[0]!.type === "i64") return le(a.args[1]!, a.args[0]!);
  if (isOp(a, "le") && a.args[0]!.type === "i64") return lt(a.args[1]!, a.args[0]!);
  return intern("not", a.type, [a], null);
}

export function min(a: Expr, b: Expr): Expr {
  return extremum("min", a, b);
}

export function max(a: Expr, b: Expr): Expr {
  return extremum("max", a, b);
}

function extremum(op: "min" | "max", a: Expr, b: Expr): Expr {
  if (a === b) return a;
  if (isIndex(a, b)) {
    if (provablyNonNegative(polynomialOf(sub(b, a)))) return op === "min" ? a : b;
    if (provablyNonNegative(polynomialOf(sub(a, b)))) return op === "min" ? b : a;
    if (compareExprs(a, b) > 0) return intern(op, "i64", [b, a], null);
  }
  return plain(op, a, b);
}

export function unary(op: UnaryOp, a: Expr): Expr {
  if (op === "not") return not(a);
  if (op === "neg")
    return a.type === "i64"
      ? sub(zero, a)
      : isOp(a, "const") && isFloat(a.type)
        ? constant(-Number(a.attr.value), a.type)
        : intern("neg", a.type, [a], null);
  return intern(op, a.type, [a], null);
}

const binaries: { readonly [O in BinaryOp]: (a: Expr, b: Expr) => Expr } = {
  add,
  sub,
  mul,
  div,
  mod,
  min,
  max,
  and,
  or,
  lt,
  le,
  eq,
  ne,
  pow: (a, b) => plain("pow", a, b),
  xor: (a, b) => plain("xor", a, b),
  shl: (a, b) => plain("shl", a, b),
  shr: (a, b) => plain("shr", a, b),
};

export const binary = (op: BinaryOp, a: Expr, b: Expr): Expr => binaries[op](a, b);

/**
 * Rebuilds `roots` bottom-up, replacing the nodes that `replace` answers for (it sees the rebuilt
 * node, and the one that it was) and simplifying again. Linear in distinct nodes.
 */
export function rewriteExpr(
  roots: readonly Expr[],
  replace: (node: Expr, original: Expr) => Expr | null,
): Expr[] {
  const memo = new Map<Expr, Expr>();
  const stack = [...roots];
  while (stack.length > 0) {
    const node = stack[stack.length - 1]!;
    if (memo.has(node)) {
      stack.pop();
      continue;
    }
    const missing = node.args.filter((arg) => !memo.has(arg));
    if (missing.length > 0) {
      stack.push(...missing);
      continue;
    }
    stack.pop();
    const args = node.args.map((arg) => memo.get(arg)!);
    const same = args.every((arg, index) => arg === node.args[index]);
    const rebuilt = same ? node : rebuild(node, args);
    memo.set(node, replace(rebuilt, node) ?? rebuilt);
  }
  return roots.map((root) => memo.get(root)!);
}

/** The same operation on other arguments, simplified. */
export function rebuild(node: Expr, args: readonly Expr[]): Expr {
  const [a, b, c] = args as [Expr, Expr, Expr];
  if (isOp(node, "const") || isOp(node, "sym") || isOp(node, "param")) return node;
  if (isOp(node, "coord")) return coord(node.attr.name, a);
  if (isOp(node, "load")) return load(node.attr.buffer, a, node.type);
  if (isOp(node, "check")) return check(a, b, node.attr.site);
  if (isOp(node, "cast")) return cast(a, node.type);
  if (isOp(node, "bitcast")) return bitcast(a, node.type);
  if (isOp(node, "select")) return select(a, b, c);
  if (isOp(node, "fma")) return fma(a, b, c);
  if (args.length === 1) return unary(node.op as UnaryOp, a);
  return binary(node.op as BinaryOp, a, b);
}

/**
 * Replaces expressions by expressions: coordinates by index expressions, parameters by values. All
 * at once: what a replacement contains is not replaced again, though it may be a key itself.
 */
export function substitute(roots: readonly Expr[], map: ReadonlyMap<Expr, Expr>): Expr[] {
  return rewriteExpr(roots, (_, original) => map.get(original) ?? null);
}
