/** What a query sees: as a score body, and as a tensor that is added to the scores. */
import { broadcastTo, cast, constantScalar, iota, reshape } from "../../../ir/build.js";
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
  const { mask, causal, lengths, past, softcap } = masks;
  const loads: Node[] = [];
  const loaded = (x: Node, offset: Expr): Expr => {
    loads.push(x);
    return e.load(`input${loads.length + 2}`, offset, x.dtype);
  };
  const cap = e.constant(Math.fround(softcap), "f32");
  let body = softcap === 0 ? score : e.mul(e.unary("tanh", e.div(score, cap)), cap);
  let visible = e.yes;
  if (lengths !== undefined) {
    const length = e.cast(loaded(lengths, batch), "i64");
    visible = e.lt(key, length);
    const first = e.sub(length, masks.query.shape[2]!);
    if (causal) visible = e.and(visible, e.le(key, e.add(query, first)));
  } else if (causal) visible = e.le(key, past === undefined ? query : e.add(query, past));
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
  const { mask, causal, lengths, past } = masks;
  const plane = scores.shape;
  const [places, keys] = [iota(g, plane, 2), iota(g, plane, 3)];
  const [none, minus] = [scalarLike(g, scores, 0), scalarLike(g, scores, -Infinity)];
  let bias: Node | null = null;
  const hide = (visible: Node): void => {
    bias = apply(g, "select", visible, bias ?? none, minus);
  };
  if (mask !== undefined) {
    if (shorter(masks))
      throw call.unsupported("the scores of a mask that is shorter than the keys");
    const shown = broadcastTo(g, mask, plane);
    if (mask.dtype === "bool") hide(shown);
    else bias = cast(g, shown, scores.dtype);
  }
  const length = lengths && reshape(g, cast(g, lengths, "i64"), [plane[0]!, 1, 1, 1]);
  if (length !== undefined) hide(apply(g, "lt", keys, length));
  if (causal) {
    const first =
      length === undefined
        ? past === undefined
          ? constantScalar(g, "i64", 0)
          : dimensions(g, [past], 0)
        : apply(g, "sub", length, dimensions(g, [plane[2]!], 0));
    hide(apply(g, "le", keys, apply(g, "add", places, first)));
  }
  return bias;
}
