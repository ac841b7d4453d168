/**
 * How an expression changes over the lanes of a fragment: consecutive unroll positions whose
 * coordinates step by known amounts. What does not change is computed once; what steps by one in
 * memory is loaded and stored as a vector.
 */
import { dtypes } from "../../ir/dtype.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { constValue } from "../../scalar/build.js";
import { polynomialOf } from "../../scalar/polynomial.js";

/** `step` 0: the same in every lane; null: no rule known. */
export interface LaneChange {
  readonly step: number | null;
}

/** What a scope knows about a leaf (a coordinate or a param). */
export interface LeafFacts {
  /** Increment from lane to lane, null where lanes have unrelated values. */
  readonly step: number | null;
  /** The value of lane 0 is a multiple of this. */
  readonly multiple: number;
  /** Lane 0 is at most `above` more than a multiple of `of`. */
  readonly near?: Near;
}

export interface Near {
  readonly of: number;
  readonly above: number;
}

export type Facts = (leaf: Expr) => LeafFacts;

const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b));

/** A number that divides lane 0 of the integer `expr`; 0 divides by everything. */
export function multipleOf(expr: Expr, facts: Facts): number {
  const value = constValue(expr);
  if (value !== null) return Math.abs(value);
  const polynomial = polynomialOf(expr);
  const [only] = polynomial;
  if (
    polynomial.length === 1 &&
    only!.coefficient === 1 &&
    only!.atoms.length === 1 &&
    only!.atoms[0] === expr
  )
    return multipleOfAtom(expr, facts);
  return polynomial
    .map(({ atoms, coefficient }) =>
      atoms.reduce(
        (product, atom) => Math.min(2 ** 40, product * multipleOfAtom(atom, facts)),
        Math.abs(coefficient),
      ),
    )
    .reduce(gcd, 0);
}

function multipleOfAtom(atom: Expr, facts: Facts): number {
  if (isOp(atom, "sym")) return atom.attr.divisor;
  if (isOp(atom, "coord") || isOp(atom, "param")) return facts(atom).multiple;
  const [x, y, z] = atom.args;
  const of = (expr: Expr): number => multipleOf(expr, facts);
  switch (atom.op) {
    case "check":
      return of(x!);
    case "select":
      return gcd(of(y!), of(z!));
    case "min":
    case "max":
    case "mod":
      return gcd(of(x!), of(y!));
    case "div": {
      const by = constValue(y!);
      return by !== null && by > 0 && of(x!) % by === 0 ? of(x!) / by : 1;
    }
    default:
      return 1;
  }
}

/** Changes of expressions over `lanes` lanes, memoised for one set of facts. */
export class LaneAnalysis {
  readonly #lanes: number;
  readonly #facts: Facts;
  readonly #memo = new Map<Expr, number | null>();

  constructor(lanes: number, facts: Facts) {
    this.#lanes = lanes;
    this.#facts = facts;
  }

  /** The step of `expr` from lane to lane: 0 the same, null unknown. Only integers step. */
  step(expr: Expr): number | null {
    if (this.#lanes === 1) return 0;
    const known = this.#memo.get(expr);
    if (known !== undefined) return known;
    const step = this.#compute(expr);
    this.#memo.set(expr, step);
    return step;
  }

  multiple(expr: Expr): number {
    return multipleOf(expr, this.#facts);
  }

  #compute(expr: Expr): number | null {
    if (isOp(expr, "const") || isOp(expr, "sym")) return 0;
    if (isOp(expr, "coord") || isOp(expr, "param")) return this.#facts(expr).step;
    const steps = expr.args.map((arg) => this.step(arg));
    if (steps.every((step) => step === 0)) return 0;
    const [x, y, z] = steps as [number | null, number | null, number | null];
    const [, right] = expr.args;
    switch (expr.op) {
      case "add":
        return this.#ring(expr, x, y, (a, b) => a + b);
      case "sub":
        return this.#ring(expr, x, y, (a, b) => a - b);
      case "mul":
        return this.#ring(expr, x, y, (a) => a * (constValue(right!) ?? NaN));
      case "div":
        return this.#quotient(expr, x, y);
      case "mod":
        return this.#quotient(expr, x, y) === 0 ? x : null;
      case "lt":
        return this.#compare(expr, x, y, 0);
      case "le":
        return this.#compare(expr, x, y, 1);
      case "select":
        return x === 0 && y !== null && y === z ? y : null;
      default:
        return null;
    }
  }

  #ring(
    expr: Expr,
    x: number | null,
    y: number | null,
    combine: (a: number, b: number) => number,
  ): number | null {
    if (dtypes[expr.type].kind === "float" || x === null || y === null) return null;
    const step = combine(x, y);
    return Number.isNaN(step) ? null : step;
  }

  /** A run that starts at a multiple of its length stays inside one multiple of a divisor of that kind. */
  #staysTogether(expr: Expr, step: number | null): boolean {
    return step === 1 && this.multiple(expr) % this.#lanes === 0;
  }

  /** 0 where no multiple of the divisor lies between two lanes of the dividend. */
  #quotient(expr: Expr, x: number | null, y: number | null): number | null {
    const [dividend, divisor] = expr.args as [Expr, Expr];
    const by = constValue(divisor);
    if (by === null || by <= 0 || x === null || x < 0 || y !== 0) return null;
    const { of, above } = this.#near(dividend);
    return above + x * (this.#lanes - 1) < gcd(of, by) ? 0 : null;
  }

  #near(expr: Expr): Near {
    const known = isOp(expr, "coord") || isOp(expr, "param") ? this.#facts(expr).near : undefined;
    return known ?? { of: this.multiple(expr), above: 0 };
  }

  /** a < b (`slack` 0) or a <= b (1): decided for the whole run where the bound lies between runs. */
  #compare(expr: Expr, x: number | null, y: number | null, slack: 0 | 1): number | null {
    const [a, b] = expr.args as [Expr, Expr];
    if (y === 0 && this.#staysTogether(a, x)) {
      const bound = slack === 0 ? this.multiple(b) % this.#lanes === 0 : this.#isLastOfRun(b);
      return bound ? 0 : null;
    }
    if (x === 0 && this.#staysTogether(b, y)) {
      // bound <= run, or bound < run.
      const bound = slack === 1 ? this.multiple(a) % this.#lanes === 0 : this.#isLastOfRun(a);
      return bound ? 0 : null;
    }
    return null;
  }

  /** expr ≡ lanes - 1 (mod lanes), which only literals are asked for. */
  #isLastOfRun(expr: Expr): boolean {
    const value = constValue(expr);
    return value !== null && value >= 0 && value % this.#lanes === this.#lanes - 1;
  }
}
