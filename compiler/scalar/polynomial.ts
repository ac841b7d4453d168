/**
 * Integer expressions as polynomials over atoms (symbols, coordinates, loads, divisions …): the
 * canonical form that makes equal index expressions the same object, and that lets `div` and `mod`
 * by a dimension cancel. Valid in wrap-around arithmetic, since only ring laws are used.
 */
import { compareExprs, intern, isOp, type Expr } from "./expr.js";
import { outwards, rangeOf } from "./range.js";

/** A product of atoms, each repeated as often as its power, sorted by id. */
export interface Monomial {
  readonly atoms: readonly Expr[];
  readonly coefficient: number;
}

export type Polynomial = readonly Monomial[];

const cache = new WeakMap<Expr, Polynomial>();
const keyOf = (atoms: readonly Expr[]): string => atoms.map((atom) => atom.id).join(",");

/** The polynomial of an i64 expression. */
export function polynomialOf(expr: Expr): Polynomial {
  const known = cache.get(expr);
  if (known !== undefined) return known;
  const polynomial = decompose(expr);
  cache.set(expr, polynomial);
  return polynomial;
}

function decompose(expr: Expr): Polynomial {
  if (isOp(expr, "const")) {
    const value = expr.attr.value;
    if (typeof value === "bigint") return [{ atoms: [expr], coefficient: 1 }];
    return value === 0 ? [] : [{ atoms: [], coefficient: value }];
  }
  const [a, b] = expr.args;
  if (isOp(expr, "add")) return sum(polynomialOf(a!), polynomialOf(b!));
  if (isOp(expr, "mul")) {
    const [x, y] = [polynomialOf(a!), polynomialOf(b!)];
    if (expands(x, y)) return product(x, y);
  }
  return [{ atoms: [expr], coefficient: 1 }];
}

const isBig = (atom: Expr): boolean => isOp(atom, "const") && typeof atom.attr.value === "bigint";

/** The factor in front of `monomial`'s true atoms: its coefficient and its bigint literals. */
function factorOf({ atoms, coefficient }: Monomial): {
  atoms: readonly Expr[];
  factor: number | bigint;
} {
  if (!atoms.some(isBig)) return { atoms, factor: coefficient };
  const bigs = atoms.filter(isBig).map((atom) => (atom as Expr<"const">).attr.value as bigint);
  const factor = bigs.reduce((acc, value) => acc * value, BigInt(coefficient));
  return { atoms: atoms.filter((atom) => !isBig(atom)), factor };
}

/** Sums and products of doubles are exact while they are safe; else the same of bigints. */
function exactly(
  a: number | bigint,
  b: number | bigint,
  join: { number: (a: number, b: number) => number; bigint: (a: bigint, b: bigint) => bigint },
): number | bigint {
  if (typeof a === "number" && typeof b === "number") {
    const result = join.number(a, b);
    if (Number.isSafeInteger(result)) return result;
  }
  return join.bigint(BigInt(a), BigInt(b));
}

const plus = { number: (a: number, b: number) => a + b, bigint: (a: bigint, b: bigint) => a + b };
const times = { number: (a: number, b: number) => a * b, bigint: (a: bigint, b: bigint) => a * b };

/** Beyond 2^53 a coefficient becomes a literal among the atoms, wrapped to 64 bits. */
function monomialOf(atoms: readonly Expr[], factor: number | bigint): Monomial {
  if (typeof factor === "number") return { atoms, coefficient: factor };
  const wrapped = BigInt.asIntN(64, factor);
  const coefficient = Number(wrapped);
  if (Number.isSafeInteger(coefficient)) return { atoms, coefficient };
  return { atoms: [...atoms, intern("const", "i64", [], { value: wrapped })], coefficient: 1 };
}

function collect(monomials: Iterable<Monomial>): Polynomial {
  const byAtoms = new Map<string, { atoms: readonly Expr[]; factor: number | bigint }>();
  for (const monomial of monomials) {
    const { atoms, factor } = factorOf(monomial);
    const key = keyOf(atoms);
    byAtoms.set(key, { atoms, factor: exactly(byAtoms.get(key)?.factor ?? 0, factor, plus) });
  }
  return [...byAtoms.values()]
    .map(({ atoms, factor }) => monomialOf(atoms, factor))
    .filter((monomial) => monomial.coefficient !== 0);
}

