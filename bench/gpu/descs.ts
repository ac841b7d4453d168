/** Kernels of the rows as descs: what the compiler makes of these operators, with literal sizes. */
import type {
  AttentionDesc,
  GemmDesc,
  KernelDesc,
  Operand,
  ReduceDesc,
  Stage,
  Store,
} from "../../compiler/kernel/desc.js";
import { rawName } from "../../compiler/kernel/desc.js";
import {
  add,
  cast,
  constant,
  coord,
  div,
  int,
  le,
  load,
  mul,
  param,
  select,
  sub,
  unary,
  zero,
} from "../../compiler/scalar/build.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import type { AttentionSizes, BlockSizes, GemmSizes } from "./shapes.js";

const f32 = (value: number): Expr => constant(Math.fround(value), "f32");
const single = (value: Expr): Expr => cast(value, "f32");
const accumulator = (index: number): Expr => param(`acc${index}`, "f32");

const operand = (
  name: string,
  elements: number,
  access: Operand["access"] = "read",
  dtype: Operand["dtype"] = "bf16",
): Operand => ({ name, dtype, access, elements: int(elements) });

const stored = (name: string, offset: Expr, value: Expr): Store => ({
  operand: name,
  offset,
  value,
  guard: null,
});

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly group?: 1 | 2;
  /** Names of A, the packed B and the output. */
  readonly names: readonly [string, string, string];
  readonly stages?: readonly Stage[];
  /** Element of A from the stored one, which is of f32 here. */
  readonly element?: (x: Expr) => Expr;
  readonly more?: readonly Operand[];
  /** What is stored, over the output's offset and the column. */
  readonly value: (offset: Expr, column: Expr) => Expr;
  readonly label: string;
}

function product(given: Product): GemmDesc {
  const { m, n, k, group = 1, names, stages = [], element, more = [], value, label } = given;
  const [row, column, depth] = [coord("m", int(m)), coord("n", int(n)), coord("k", int(k))];
  const offset = add(mul(row, int(n)), column);
  const plain = load(names[0], add(mul(row, int(k)), depth), "bf16");
  return {
    family: "gemm",
    operands: [
      operand(names[0], m * k),
      operand(names[1], n * group * k),
      ...more,
      operand(names[2], m * n, "write"),
    ],
    label,
    batch: [],
    batchExtents: [],
    m: row,
    mExtent: int(m),
    n: column,
    nExtent: int(n),
    k: depth,
    kExtent: int(k),
    group,
    dtype: "bf16",
    a: element === undefined ? plain : element(single(plain)),
    stages,
    b: { kind: "packed", operand: names[1] },
    stores: [stored(names[2], offset, value(offset, column))],
  };
}

export const gemmOf = ({ m, n, k }: GemmSizes): GemmDesc =>
  product({ m, n, k, names: ["a", "b", "out"], value: () => accumulator(0), label: "gemm" });

/** Mean (of a layer norm) and reciprocal deviation of a row whose element is `x`. */
function statistics(kind: BlockSizes["kind"], x: Expr, width: number): Stage[] {
  const mean = param("mean", "f32");
  const centred = kind === "gelu" ? sub(x, mean) : x;
  const raw = (name: string): Expr => div(param(rawName(name), "f32"), f32(width));
  const rstd: Stage = {
    name: "rstd",
    kind: "sum",
    body: mul(centred, centred),
    finish: div(f32(1), unary("sqrt", add(raw("rstd"), f32(1e-5)))),
  };
  return kind === "swiglu"
    ? [rstd]
    : [{ name: "mean", kind: "sum", body: x, finish: raw("mean") }, rstd];
}

const normalised = (kind: BlockSizes["kind"], x: Expr): Expr =>
  mul(kind === "gelu" ? sub(x, param("mean", "f32")) : x, param("rstd", "f32"));

const gelu = (x: Expr): Expr =>
  mul(mul(f32(0.5), x), add(f32(1), unary("erf", mul(x, f32(Math.SQRT1_2)))));

const silu = (x: Expr): Expr => div(x, add(f32(1), unary("exp", unary("neg", x))));

/**
 * Where the norm of a block happens: as the first product reads its rows, in that product's stores
 * (of the plain product of the stored rows), or in a kernel of its own.
 */
export type Norm = "prologue" | "deferred" | "separate";

