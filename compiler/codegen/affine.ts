/** Questions that back ends ask of index expressions: what they depend on and how they stride. */
import { isOp, type Expr } from "../scalar/expr.js";
import { polynomialOf, toExpr, type Monomial } from "../scalar/polynomial.js";
import { constValue, zero } from "../scalar/build.js";

/**
 * Visits what is computed for `roots`, arguments first and each node once. Unlike `postorder` it does
 * not enter the extent of a coordinate, which bounds the loop around the body and is no part of it.
 */
export function visitComputed(roots: readonly Expr[], visit: (node: Expr) => void): void {
  const done = new Set<Expr>();
  const stack = [...roots].reverse().map((node) => ({ node, entered: false }));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { node, entered } = top;
    if (done.has(node)) continue;
    if (entered || isOp(node, "coord")) {
      done.add(node);
      visit(node);
      continue;
    }
    stack.push({ node, entered: true });
    for (const arg of [...node.args].reverse()) stack.push({ node: arg, entered: false });
  }
}

/** True if `root` uses `node` (extents of coordinates do not count: they are not computed). */
export function dependsOn(root: Expr, node: Expr): boolean {
  return dependsOnAny(root, new Set([node]));
}

export function dependsOnAny(root: Expr, nodes: ReadonlySet<Expr>): boolean {
  if (nodes.size === 0) return false;
  return leavesOf(root).some((leaf) => nodes.has(leaf));
}

const leafCache = new WeakMap<Expr, readonly Expr[]>();

/**
 * The coordinates and params that the value of `root` depends on, each once. An expression of the
 * host, symbols and literals, has none.
 */
export function leavesOf(root: Expr): readonly Expr[] {
  const known = leafCache.get(root);
  if (known !== undefined) return known;
  const memo = new Map<Expr, readonly Expr[]>();
  visitComputed([root], (node) => {
    const cached = leafCache.get(node);
    const leaves = cached ?? gather(node, memo);
    memo.set(node, leaves);
    if (cached === undefined) leafCache.set(node, leaves);
  });
  return memo.get(root)!;
}

function gather(node: Expr, memo: ReadonlyMap<Expr, readonly Expr[]>): readonly Expr[] {
  if (isOp(node, "coord") || isOp(node, "param")) return [node];
  const [first, ...rest] = node.args.map((arg) => memo.get(arg)!);
  if (first === undefined) return [];
  if (rest.every((leaves) => leaves.length === 0 || leaves === first)) return first;
  return [...new Set([...first, ...rest.flat()])];
}

/** All loads below `roots`, each once, arguments first. */
export function loadsOf(roots: readonly Expr[]): Expr<"load">[] {
  const loads: Expr<"load">[] = [];
  visitComputed(roots, (node) => {
    if (isOp(node, "load")) loads.push(node);
  });
  return loads;
}

export function someComputed(root: Expr, test: (node: Expr) => boolean): boolean {
  let found = false;
  visitComputed([root], (node) => {
    found ||= test(node);
  });
  return found;
}

export const hasLoad = (root: Expr): boolean => someComputed(root, (node) => isOp(node, "load"));
export const hasCheck = (root: Expr): boolean => someComputed(root, (node) => isOp(node, "check"));

export interface Linear {
  readonly base: Expr;
  readonly stride: Expr;
}

/** `offset` as base + stride · coord, neither of which uses `coord`; null if it is not linear. */
export function linearIn(offset: Expr, coord: Expr): Linear | null {
  const base: Monomial[] = [];
  const stride: Monomial[] = [];
  for (const monomial of polynomialOf(offset)) {
    const rest = monomial.atoms.filter((atom) => atom !== coord);
    if (rest.some((atom) => dependsOn(atom, coord))) return null;
    const power = monomial.atoms.length - rest.length;
    if (power > 1) return null;
    if (power === 1) stride.push({ atoms: rest, coefficient: monomial.coefficient });
    else base.push(monomial);
  }
  return { base: toExpr(base), stride: toExpr(stride) };
}

/** The stride of `offset` along `coord`, null if it is not linear. A literal 0 is no coordinate. */
export function strideAlong(offset: Expr, coord: Expr): Expr | null {
  if (!isOp(coord, "coord")) return zero;
  return linearIn(offset, coord)?.stride ?? null;
}

/** True if consecutive values of `coord` are consecutive elements. */
export function isContiguous(offset: Expr, coord: Expr): boolean {
  const stride = strideAlong(offset, coord);
  return stride !== null && constValue(stride) === 1;
}

/**
 * The largest power of two, at most `limit`, that divides `offset` for every value of its atoms: what
 * vectorised accesses may assume. Symbols contribute their divisors.
 */
export function alignmentOf(offset: Expr, limit: number): number {
  let alignment = limit;
  for (const { atoms, coefficient } of polynomialOf(offset)) {
    let factor = Math.abs(coefficient);
    for (const atom of atoms) if (isOp(atom, "sym")) factor *= atom.attr.divisor;
    while (alignment > 1 && factor % alignment !== 0) alignment /= 2;
  }
  return alignment;
}