export function sum(a: Polynomial, b: Polynomial): Polynomial {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  return rejoined(collect([...a, ...b]));
}

const holds = (polynomial: Polynomial, op: "div" | "mod"): boolean =>
  polynomial.some(({ atoms }) => atoms.some((atom) => isOp(atom, op)));

/** b · div(x, b) + mod(x, b) is x, whatever both are multiplied with: what a reshape there and back leaves. */
function rejoined(polynomial: Polynomial): Polynomial {
  if (polynomial.length < 2 || !holds(polynomial, "mod") || !holds(polynomial, "div"))
    return polynomial;
  for (const remainder of polynomial) {
    for (const atom of remainder.atoms) {
      if (!isOp(atom, "mod")) continue;
      const [x, divisor] = atom.args as [Expr, Expr];
      const at = remainder.atoms.indexOf(atom);
      const factor: Monomial = {
        atoms: remainder.atoms.filter((_, i) => i !== at),
        coefficient: remainder.coefficient,
      };
      const quotient: Monomial = {
        atoms: [intern("div", "i64", [x, divisor], null)],
        coefficient: 1,
      };
      const [wanted, ...more] = product([factor], product([quotient], polynomialOf(divisor)));
      if (wanted === undefined || more.length > 0) continue;
      const key = keyOf(wanted.atoms);
      const partner = polynomial.find(
        ({ atoms, coefficient }) => coefficient === wanted.coefficient && keyOf(atoms) === key,
      );
      if (partner === undefined) continue;
      const rest = polynomial.filter((each) => each !== remainder && each !== partner);
      return sum(rest, product([factor], polynomialOf(x)));
    }
  }
  return polynomial;
}

export function scale(a: Polynomial, factor: number): Polynomial {
  return product(a, factor === 0 ? [] : [{ atoms: [], coefficient: factor }]);
}

export function product(a: Polynomial, b: Polynomial): Polynomial {
  const terms: Monomial[] = [];
  for (const x of a)
    for (const y of b) {
      const [p, q] = [factorOf(x), factorOf(y)];
      const atoms = [...p.atoms, ...q.atoms].sort(compareExprs);
      terms.push(monomialOf(atoms, exactly(p.factor, q.factor, times)));
    }
  return collect(terms);
}

/** Products of sums are multiplied out up to this many terms: beyond, they stay one atom. */
const mostTerms = 64;
const mostAtoms = 16;

/** Whether a·b is worth multiplying out. Model arithmetic on large integers is not. */
export function expands(a: Polynomial, b: Polynomial): boolean {
  const degree = (p: Polynomial): number => Math.max(0, ...p.map(({ atoms }) => atoms.length));
  return a.length * b.length <= mostTerms && degree(a) + degree(b) <= mostAtoms;
}

/** Order of monomials in the canonical tree: longest products first, the constant last. */
function compare(a: Monomial, b: Monomial): number {
  if (a.atoms.length !== b.atoms.length) return b.atoms.length - a.atoms.length;
  for (let i = 0; i < a.atoms.length; i++) {
    const difference = compareExprs(a.atoms[i]!, b.atoms[i]!);
    if (difference !== 0) return difference;
  }
  return 0;
}

const literal = (value: number): Expr =>
  intern("const", "i64", [], { value: Object.is(value, -0) ? 0 : value });

/** The canonical expression of a polynomial. */
export function toExpr(polynomial: Polynomial): Expr {
  const terms = [...polynomial].sort(compare).map(({ atoms, coefficient }) => {
    const [first, ...rest] = atoms;
    if (first === undefined) return literal(coefficient);
    const atomsProduct = rest.reduce(
      (acc: Expr, atom) => intern("mul", "i64", [acc, atom], null),
      first,
    );
    return coefficient === 1
      ? atomsProduct
      : intern("mul", "i64", [atomsProduct, literal(coefficient)], null);
  });
  const [head, ...tail] = terms;
  if (head === undefined) return literal(0);
  const expr = tail.reduce((acc, term) => intern("add", "i64", [acc, term], null), head);
  if (!cache.has(expr)) cache.set(expr, polynomial);
  return expr;
}

