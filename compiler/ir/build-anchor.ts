/** Constructors of the operators that anchor kernels, and of states' updates. */
import { ceilDiv, int, one } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { broadcastTo, make, reshape } from "./build.js";
import type { DType } from "./dtype.js";
import type { GraphBuilder, Node, Shape } from "./graph.js";
import { broadcastShapes, broadcastsTo } from "./shape.js";

/**
 * NumPy's matmul: leading axes broadcast (by `broadcast` nodes), a vector is a row on the left and a
 * column on the right.
 */
export function matmul(g: GraphBuilder, a: Node, b: Node): Node {
  if (a.shape.length === 1) return dropAxis(g, matmul(g, reshape(g, a, [one, ...a.shape]), b), -2);
  if (b.shape.length === 1) return dropAxis(g, matmul(g, a, reshape(g, b, [...b.shape, one])), -1);
  if (a.shape.length < 2 || b.shape.length < 2) return make(g, "matmul", [a, b], null);
  const names = [a, b].map((x) => g.nameOf(x) ?? x.op).join(", ");
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), `matmul(${names})`);
  const [left, right] = [a, b].map((x) => broadcastTo(g, x, [...batch, ...x.shape.slice(-2)]));
  return make(g, "matmul", [left!, right!], null);
}

function dropAxis(g: GraphBuilder, x: Node, axis: number): Node {
  const at = axis + x.shape.length;
  return reshape(
    g,
    x,
    x.shape.filter((_, i) => i !== at),
  );
}

/** Angles of fewer axes align at the right. */
export function rotary(
  g: GraphBuilder,
  x: Node,
  cos: Node,
  sin: Node,
  interleaved: boolean,
): Node<"rotary"> {
  const align = (angles: Node): Node => {
    const missing = Math.max(0, x.shape.length - angles.shape.length);
    const ones: Shape = Array.from({ length: missing }, () => one);
    return reshape(g, angles, [...ones, ...angles.shape]);
  };
  return make(g, "rotary", [x, align(cos), align(sin)], { interleaved });
}

export interface AttentionOptions {
  readonly scale: number;
  /** Over `param("score", "f32")` and the i64 params b, h, q, k. */
  readonly score: Expr;
  /** Tensors that the score loads: the first is `input3`. */
  readonly loads?: readonly Node[];
}

export function attention(
  g: GraphBuilder,
  q: Node,
  k: Node,
  v: Node,
  { scale, score, loads = [] }: AttentionOptions,
): Node<"attention"> {
  return make(g, "attention", [q, k, v, ...loads], { scale, score });
}

/** The next version of a state: `value` written at positions from `start`. */
export function cacheWrite(
  g: GraphBuilder,
  state: Node,
  value: Node,
  start: Node,
): Node<"cache_write"> {
  return make(g, "cache_write", [state, value, start], null);
}

export interface PagedRows {
  /** i64 [b, s]: the row of the pool for each of the value's, pages counted in rows. */
  readonly slots: Node;
  /** i64 [b]: rows of each sequence that there are; the rest is padding. */
  readonly count: Node;
}

/** The next version of a pool of pages [p, g, n, d]: rows of `value` [b, g, s, d] at their slots. */
export function pagedWrite(
  g: GraphBuilder,
  state: Node,
  value: Node,
  { slots, count }: PagedRows,
): Node<"paged_write"> {
  return make(g, "paged_write", [state, value, slots, count], null);
}

export interface SampleOptions {
  /** [t]: what values are divided by; where it is 0 the largest is taken, without noise. */
  readonly temperature: Node;
  /** i32 [t]: how many of the largest may be chosen; all where it is below 1. */
  readonly count: Node;
  /** [t]: how much of the softmax may be chosen; all from 1 on. */
  readonly mass: Node;
}

/** One of each row of `values` [t, v]: the largest with its noise, from the row's nucleus. */
export function sample(
  g: GraphBuilder,
  values: Node,
  noise: Node,
  { temperature, count, mass }: SampleOptions,
): Node<"sample"> {
  return make(g, "sample", [values, noise, temperature, count, mass], null);
}

export interface DequantizeOptions {
  readonly axis: number;
  /** Elements along `axis` that share a scale. */
  readonly group: number;
  /** The scale's own by default. */
  readonly dtype?: DType;
}

/** A scale of fewer or of shared axes is broadcast. */
export function dequantize(
  g: GraphBuilder,
  x: Node,
  scale: Node,
  { axis, group, dtype = scale.dtype }: DequantizeOptions,
): Node<"dequantize"> {
  const positive = axis < 0 ? axis + x.shape.length : axis;
  const groups = x.shape.map((dim, i) =>
    i === positive && group > 0 ? ceilDiv(dim, int(group)) : dim,
  );
  const each = broadcastsTo(scale.shape, groups) ? broadcastTo(g, scale, groups) : scale;
  return make(g, "dequantize", [x, each], { axis: positive, group }, { dtype });
}
