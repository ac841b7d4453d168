/** Attention in its several spellings, rotary embedding, and the caches that they read. */
import { attention, matmul, rotary } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  constantScalar,
  gather,
  gatherNd,
  iota,
  reshape,
  slice,
  softmax,
  transpose,
  unsqueeze,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import { constValue, div, int, isConst, mod, mul } from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import { rangeOf } from "../../../scalar/range.js";
import type { Call } from "../call.js";
import { maskOf, scoreBody, visibleBias, type Masks } from "./attention-masks.js";
import { apply, reduceKept, scalarLike, swapLast } from "./common.js";
import { dimensions } from "../host-values.js";

/** [batch, heads, positions, size], and how to get back to the layout that was given. */
interface Heads {
  readonly query: Node;
  readonly key: Node;
  readonly value: Node;
  readonly flat: boolean;
}

const heads = [0, 2, 1, 3];

/** Inputs of rank 3 have their heads side by side in the last axis. */
function headsOf(call: Call): Heads {
  const { g, attrs } = call;
  const [q, k, v] = [call.input(0), call.input(1), call.input(2)];
  const counts = [attrs.int("q_num_heads"), attrs.int("kv_num_heads")];
  const ranks = [q, k, v].map((x) => x.shape.length);
  if (ranks.every((rank) => rank === 4)) return { query: q, key: k, value: v, flat: false };
  const shapes = [q, k, v].map((x) => printShape(x.shape)).join(", ");
  if (!ranks.every((rank) => rank === 3)) throw call.error("E_ATTENTION", shapes);
  const [of, ofKeys] = counts;
  if (of === undefined) throw attrs.missing("q_num_heads");
  if (ofKeys === undefined) throw attrs.missing("kv_num_heads");
  const apart = (x: Node, count: number): Node => {
    const width = x.shape[2]!;
    if (count < 1 || !isConst(mod(width, int(count)), 0))
      throw call.error("E_ATTENTION", `${count} heads of ${printShape(x.shape)}`);
    const size = div(width, int(count));
    return transpose(g, reshape(g, x, [x.shape[0]!, x.shape[1]!, count, size]), heads);
  };
  return { query: apart(q, of), key: apart(k, ofKeys), value: apart(v, ofKeys), flat: true };
}

function joined(call: Call, x: Node): Node {
  const [b, h, s, d] = x.shape as [Expr, Expr, Expr, Expr];
  return reshape(call.g, transpose(call.g, x, heads), [b, s, mul(h, d)]);
}

export function Attention(call: Call): readonly Node[] {
  const { g, attrs, version } = call;
  const { query, key, value, flat } = headsOf(call);
  const [past, pastValue] = [call.optional(4), call.optional(5)];
  const k = past === undefined ? key : concat(g, [past, key], 2);
  const v = pastValue === undefined ? value : concat(g, [pastValue, value], 2);
  const size = call.extent(query.shape[3]!, "a head");
  const scale = attrs.float("scale", 1 / Math.sqrt(size));
  const softcap = attrs.float("softcap", 0);
  const lengths = version >= 24 ? call.optional(6) : undefined;
  checkLengths(call, lengths, k.shape[2]!);
  const masks: Masks = {
    mask: maskOf(call, call.optional(3), query, k),
    causal: attrs.flag("is_causal"),
    lengths,
    past: past?.shape[2],
    left: windowSide(call, "left_window_size"),
    right: windowSide(call, "right_window_size"),
    softcap,
    query,
    key: k,
  };
  attrs.ignore("softmax_precision");
  const mode = attrs.int("qk_matmul_output_mode", 0);
  const y =
    query.dtype === "f64"
      ? spelledOut(call, masks, scale, v)
      : attention(g, query, k, v, { scale, ...scoreBody(masks) });
  const outputs = [flat ? joined(call, y) : y, k, v];
  return call.wants(3) ? [...outputs, productAt(call, masks, scale, mode)] : outputs;
}

