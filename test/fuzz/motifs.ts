/** What models are made of, as exporters and frontends write it, to be planted in random graphs. */
import {
  attention,
  cacheWrite,
  matmul,
  pagedWrite,
  rotary,
} from "../../compiler/ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  gather,
  iota,
  literal,
  map,
  normalize,
  reduce,
  reshape,
  slice,
  softmax,
  state,
  transpose,
  unsqueeze,
} from "../../compiler/ir/build.js";
import type { Node } from "../../compiler/ir/graph.js";
import type { Dim } from "../../compiler/ir/shape.js";
import {
  add,
  and,
  cast as castExpr,
  constant,
  int,
  le,
  load,
  lt,
  mul,
  one,
  param,
  select,
  sub,
} from "../../compiler/scalar/build.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { primitive, type PrimitiveName } from "../../compiler/scalar/primitives.js";
import { builtin, type BuiltinName } from "../../compiler/scalar/table.js";
import { mixture } from "./experts.js";
import type { Generator } from "./generator.js";

type Motif = (gen: Generator) => Node | null;

const apply = (gen: Generator, name: PrimitiveName, inputs: readonly Node[]): Node =>
  map(gen.g, primitive(name), inputs);

/** Rows and widths of a block: small, at the edges of tiles. */
interface Block {
  readonly batch: Dim;
  readonly rows: Dim;
  readonly heads: number;
  readonly groups: number;
  readonly depth: number;
  readonly width: number;
}

function blockOf(gen: Generator): Block {
  const { rng } = gen;
  const groups = rng.pick([1, 1, 2, 3]);
  const heads = groups * rng.pick([1, 1, 2]);
  const depth = rng.pick([2, 4, 8, 16, 32]);
  const dynamic = rng.chance(0.4);
  const rows = dynamic ? gen.symbol("seq", rng.pick([5, 16, 17, 33])) : rng.extent(17);
  const batch = dynamic && rng.chance(0.4) ? gen.symbol("batch", 3) : rng.int(1, 2);
  return { batch, rows, heads, groups, depth, width: heads * depth };
}

function rmsNorm(gen: Generator, x: Node, width: number): Node {
  const { g, rng } = gen;
  const scale = gen.leaf(x.dtype, [width], "positive", 0.9);
  if (rng.chance(0.5))
    return apply(gen, "mul", [
      cast(g, normalize(g, cast(g, x, "f32"), "rms", 1e-5), x.dtype),
      scale,
    ]);
  // As exporters spell it.
  const squares = rng.chance(0.5)
    ? apply(gen, "mul", [x, x])
    : apply(gen, "pow", [x, gen.scalar(x.dtype, 2)]);
  const mean = reduce(g, "mean", squares, [-1]);
  const root = map(g, builtin("sqrt"), [apply(gen, "add", [mean, gen.scalar(x.dtype, 0.01)])]);
  const normal = rng.chance(0.5)
    ? apply(gen, "div", [x, root])
    : apply(gen, "mul", [x, map(g, builtin("reciprocal"), [root])]);
  return apply(gen, "mul", rng.chance(0.5) ? [normal, scale] : [scale, normal]);
}

function layerNorm(gen: Generator, x: Node, width: number): Node {
  const { g, rng } = gen;
  let normal: Node;
  if (rng.chance(0.5)) normal = normalize(g, x, "layer", 1e-5);
  else {
    const centred = apply(gen, "sub", [x, reduce(g, "mean", x, [-1])]);
    const variance = reduce(g, "mean", apply(gen, "mul", [centred, centred]), [-1]);
    const shifted = apply(gen, "add", [variance, gen.scalar(x.dtype, 0.01)]);
    normal = apply(gen, "div", [centred, map(g, builtin("sqrt"), [shifted])]);
  }
  const scaled = apply(gen, "mul", [normal, gen.leaf(x.dtype, [width], "positive", 0.9)]);
  return apply(gen, "add", [scaled, gen.leaf(x.dtype, [width], "any", 0.9)]);
}

interface LinearOptions {
  readonly columns: number;
  readonly bias?: boolean;
}