/**
 * An upper bound of `polynomial` in which coordinates are replaced by their largest value, so that a
 * comparison with a symbolic dimension can still cancel; null if a term cannot be bounded so.
 */
export function upperBound(polynomial: Polynomial): Polynomial | null {
  let bound: Polynomial = [];
  for (const { atoms, coefficient } of polynomial) {
    let term: Polynomial = [{ atoms: [], coefficient }];
    for (const atom of atoms) {
      if (rangeOf(atom).min < 0) return null;
      const largest: Polynomial | null = coefficient > 0 ? largestOf(atom) : smallestOf(atom);
      if (largest === null) return null;
      term = product(term, largest);
    }
    bound = sum(bound, term);
  }
  return bound;
}

function largestOf(atom: Expr): Polynomial | null {
  const one: Polynomial = [{ atoms: [], coefficient: -1 }];
  if (isOp(atom, "coord")) return sum(polynomialOf(atom.args[0]!), one);
  // A failed check is 0, which is below an extent of at least 1 only.
  if (isOp(atom, "mod") || (isOp(atom, "check") && rangeOf(atom.args[1]!).min >= 1))
    return sum(polynomialOf(atom.args[1]!), one);
  if (isOp(atom, "sym")) return [{ atoms: [atom], coefficient: 1 }];
  const { max } = rangeOf(atom);
  return Number.isFinite(max) ? [{ atoms: [], coefficient: max }] : null;
}

function smallestOf(atom: Expr): Polynomial {
  if (isOp(atom, "sym")) return [{ atoms: [atom], coefficient: 1 }];
  const { min } = rangeOf(atom);
  return min === 0 ? [] : [{ atoms: [], coefficient: min }];
}

/** Numeric bounds of a polynomial, with nothing cancelled. */
export function boundsOf(polynomial: Polynomial): { min: number; max: number } {
  let min = 0;
  let max = 0;
  for (const { atoms, coefficient } of polynomial) {
    let lo = coefficient;
    let hi = coefficient;
    for (const atom of atoms) {
      const range = rangeOf(atom);
      const ends = [lo, hi].flatMap((x) =>
        [range.min, range.max].map((y) => (x === 0 || y === 0 ? 0 : x * y)),
      );
      lo = Math.min(...ends);
      hi = Math.max(...ends);
    }
    min += lo;
    max += hi;
  }
  return outwards({ min, max });
}

/** True if `polynomial` is proved to be at least zero everywhere. */
export function provablyNonNegative(polynomial: Polynomial): boolean {
  if (boundsOf(polynomial).min >= 0) return true;
  const negated = upperBound(scale(polynomial, -1));
  return negated !== null && boundsOf(negated).max <= 0;
}

/**
 * Splits `dividend` into the part that `divisor` (a single monomial) divides exactly and the rest:
 * dividend = divisor * quotient + remainder.
 */
export function divideOut(
  dividend: Polynomial,
  divisor: Monomial,
): { quotient: Polynomial; remainder: Polynomial } {
  // Literals of 64 bits wrap around: there is nothing to cancel.
  if ([divisor, ...dividend].some(({ atoms }) => atoms.some(isBig)))
    return { quotient: [], remainder: dividend };
  const quotient: Monomial[] = [];
  const remainder: Monomial[] = [];
  for (const monomial of dividend) {
    const left = [...monomial.atoms];
    const contained = divisor.atoms.every((atom) => {
      const index = left.indexOf(atom);
      if (index >= 0) left.splice(index, 1);
      return index >= 0;
    });
    if (contained && monomial.coefficient % divisor.coefficient === 0)
      quotient.push({ atoms: left, coefficient: monomial.coefficient / divisor.coefficient });
    else if (monomial.atoms.length === 0 && divisor.atoms.length === 0) {
      // A constant splits into whole divisors and what stays between 0 and one.
      const whole = Math.floor(monomial.coefficient / divisor.coefficient);
      quotient.push({ atoms: [], coefficient: whole });
      remainder.push({
        atoms: [],
        coefficient: monomial.coefficient - whole * divisor.coefficient,
      });
    } else remainder.push(monomial);
  }
  return { quotient: collect(quotient), remainder: collect(remainder) };
}