/** Lengths that are known: no sequence has more keys than there are. */
function checkLengths(call: Call, lengths: Node | undefined, keys: Expr): void {
  const most = rangeOf(keys).max;
  const values = lengths === undefined ? null : call.host.numbers(lengths);
  const bad = values?.find((value) => value < 0 || value > most);
  if (bad !== undefined)
    throw call.error("E_ATTENTION", `a sequence of ${bad} keys, there are ${most} at most`);
}

/** How far to one side of its place a query sees; null for all the way. */
function windowSide(call: Call, name: string): number | null {
  const size = call.version >= 25 ? call.attrs.int(name, -1) : -1;
  if (size < -1) throw call.attrs.invalid(name, `expected -1 or more, found ${size}`);
  return size === -1 ? null : size;
}

/** In f64, which no kernel of attention computes in. */
function spelledOut(call: Call, masks: Masks, scale: number, value: Node): Node {
  const shares = productAt(call, masks, scale, 3);
  return matmul(call.g, shares, repeatedHeads(call, value, masks.query.shape[1]!));
}

/** What becomes of the product of queries and keys up to a stage: 0 none, 3 softmax. */
function productAt(call: Call, masks: Masks, scale: number, mode: number): Node {
  const { g } = call;
  const { query, key, softcap } = masks;
  if (![0, 1, 2, 3].includes(mode)) throw call.attrs.invalid("qk_matmul_output_mode", `${mode}`);
  const wide = (x: Node): Node => (x.dtype === "f64" ? x : cast(g, x, "f32"));
  const narrow = (x: Node): Node => cast(g, x, query.dtype);
  const keys = repeatedHeads(call, wide(key), query.shape[1]!);
  const plain = matmul(g, wide(query), swapLast(g, keys));
  const product = apply(g, "mul", plain, scalarLike(g, plain, scale));
  if (mode === 0) return narrow(product);
  const capped =
    softcap === 0 ? product : apply(g, "soft_cap", product, scalarLike(g, product, softcap));
  if (mode === 1) return narrow(capped);
  const bias = visibleBias(call, masks, product);
  const biased = bias === null ? capped : apply(g, "add", capped, bias);
  if (mode === 2) return narrow(biased);
  const top = reduceKept(g, "max", biased, [3]);
  const none = apply(g, "eq", top, scalarLike(g, top, -Infinity));
  const shares = softmax(g, biased, -1);
  const nothing = broadcastTo(g, none, shares.shape);
  return narrow(apply(g, "select", nothing, scalarLike(g, shares, 0), shares));
}

/** Each head of keys or values for all the heads of queries that share it. */
export function repeatedHeads(call: Call, x: Node, count: Expr): Node {
  const [b, groups, t, d] = x.shape as [Expr, Expr, Expr, Expr];
  if (groups === count) return x;
  const each = div(count, groups);
  if (mul(each, groups) !== count)
    throw call.error("E_ATTENTION", `${constValue(count)} heads over ${constValue(groups)}`);
  const apart = unsqueeze(call.g, x, [2]);
  return reshape(call.g, broadcastTo(call.g, apart, [b, groups, each, t, d]), [b, count, t, d]);
}

/** Attention whose scores and probabilities go through graphs of the model. */
export function FlexAttention(call: Call): Node {
  const { g, attrs } = call;
  const [q, k, v] = [call.input(0), call.input(1), call.input(2)];
  if ([q, k, v].some((x) => x.shape.length !== 4))
    throw call.error("E_ATTENTION", [q, k, v].map((x) => printShape(x.shape)).join(", "));
  const size = call.extent(q.shape[3]!, "a head");
  const scale = attrs.float("scale", 1 / Math.sqrt(size));
  attrs.ignore("softmax_precision");
  const modified = (name: string, x: Node): Node => {
    if (!attrs.has(name)) return x;
    const [result] = call.runSubgraph(attrs.graph(name), [x]);
    if (result === undefined) throw attrs.invalid(name, "the graph has no outputs");
    return result;
  };
  const [keys, values] = [k, v].map((x) => repeatedHeads(call, x, q.shape[1]!)) as [Node, Node];
  const product = matmul(g, q, swapLast(g, keys));
  const scores = apply(g, "mul", product, scalarLike(g, product, scale));
  const shares = modified("prob_mod", softmax(g, modified("score_mod", scores), -1));
  return matmul(g, shares, values);
}