function linear(gen: Generator, x: Node, { columns, bias = false }: LinearOptions): Node {
  const { g, rng } = gen;
  const k = gen.size(x.shape[x.shape.length - 1]!);
  const fan = { weight: k };
  const w = rng.chance(0.5)
    ? gen.leaf(x.dtype, [k, columns], fan, 0.9)
    : transpose(g, gen.leaf(x.dtype, [columns, k], fan, 0.9), [1, 0]);
  const product = matmul(g, x, w);
  return bias ? apply(gen, "add", [product, gen.leaf(x.dtype, [columns], "any", 0.9)]) : product;
}

/** [batch, rows, heads · depth] as [batch, heads, rows, depth]. */
function split(gen: Generator, x: Node, heads: number, depth: number): Node {
  const shape = [...x.shape.slice(0, -1), int(heads), int(depth)];
  return transpose(gen.g, reshape(gen.g, x, shape), [0, 2, 1, 3]);
}

function rotated(gen: Generator, x: Node, rows: Dim, depth: number): Node {
  const { g, rng } = gen;
  const half = depth / 2;
  if (rng.chance(0.6)) {
    const tables = [0, 1].map(() => gen.leaf(x.dtype, [rows, half], "any", 0.3)) as [Node, Node];
    return rotary(g, x, ...tables, rng.chance(0.3));
  }
  const [cos, sin] = [0, 1].map(() => {
    const table = gen.leaf(x.dtype, [rows, half], "any", 0.3);
    return concat(g, [table, table], 1);
  }) as [Node, Node];
  const last = { axis: 3 };
  const turned = concat(
    g,
    [
      apply(gen, "neg", [slice(g, x, { ...last, start: half, end: depth })]),
      slice(g, x, { ...last, start: 0, end: half }),
    ],
    3,
  );
  return apply(gen, "add", [apply(gen, "mul", [x, cos]), apply(gen, "mul", [turned, sin])]);
}

const [score, b, h, q, k] = [
  param("score", "f32"),
  ...["b", "h", "q", "k"].map((name) => param(name, "i64")),
] as [Expr, Expr, Expr, Expr, Expr];
const masked = constant(-Infinity, "f32");

/** A body over positions alone, and what it loads. */
function scoreBody(gen: Generator, rows: Dim): { body: Expr; loads: Node[] } {
  const { rng } = gen;
  const causal = select(le(k, q), score, masked);
  switch (rng.int(0, 5)) {
    case 0:
      return { body: score, loads: [] };
    case 1:
      return { body: causal, loads: [] };
    case 2: {
      const window = and(le(k, q), lt(sub(q, k), int(rng.int(1, 9))));
      return { body: select(window, score, masked), loads: [] };
    }
    case 3: {
      const slope = mul(castExpr(sub(k, q), "f32"), constant(0.125, "f32"));
      return { body: select(le(k, q), add(score, slope), masked), loads: [] };
    }
    case 4: {
      const bias = gen.leaf("f32", [rows, rows], "any", 0.3);
      const at = add(mul(q, bias.shape[1]!), k);
      return { body: add(score, load("input3", at, "f32")), loads: [bias] };
    }
    default: {
      const bias = gen.leaf("f32", [gen.rng.int(8, 9)], "any", 0.3);
      return { body: add(causal, load("input3", h, "f32")), loads: [bias] };
    }
  }
}

interface Heads {
  readonly q: Node;
  readonly k: Node;
  readonly v: Node;
}

/** Spelled as two products and a softmax, with a mask by positions or by a constant. */
function spelledAttention(gen: Generator, { q: queries, k: keys, v }: Heads, depth: number): Node {
  const { g, rng } = gen;
  const scores = matmul(g, queries, transpose(g, keys, [0, 1, 3, 2]));
  const factor = gen.scalar(queries.dtype, 1 / Math.sqrt(depth));
  let body = apply(gen, "mul", [scores, factor]);
  if (rng.chance(0.6)) {
    const visible = apply(gen, "le", [iota(g, body.shape, 3), iota(g, body.shape, 2)]);
    const [open, closed] = [0, -1e9].map((value) => gen.scalar("f32", value)) as [Node, Node];
    const bias = map(g, primitive("select"), [visible, open, closed]);
    if (queries.dtype === "f32") body = apply(gen, "add", [body, bias]);
  }
  return matmul(g, softmax(g, body, 3), v);
}

