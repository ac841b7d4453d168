/**
 * The one expression language of farrier: dimensions, index maps, launch geometry and the bodies of
 * kernels are all `Expr`. Expressions are frozen and interned, so equality is `===`; build them with
 * the constructors of `build.ts`, which keep integers in canonical polynomial form.
 *
 * Integer index arithmetic has type `i64`. Floating-point arithmetic on 16-bit types does not exist:
 * a body computes in f32 (or f64) and rounds with `cast`.
 */
import type { DType } from "../ir/dtype.js";

/** Where a symbol's value lives: the host knows it at launch, or a kernel reads it from memory. */
export type SymbolSpace = "host" | "device";

/** A named integer with its range and divisor: one dimension of the profile. */
export interface SymbolInfo {
  readonly name: string;
  readonly space: SymbolSpace;
  readonly min: number;
  readonly max: number;
  readonly divisor: number;
}

export type UnaryOp =
  | "neg"
  | "abs"
  | "not"
  | "floor"
  | "ceil"
  | "round"
  | "trunc"
  | "sqrt"
  | "rsqrt"
  | "exp"
  | "exp2"
  | "log"
  | "log2"
  | "sin"
  | "cos"
  | "tanh"
  | "erf";

/**
 * `div` and `mod` of integers round towards minus infinity, with 0 for a zero divisor; `mod` of
 * floats has the sign of the dividend (C's fmod). `round` is half to even. `min` and `max` of floats
 * are NaN if either operand is, and -0 is below +0 (PTX `.NaN`, not C's fmin). A shift count outside
 * the type shifts every bit out.
 */
export type BinaryOp =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "mod"
  | "min"
  | "max"
  | "pow"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr"
  | "lt"
  | "le"
  | "eq"
  | "ne";

export interface ExprAttrs {
  /** A literal. Booleans are 0 and 1; integers beyond 2^53 are bigint. */
  const: { readonly value: number | bigint };
  /** A symbol of the profile. */
  sym: SymbolInfo;
  /** A coordinate of the kernel's iteration space: 0 <= value < extent (args[0]). */
  coord: { readonly name: string };
  /** A value that the surrounding template provides: an accumulator, a row statistic, a score. */
  param: { readonly name: string };
  /** Element args[0] of an operand. Under a `select` it is read only where that arm is taken. */
  load: { readonly buffer: string };
  /**
   * args[0] if 0 <= args[0] < args[1]; otherwise 0, and the kernel reports failure `site` through
   * its status word, so that a bad index is an error and never an illegal address.
   */
  check: { readonly site: number };
  /** args[0] converted to `type`, rounding to nearest even; float to integer truncates and saturates. */
  cast: null;
  /** The bits of args[0] as `type`, which is as wide: how 2^n is built and a float taken apart. */
  bitcast: null;
  /** args: condition, value if true, value if false. Only the taken arm's loads happen. */
  select: null;
  /** args[0] * args[1] + args[2], rounded once. */
  fma: null;
}

export type ExprOp = keyof ExprAttrs | UnaryOp | BinaryOp;

export interface Expr<O extends ExprOp = ExprOp> {
  readonly op: O;
  readonly type: DType;
  readonly args: readonly Expr[];
  readonly attr: O extends keyof ExprAttrs ? ExprAttrs[O] : null;
  /** Order of creation: arguments have smaller ids than their users. */
  readonly id: number;
  /** Longest way to a leaf. */
  readonly depth: number;
  /** Of the structure alone, whatever was made before: 52 bits. */
  readonly hash: number;
}

type AnyAttr = ExprAttrs[keyof ExprAttrs];

const table = new Map<string, Expr>();
let nextId = 1;

function attrKey(attr: AnyAttr): string {
  if (attr === null) return "";
  return Object.values(attr)
    .map((value) => {
      // Names are any text, so they are quoted: two attributes never run together.
      if (typeof value === "string") return JSON.stringify(value);
      return Object.is(value, -0) ? "-0" : typeof value === "bigint" ? `${value}n` : String(value);
    })
    .join(",");
}

/** FNV-1a over UTF-16 code units, 52 bits of two differently seeded runs. */
function hashText(text: string): number {
  let [high, low] = [0x811c9dc5, 0x050c5d1f];
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 0x01000193);
    low = Math.imul(low ^ unit, 0x01000193);
  }
  return (high >>> 0) * 2 ** 20 + (low & 0xfffff);
}

/**
 * The order of terms and statements: arguments before their users, and otherwise by structure, so
 * that equal inputs give equal texts whatever a process compiled before.
 */
export function compareExprs(a: Expr, b: Expr): number {
  return a.depth - b.depth || a.hash - b.hash || a.id - b.id;
}

/** The interned node itself, without simplification: use the constructors of `build.ts`. */
export function intern<O extends ExprOp>(
  op: O,
  type: DType,
  args: readonly Expr[],
  attr: Expr<O>["attr"],
): Expr<O> {
  const key = `${op}:${type}:${attrKey(attr)}:${args.map((arg) => arg.id).join(",")}`;
  const found = table.get(key);
  if (found !== undefined) return found as Expr<O>;
  const node = Object.freeze({
    op,
    type,
    args: Object.freeze([...args]),
    attr: attr === null ? null : Object.freeze({ ...attr }),
    id: nextId++,
    depth: args.reduce((depth, arg) => Math.max(depth, arg.depth + 1), 0),
    hash: hashText(`${op}:${type}:${attrKey(attr)}:${args.map((arg) => arg.hash).join(",")}`),
  }) as Expr<O>;
  table.set(key, node);
  return node;
}

/**
 * Runs `body` and forgets the expressions it created: for processes that compile many graphs.
 * Nothing made inside may be kept outside.
 */
export function exprScope<T>(body: () => T): T {
  const kept = table.size;
  try {
    return body();
  } finally {
    let index = 0;
    for (const key of table.keys()) if (index++ >= kept) table.delete(key);
  }
}

export function isOp<O extends ExprOp>(expr: Expr, op: O): expr is Expr<O> {
  return expr.op === op;
}

/** Visits every distinct node below `roots` once, arguments first. Iterative: depth is unbounded. */
export function postorder(roots: readonly Expr[], visit: (node: Expr) => void): void {
  const done = new Set<Expr>();
  const stack: { node: Expr; next: number }[] = [];
  for (const root of roots) {
    if (done.has(root)) continue;
    stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const arg = top.node.args[top.next];
      if (arg !== undefined) {
        top.next++;
        if (!done.has(arg)) stack.push({ node: arg, next: 0 });
      } else {
        stack.pop();
        if (!done.has(top.node)) {
          done.add(top.node);
          visit(top.node);
        }
      }
    }
  }
}

/** True if any node below `root` satisfies `test`. */
export function someExpr(root: Expr, test: (node: Expr) => boolean): boolean {
  let found = false;
  postorder([root], (node) => {
    found ||= test(node);
  });
  return found;
}