/** Tables are rows of positions, or what stands at each place already. */
export function RotaryEmbedding(call: Call): Node {
  const { g, attrs } = call;
  const [x, positions] = [call.ranked(call.input(0), 3, 4), call.optional(3)];
  const count = attrs.int("num_heads", 0);
  const flat = x.shape.length === 3;
  if (flat && count < 1) throw attrs.missing("num_heads");
  const [b, s] = x.shape;
  const apart = flat ? reshape(g, x, [b!, s!, count, -1]) : x;
  const size = call.extent(apart.shape[3]!, "a head");
  const rotated = attrs.int("rotary_embedding_dim", 0) || size;
  const table = (index: number): Node => {
    const rows = call.input(index);
    if (positions !== undefined) checkPositions(call, positions, rows);
    const placed = positions === undefined ? rows : gather(g, rows, positions, 0);
    if (placed.shape.length !== 3)
      throw call.error("E_ROPE", `${printShape(rows.shape)} is no table of positions`);
    // The axis of heads is before the positions, or behind them where heads are side by side.
    return unsqueeze(g, placed, [flat ? 2 : 1]);
  };
  const interleaved = attrs.flag("interleaved");
  const part = slice(g, apart, { axis: 3, start: 0, end: rotated });
  const turned = rotary(g, part, table(1), table(2), interleaved);
  if (rotated === size) return reshape(g, turned, x.shape);
  const rest = slice(g, apart, { axis: 3, start: rotated, end: size });
  return reshape(g, concat(g, [turned, rest], 3), x.shape);
}

/** Positions that are known, against the rows of a table. */
function checkPositions(call: Call, positions: Node, table: Node): void {
  const rows = table.shape[0] === undefined ? 0 : rangeOf(table.shape[0]).max;
  const bad = call.host.numbers(positions)?.find((value) => value < 0 || value >= rows);
  if (bad !== undefined)
    throw call.error("E_ROPE", `position ${bad} in a table of ${rows} positions`);
}

/** New rows of a cache at each sequence's own place. */
export function TensorScatter(call: Call): Node {
  const { g, attrs } = call;
  const cache = call.input(0);
  const [update, given] = [call.ranked(call.input(1), cache.shape.length), call.optional(2)];
  const axis = call.axis(attrs.int("axis", -2), cache.shape.length);
  const circular = attrs.choice("mode", ["linear", "circular"], "linear") === "circular";
  if (axis === 0) throw call.error("E_AXIS", "axis 0 is the batch");
  const [batch, capacity] = [cache.shape[0]!, cache.shape[axis]!];
  const starts = given === undefined ? constantScalar(g, "i64", 0) : unsqueeze(g, given, [1]);
  const places = iota(g, [batch, capacity], 1);
  const behind = apply(g, "sub", places, cast(g, starts, "i64"));
  const length = dimensions(g, [capacity], 0);
  const row = circular ? apply(g, "mod", behind, length) : behind;
  const [none, count] = [constantScalar(g, "i64", 0), dimensions(g, [update.shape[axis]!], 0)];
  const fresh = apply(g, "and", apply(g, "ge", row, none), apply(g, "lt", row, count));
  const safe = apply(g, "select", fresh, row, none);
  const order = [
    0,
    axis,
    ...cache.shape
      .map((_, i) => i)
      .slice(1)
      .filter((i) => i !== axis),
  ];
  const picked = gatherNd(g, transpose(g, update, order), unsqueeze(g, safe, [-1]), 1);
  const back = order.map((_, i) => order.indexOf(i));
  const shape = cache.shape.map((dim, i) => (i === 0 || i === axis ? dim : 1));
  const chosen = broadcastTo(g, reshape(g, fresh, shape), cache.shape);
  return apply(g, "select", chosen, transpose(g, picked, back), cache);
}