function attended(gen: Generator, heads: Heads, { depth, rows }: Block): Node {
  const { g, rng } = gen;
  const grouped = heads.q.shape[1] !== heads.k.shape[1];
  if (!grouped && rng.chance(0.4)) return spelledAttention(gen, heads, depth);
  const { body, loads } = scoreBody(gen, rows);
  const scale = 1 / Math.sqrt(depth);
  return attention(g, heads.q, heads.k, heads.v, { scale, score: body, loads });
}

/** RMSNorm, Q K V, rotary embedding, attention, output product, residual. */
function attentionPart(gen: Generator, x: Node, block: Block): Node {
  const { heads, groups, depth, width, rows } = block;
  const { g, rng } = gen;
  const normal = rng.chance(0.7) ? rmsNorm(gen, x, width) : layerNorm(gen, x, width);
  const project = (count: number): Node =>
    linear(gen, normal, { columns: count * depth, bias: rng.chance(0.3) });
  const queries = split(gen, project(heads), heads, depth);
  const keys = split(gen, project(groups), groups, depth);
  const v = split(gen, project(groups), groups, depth);
  const turn = rng.chance(0.7);
  const parts: Heads = {
    q: turn ? rotated(gen, queries, rows, depth) : queries,
    k: turn ? rotated(gen, keys, rows, depth) : keys,
    v,
  };
  const out = attended(gen, parts, block);
  const merged = reshape(g, transpose(g, out, [0, 2, 1, 3]), [...x.shape.slice(0, -1), width]);
  return apply(gen, "add", [x, linear(gen, merged, { columns: width })]);
}

/** Norm, gate and up, product, down, residual; or GELU between two products. */
function feedForward(gen: Generator, x: Node, width: number): Node {
  const { g, rng } = gen;
  const inner = rng.extent(48);
  const gated = rng.chance(0.5);
  const normal = gated ? rmsNorm(gen, x, width) : layerNorm(gen, x, width);
  const activation = rng.pick<BuiltinName>(["silu", "gelu_erf", "gelu_tanh", "relu"]);
  const hidden = map(g, builtin(activation), [
    linear(gen, normal, { columns: inner, bias: !gated }),
  ]);
  const up = gated ? apply(gen, "mul", [hidden, linear(gen, normal, { columns: inner })]) : hidden;
  return apply(gen, "add", [x, linear(gen, up, { columns: width, bias: !gated })]);
}

const stream = (gen: Generator, { batch, rows, width }: Block): Node =>
  gen.leaf(gen.dtype, [batch, rows, width], "any", 0);

const decoder: Motif = (gen) => {
  const block = blockOf(gen);
  const middle = gen.keep(attentionPart(gen, stream(gen, block), block));
  return middle === null ? null : feedForward(gen, middle, block.width);
};

const attentionBlock: Motif = (gen) => {
  const block = blockOf(gen);
  return attentionPart(gen, stream(gen, block), block);
};

const mlp: Motif = (gen) => {
  const { rng } = gen;
  const width = rng.extent(65);
  const rows = rng.chance(0.4) ? gen.symbol("rows", rng.pick([3, 17, 40])) : rng.extent(40);
  const outer = rng.chance(0.4) ? [rng.int(1, 3)] : [];
  return feedForward(gen, gen.leaf(gen.dtype, [...outer, rows, width], "any", 0), width);
};

/** A product whose value a reduction, a residual and another product use. */
const shared: Motif = (gen) => {
  const { g, rng } = gen;
  const width = rng.extent(33);
  const x = gen.leaf(gen.dtype, [rng.extent(33), width], "any", 0);
  const product = gen.keep(linear(gen, x, { columns: width, bias: true }));
  if (product === null) return null;
  gen.keep(reduce(g, "max", product, [rng.int(0, 1)]));
  gen.keep(transpose(g, product, [1, 0]));
  const active = map(g, builtin("silu"), [product]);
  return apply(gen, "add", [active, linear(gen, product, { columns: width })]);
};

