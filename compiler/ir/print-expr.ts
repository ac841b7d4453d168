/** Expressions as infix text: dimensions in the text form of graphs, bodies in `explain`. */
import { isOp, postorder, type BinaryOp, type Expr } from "../scalar/expr.js";
import { polynomialOf, type Monomial } from "../scalar/polynomial.js";

const infix: { readonly [O in BinaryOp]: readonly [symbol: string, precedence: number] | null } = {
  or: ["|", 1],
  xor: ["^", 2],
  and: ["&", 3],
  eq: ["==", 4],
  ne: ["!=", 4],
  lt: ["<", 5],
  le: ["<=", 5],
  shl: ["<<", 6],
  shr: [">>", 6],
  add: ["+", 7],
  sub: ["-", 7],
  mul: ["*", 8],
  div: ["/", 8],
  mod: ["%", 8],
  min: null,
  max: null,
  pow: null,
};

const tight = 10;

/** Longer parts are cut: a body shared many times over has exponentially long infix text. */
const longest = 4096;

interface Piece {
  readonly text: string;
  readonly precedence: number;
}

const atom = (text: string): Piece => ({ text, precedence: tight });
const wrap = (piece: Piece, atLeast: number): string =>
  piece.precedence < atLeast ? `(${piece.text})` : piece.text;

function call(name: string, args: readonly Piece[]): Piece {
  return atom(`${name}(${args.map((arg) => arg.text).join(", ")})`);
}

function literal(expr: Expr<"const">): string {
  const { value } = expr.attr;
  if (expr.type === "bool") return Number(value) === 1 ? "true" : "false";
  const text = Object.is(value, -0) ? "-0" : String(value);
  return Number.isInteger(Number(value)) && expr.type.includes("f") ? `${text}.0` : text;
}

const signOf = (x: Monomial): number => (x.coefficient < 0 ? 1 : 0);
const plainly = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Sums and products of indices in an order of their own, since that of the tree follows the order in
 * which its parts were first made.
 */
function polynomial(expr: Expr, pieces: ReadonlyMap<Expr, Piece>): Piece {
  const terms = polynomialOf(expr).map((monomial) => {
    const factors = monomial.atoms.map((each) => wrap(pieces.get(each)!, 9)).sort(plainly);
    const size = Math.abs(monomial.coefficient);
    const text = [...(size === 1 && factors.length > 0 ? [] : [String(size)]), ...factors];
    return { monomial, text: text.join("*") };
  });
  terms.sort(
    ({ monomial: a, text: x }, { monomial: b, text: y }) =>
      Number(a.atoms.length === 0) - Number(b.atoms.length === 0) ||
      signOf(a) - signOf(b) ||
      b.atoms.length - a.atoms.length ||
      plainly(x, y),
  );
  const [first, ...rest] = terms;
  if (first === undefined) return atom("0");
  const head = `${signOf(first.monomial) === 1 ? "-" : ""}${first.text}`;
  const tail = rest.map(({ monomial, text }) => ` ${"+-"[signOf(monomial)]} ${text}`);
  return {
    text: [head, ...tail].join(""),
    precedence: rest.length > 0 || head !== first.text ? 7 : 8,
  };
}

function pieceOf(expr: Expr, pieces: ReadonlyMap<Expr, Piece>): Piece {
  const args = expr.args.map((arg) => pieces.get(arg)!);
  if (isOp(expr, "const")) return atom(literal(expr));
  if (isOp(expr, "sym") || isOp(expr, "coord") || isOp(expr, "param")) return atom(expr.attr.name);
  if (isOp(expr, "load")) return atom(`${expr.attr.buffer}[${args[0]!.text}]`);
  if (isOp(expr, "cast")) return call(expr.type, args);
  if (isOp(expr, "bitcast")) return call(`bits.${expr.type}`, args);
  if (isOp(expr, "select"))
    return {
      text: `${wrap(args[0]!, 1)} ? ${wrap(args[1]!, 1)} : ${wrap(args[2]!, 0)}`,
      precedence: 0,
    };
  const operator = (infix as Partial<Record<string, readonly [string, number] | null>>)[expr.op];
  const [a, b] = args;
  if (operator === undefined || operator === null || b === undefined) {
    if (expr.op === "neg") return { text: `-${wrap(a!, 9)}`, precedence: 9 };
    if (expr.op === "not") return { text: `!${wrap(a!, 9)}`, precedence: 9 };
    return call(expr.op, args);
  }
  const isIndex = expr.type === "i64" && (isOp(expr, "add") || isOp(expr, "mul"));
  if (isIndex) return polynomial(expr, pieces);
  const [symbol, precedence] = operator;
  return {
    text: `${wrap(a!, precedence)} ${symbol} ${wrap(b, precedence + 1)}`,
    precedence,
  };
}

export function printExpr(root: Expr): string {
  const pieces = new Map<Expr, Piece>();
  postorder([root], (expr) => {
    const piece = pieceOf(expr, pieces);
    pieces.set(expr, piece.text.length > longest ? atom("…") : piece);
  });
  return pieces.get(root)!.text;
}
