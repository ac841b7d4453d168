/** What a query sees: as a score body, and as a tensor that is added to the scores. */
import { broadcastTo, cast, concat, constantScalar, iota, reshape } from "../../../ir/build.js";
import { isFloat } from "../../../ir/dtype.js";
import { broadcastCoords, exprType, linearize } from "../../../ir/element.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import * as e from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import type { Call } from "../call.js";
import { dimensions } from "../host-values.js";
import { apply, padRank, scalarLike } from "./common.js";

export interface Masks {
  /** Booleans or floats, of four axes; keys beyond its last axis are not seen. */
  readonly mask: Node | undefined;
  readonly causal: boolean;
  /** Keys that each sequence has: the others are padding. */
  readonly lengths: Node | undefined;
  /** Keys that came before the first query. */
  readonly past: Expr | undefined;
  /** Keys before and after its own place that a query sees; null for all. */
  readonly left: number | null;
  readonly right: number | null;
  readonly softcap: number;
  readonly query: Node;
  readonly key: Node;
}

/** The mask with four axes, if it fits the scores. */
export function maskOf(
  call: Call,
  mask: Node | undefined,
  query: Node,
  key: Node,
): Node | undefined {
  if (mask === undefined) return undefined;
  const wide = padRank(call.g, mask, 4);
  const scores = [...query.shape.slice(0, 3), key.shape[2]!];
  const fits = wide.shape.every(
    (dim, axis) =>
      e.isConst(dim, 1) ||
      dim === scores[axis] ||
      (axis === 3 && call.version >= 24 && e.isConst(e.le(dim, scores[3]!), 1)),
  );
  const typed = mask.dtype === "bool" || isFloat(mask.dtype);
  if (wide.shape.length === 4 && fits && typed) return wide;
  throw call.error("E_ATTENTION", `mask ${printShape(mask.shape)} for ${printShape(scores)}`);
}

const [score, hidden] = [e.param("score", "f32"), e.constant(-Infinity, "f32")];
const [batch, head, query, key] = ["b", "h", "q", "k"].map((name) => e.param(name, "i64")) as [
  Expr,
  Expr,
  Expr,
  Expr,
];

/** The score of a key, with the tensors that it loads. */
export function scoreBody(masks: Masks): { score: Expr; loads: readonly Node[] } {
  const { mask, causal, lengths, past, left, right, softcap } = masks;
  const loads: Node[] = [];
  const loaded = (x: Node, offset: Expr): Expr => {
    loads.push(x);
    return e.load(`input${loads.length + 2}`, offset, x.dtype);
  };
  const cap = e.constant(Math.fround(softcap), "f32");
  let body = softcap === 0 ? score : e.mul(e.unary("tanh", e.div(score, cap)), cap);
  let visible = e.yes;
  const see = (condition: Expr): void => {
    visible = e.and(visible, condition);
  };
  let first = past ?? e.zero;
  if (lengths !== undefined) {
    const length = e.cast(loaded(lengths, batch), "i64");
    see(e.lt(key, length));
    first = e.sub(length, masks.query.shape[2]!);
  }
  const place = e.add(query, first);
  if (causal) see(e.le(key, place));
  if (left !== null) see(e.le(e.sub(place, e.int(left)), key));
  if (right !== null) see(e.le(key, e.add(place, e.int(right))));
  if (mask !== undefined) {
    const offset = linearize(broadcastCoords(mask.shape, [batch, head, query, key]), mask.shape);
    const value = loaded(mask, offset);
    const inside = shorter(masks) ? e.lt(key, mask.shape[3]!) : e.yes;
    const shown = mask.dtype === "bool" ? e.and(inside, value) : inside;
    const added =
      mask.dtype === "bool"
        ? body
        : e.add(body, e.cast(e.cast(value, exprType(mask.dtype)), "f32"));
    body = e.select(shown, added, hidden);
  }
  return { score: e.select(visible, body, hidden), loads };
}

/** Whether the mask ends before the keys. */
const shorter = ({ mask, key: keys }: Masks): boolean =>
  mask !== undefined && mask.shape[3] !== keys.shape[2] && !e.isConst(mask.shape[3]!, 1);

/** What is added to the scores: minus infinity where a key is not seen. Null for nothing. */
export function visibleBias(call: Call, masks: Masks, scores: Node): Node | null {
  const { g } = call;
  const { mask, causal, lengths, past, left, right } = masks;
  const plane = scores.shape;
  const [places, keys] = [iota(g, plane, 2), iota(g, plane, 3)];
  const [none, minus] = [scalarLike(g, scores, 0), scalarLike(g, scores, -Infinity)];
  let bias: Node | null = null;
  const hide = (visible: Node): void => {
    bias = apply(g, "select", visible, bias ?? none, minus);
  };
  if (mask !== undefined) {
    const shown = broadcastTo(g, shorter(masks) ? widened(call, masks, mask) : mask, plane);
    if (mask.dtype === "bool") hide(shown);
    else bias = cast(g, shown, scores.dtype);
  }
  const length = lengths && reshape(g, cast(g, lengths, "i64"), [plane[0]!, 1, 1, 1]);
  if (length !== undefined) hide(apply(g, "lt", keys, length));
  const first =
    length === undefined
      ? dimensions(g, [past ?? e.zero], 0)
      : apply(g, "sub", length, dimensions(g, [plane[2]!], 0));
  const behind = apply(g, "sub", apply(g, "add", places, first), keys);
  const number = (value: number): Node => constantScalar(g, "i64", value);
  if (causal) hide(apply(g, "le", number(0), behind));
  if (left !== null) hide(apply(g, "le", behind, number(left)));
  if (right !== null) hide(apply(g, "le", number(-right), behind));
  return bias;
}

/** The mask up to the last key: what it does not reach is hidden. */
function widened({ g }: Call, { key: keys }: Masks, mask: Node): Node {
  const missing = e.sub(keys.shape[2]!, mask.shape[3]!);
  const shape = mask.shape.map((dim, axis) => (axis === 3 ? missing : dim));
  const filler = constantScalar(g, mask.dtype, mask.dtype === "bool" ? 0 : -Infinity);
  return concat(g, [mask, broadcastTo(g, filler, shape)], 3);
}