/** Keys and values of earlier runs, written and read: what a decode step does. */
const cached: Motif = (gen) => {
  const { g, rng } = gen;
  const [batch, groups, depth] = [rng.int(1, 2), rng.int(1, 2), rng.pick([2, 4, 8])];
  const heads = groups * rng.int(1, 2);
  const length = rng.chance(0.5) ? gen.symbol("seq", 3) : rng.int(1, 3);
  const capacity = rng.pick([16, 17, 24]);
  const start = gen.leaf("i64", [batch], { below: capacity - 3 }, 0);
  const shape = [batch, groups, capacity, depth];
  const versions = ["keys", "values"].map((name) => {
    const value = gen.leaf(gen.dtype, [batch, length, groups, depth], "any", 0);
    const initial = state(g, name, gen.dtype, shape);
    const final = cacheWrite(g, initial, transpose(g, value, [0, 2, 1, 3]), start);
    gen.states.push({ name, initial, final });
    return gen.keep(final);
  });
  const [keys, values] = versions;
  if (keys === null || keys === undefined || values === null || values === undefined) return null;
  const queries = gen.leaf(gen.dtype, [batch, heads, length, depth], "any", 0);
  const position = add(load("input3", b, "i64"), q);
  const body = select(le(k, position), score, masked);
  return attention(g, queries, keys, values, { scale: 0.5, score: body, loads: [start] });
};

/** Rows written to slots of a pool of pages, and rows of it that indices name as keys and values. */
const paged: Motif = (gen) => {
  const { g, rng } = gen;
  const [batch, groups, depth] = [rng.int(1, 2), rng.int(1, 2), rng.pick([2, 8, 16])];
  const heads = groups * rng.int(1, 2);
  const length = rng.chance(0.5) ? gen.symbol("seq", 3) : rng.int(1, 3);
  const [pages, rows] = [rng.int(2, 4), rng.pick([3, 4, 8, 16])];
  // Two rows of one run in one slot would be in no order.
  const apart = rng.shuffle(Array.from({ length: pages * rows }, (_, i) => i)).slice(0, batch * 3);
  const every = literal(g, "i64", [batch, 3], apart);
  const slots = slice(g, every, { axis: 1, start: 0, end: length });
  const count = gen.leaf("i64", [batch], { below: 4 }, 0);
  const places = gen.leaf("i64", [batch, rng.extent(33)], { below: pages * rows }, 0.3);
  const versions = ["pooled keys", "pooled values"].map((name) => {
    const value = gen.leaf(gen.dtype, [batch, length, groups, depth], "any", 0);
    const initial = state(g, name, gen.dtype, [pages, groups, rows, depth]);
    const final = pagedWrite(g, initial, transpose(g, value, [0, 2, 1, 3]), { slots, count });
    gen.states.push({ name, initial, final });
    if (gen.keep(final) === null) return null;
    const each = reshape(g, transpose(g, final, [0, 2, 1, 3]), [pages * rows, groups, depth]);
    return transpose(g, gather(g, each, places), [0, 2, 1, 3]);
  });
  const [keys, values] = versions;
  if (keys === null || keys === undefined || values === null || values === undefined) return null;
  const queries = gen.leaf(gen.dtype, [batch, heads, length, depth], "any", 0);
  const body = rng.chance(0.5) ? score : select(le(k, add(q, int(2))), score, masked);
  return attention(g, queries, keys, values, { scale: 0.5, score: body });
};

/** The rows that ids name, with positions added: how models begin. */
const embedding: Motif = (gen) => {
  const { g, rng } = gen;
  const [vocabulary, width] = [rng.extent(40), rng.extent(33)];
  const rows = rng.chance(0.5) ? gen.symbol("ids", 17) : rng.extent(17);
  const indices = gen.leaf("i64", [2, rows], { below: vocabulary }, 0);
  const table = gen.leaf(gen.dtype, [vocabulary, width], "any", 0.8);
  const rowsOf = gen.keep(gatherRows(gen, table, indices));
  if (rowsOf === null) return null;
  const places = unsqueeze(g, cast(g, iota(g, [rows]), gen.dtype), [1]);
  const scaled = apply(gen, "mul", [places, gen.scalar(gen.dtype, 0.125)]);
  return apply(gen, "add", [rowsOf, broadcastTo(g, scaled, [rows, width])]);
};

function gatherRows(gen: Generator, table: Node, indices: Node): Node {
  const flat = reshape(gen.g, indices, [mul(indices.shape[0]!, indices.shape[1]!)]);
  const rows = gather(gen.g, table, flat);
  return reshape(gen.g, rows, [...indices.shape, table.shape[1] ?? one]);
}

export const motifs: readonly (readonly [weight: number, Motif])[] = [
  [3, decoder],
  [3, attentionBlock],
  [4, mlp],
  [2, shared],
  [2, cached],
  [2, paged],
  [2, embedding],
  [2, mixture],
];
