/** What can be proved about a score body and the key bounds, so that whole tiles need no mask. */
import type { AttentionDesc } from "../../kernel/desc.js";
import { constValue, param } from "../../scalar/build.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { polynomialOf } from "../../scalar/polynomial.js";
import { rangeOf } from "../../scalar/range.js";
import { dependsOn, linearIn } from "../affine.js";

/** How an integer expression changes with a coordinate: 1 never falls, -1 never rises, 0 neither; null unknown. */
export function slope(expr: Expr, along: Expr): 1 | 0 | -1 | null {
  if (!isOp(along, "coord") || !dependsOn(expr, along)) return 0;
  if (expr === along) return 1;
  if (isOp(expr, "add") || isOp(expr, "mul") || isOp(expr, "coord")) return slopeOfSum(expr, along);
  if (isOp(expr, "min") || isOp(expr, "max"))
    return agree(expr.args.map((arg) => slope(arg, along)));
  if (
    isOp(expr, "div") &&
    expr.type === "i64" &&
    rangeOf(expr.args[1]!).min > 0 &&
    !dependsOn(expr.args[1]!, along)
  )
    return slope(expr.args[0]!, along);
  return null;
}

function slopeOfSum(expr: Expr, along: Expr): 1 | 0 | -1 | null {
  const slopes = polynomialOf(expr).map(({ atoms, coefficient }) => {
    const moving = atoms.filter((atom) => dependsOn(atom, along));
    if (moving.length === 0) return 0;
    const steady = atoms.filter((atom) => !moving.includes(atom));
    if (moving.length > 1 || steady.some((atom) => rangeOf(atom).min < 0) || moving[0] === expr)
      return null;
    const inner = slope(moving[0]!, along);
    return inner === null ? null : coefficient < 0 ? (-inner as 1 | 0 | -1) : inner;
  });
  return agree(slopes);
}

function agree(slopes: readonly (1 | 0 | -1 | null)[]): 1 | 0 | -1 | null {
  if (slopes.includes(null) || (slopes.includes(1) && slopes.includes(-1))) return null;
  return slopes.includes(1) ? 1 : slopes.includes(-1) ? -1 : 0;
}

/** A comparison of a mask, and where in a tile it is hardest to meet: at the last or first query and key. */
export interface Condition {
  readonly test: Expr;
  readonly lastQuery: boolean;
  readonly lastKey: boolean;
}

export interface ScoreShape {
  /** The body is the score itself, or minus infinity: it may be applied before scaling. */
  readonly masksOnly: boolean;
  /** Conditions that together prove the body to be the score everywhere in a tile; null: no proof. */
  readonly interior: readonly Condition[] | null;
}

const score = param("score", "f32");

const isMinusInfinity = (expr: Expr): boolean =>
  isOp(expr, "const") && expr.attr.value === -Infinity;

export function scoreShape(desc: AttentionDesc): ScoreShape {
  const conditions = maskConditions(desc.score);
  if (conditions === null || desc.scale <= 0) return { masksOnly: false, interior: null };
  const hardest = conditions.map((test) => hardestCorner(desc, test));
  return {
    masksOnly: true,
    interior: hardest.every((condition) => condition !== null) ? hardest : null,
  };
}

/** The conjuncts under which the body is the score, being minus infinity elsewhere; null: it is more than a mask. */
function maskConditions(body: Expr): Expr[] | null {
  if (body === score) return [];
  if (!isOp(body, "select")) return null;
  const [condition, whenTrue, whenFalse] = body.args as [Expr, Expr, Expr];
  if (dependsOn(condition, score)) return null;
  if (isMinusInfinity(whenFalse)) {
    const rest = maskConditions(whenTrue);
    return rest === null ? null : [...conjuncts(condition), ...rest];
  }
  return null;
}

function conjuncts(condition: Expr): Expr[] {
  return isOp(condition, "and") ? condition.args.flatMap(conjuncts) : [condition];
}

/** A comparison of integers is hardest where its left side is large and its right side small. */
function hardestCorner(desc: AttentionDesc, test: Expr): Condition | null {
  if (!(isOp(test, "lt") || isOp(test, "le")) || test.args[0]!.type !== "i64") return null;
  const [left, right] = test.args as [Expr, Expr];
  if (dependsOn(test, desc.r)) return null;
  const rising = (along: Expr): boolean | null => {
    const [x, y] = [slope(left, along), slope(right, along)];
    if (x === null || y === null) return null;
    const down = y === 0 ? 0 : y === 1 ? -1 : 1;
    return x === 0 || down === 0 || x === down ? x + down > 0 : risingLinear(left, right, along);
  };
  const [query, key] = [rising(desc.q), rising(desc.k)];
  return query === null || key === null ? null : { test, lastQuery: query, lastKey: key };
}

/** Both sides move the same way: the difference decides, if it is linear. */
function risingLinear(left: Expr, right: Expr, along: Expr): boolean | null {
  const [x, y] = [linearIn(left, along), linearIn(right, along)];
  const [a, b] = [
    x === null ? null : constValue(x.stride),
    y === null ? null : constValue(y.stride),
  ];
  return a === null || b === null ? null : a - b > 0;
}