function normKernel({ kind, tokens, d }: BlockSizes): ReduceDesc {
  const [row, column] = [coord("row", int(tokens)), coord("column", int(d))];
  const offset = add(mul(row, int(d)), column);
  const x = single(load("x", offset, "bf16"));
  return {
    family: "reduce",
    operands: [operand("x", tokens * d), operand("normed", tokens * d, "write")],
    label: "norm",
    coords: [row],
    extents: [int(tokens)],
    axis: column,
    axisExtent: int(d),
    stages: statistics(kind, x, d),
    elementStores: [stored("normed", offset, normalised(kind, x))],
    rowStores: [],
  };
}

/**
 * The first product with its activation. The norm's scale and shift stand in the weight and in
 * `shift`, as the compiler folds them; `sums` are the weight's columns, which a deferred mean needs.
 */
function firstProduct(sizes: BlockSizes, norm: Norm): GemmDesc {
  const { kind, tokens, d, h } = sizes;
  const layer = kind === "gelu";
  const group = layer ? 1 : 2;
  const x = single(
    load("x", add(mul(coord("m", int(tokens)), int(d)), coord("k", int(d))), "bf16"),
  );
  const sums = norm === "deferred" && layer ? [operand("sums", h, "read", "f32")] : [];
  const finished = (index: number, column: Expr): Expr => {
    const acc = accumulator(index);
    if (norm !== "deferred") return acc;
    const centred = layer ? sub(acc, mul(param("mean", "f32"), load("sums", column, "f32"))) : acc;
    return mul(centred, param("rstd", "f32"));
  };
  return product({
    m: tokens,
    n: h,
    k: d,
    group,
    names: [norm === "separate" ? "normed" : "x", "w1", "hidden"],
    stages: norm === "separate" ? [] : statistics(kind, x, d),
    ...(norm === "prologue" ? { element: (value: Expr) => normalised(kind, value) } : {}),
    more: [...sums, ...(layer ? [operand("shift", h, "read", "f32")] : [])],
    value: (_, column) =>
      layer
        ? gelu(add(finished(0, column), load("shift", column, "f32")))
        : mul(silu(finished(0, column)), finished(1, column)),
    label: `${kind} first product, norm ${norm}`,
  });
}

const secondProduct = ({ kind, tokens, d, h }: BlockSizes): GemmDesc =>
  product({
    m: tokens,
    n: d,
    k: h,
    names: ["hidden", "w2", "out"],
    more: [operand("x", tokens * d)],
    value: (offset) => add(accumulator(0), single(load("x", offset, "bf16"))),
    label: `${kind} second product`,
  });

export const blockOf = (sizes: BlockSizes, norm: Norm): KernelDesc[] => [
  ...(norm === "separate" ? [normKernel(sizes)] : []),
  firstProduct(sizes, norm),
  secondProduct(sizes),
];

/** Queries and outputs [b, s, h, d]; keys and values [b, g, s, d], as a cache holds them. */
export function attentionOf(sizes: AttentionSizes): AttentionDesc {
  const { batch, queryHeads, keyHeads, queries, keys, depth, causal } = sizes;
  const shared = queryHeads / keyHeads;
  const axis = (name: string, extent: number): Expr =>
    extent === 1 ? zero : coord(name, int(extent));
  const [b, g, r] = [axis("b", batch), axis("g", keyHeads), axis("r", shared)];
  const [q, k] = [axis("q", queries), coord("k", int(keys))];
  const [d, e] = [coord("d", int(depth)), coord("e", int(depth))];
  const head = add(mul(g, int(shared)), r);
  const query = mul(add(mul(add(mul(b, int(queries)), q), int(queryHeads)), head), int(depth));
  const key = mul(add(mul(add(mul(b, int(keyHeads)), g), int(keys)), k), int(depth));
  const position = add(q, int(keys - queries));
  const score = param("score", "f32");
  const rows = batch * queries * queryHeads * depth;
  return {
    family: "attention",
    operands: [
      operand("q", rows),
      operand("k", batch * keyHeads * keys * depth),
      operand("v", batch * keyHeads * keys * depth),
      operand("out", rows, "write"),
    ],
    label: "attention",
    b,
    g,
    r,
    q,
    k,
    d,
    e,
    extents: {
      b: int(batch),
      g: int(keyHeads),
      r: int(shared),
      q: int(queries),
      k: int(keys),
      d: int(depth),
      e: int(depth),
    },
    dtype: "bf16",
    queries: load("q", add(query, d), "bf16"),
    keys: load("k", add(key, d), "bf16"),
    values: load("v", add(key, e), "bf16"),
    scale: 1 / Math.sqrt(depth),
    score: causal ? select(le(k, position), score, f32(-Infinity)) : score,
    bounds: { first: zero, end: causal ? add(position, int(1)) : int(keys) },
    stores: [stored("out", add(query, e), param("acc", "f32"))],
  };
}
