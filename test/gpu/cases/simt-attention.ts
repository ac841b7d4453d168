/** Cases of the f32 attention: masks, lengths on the device, layouts. */
import type { AttentionDesc } from "../../../compiler/kernel/desc.js";
import {
  add,
  and,
  cast,
  coord,
  div,
  int,
  le,
  load,
  lt,
  max,
  min,
  mod,
  mul,
  param,
  select,
  sub,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import { sm80SimtAttention } from "../../../templates/attention/sm80-simt.js";
import { type Fill, type GpuCase } from "./case.js";

import { casesOf, f32, hash, read, row, size, values, write } from "./simt-parts.js";
import type { CaseOptions } from "./simt-parts.js";

interface AttentionOptions {
  readonly batch: number;
  readonly heads: number;
  readonly repeat: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly width?: number;
  readonly mask?: "none" | "causal" | "cached" | "window" | "tensor" | "nothing";
  readonly configs?: CaseOptions["configs"];
  readonly out?: "f32" | "bf16";
  readonly dtype?: "f32" | "f16" | "bf16";
  /** Keys and values are in pages of so many, which a table names last to first. */
  readonly page?: number;
}

export function attentionCases(o: AttentionOptions): GpuCase[] {
  const [B, Q] = [size("batch", 8), size("queries", 1024)];
  const e0 = o.width ?? o.depth;
  const [G, R, C, D, E] = [int(o.heads), int(o.repeat), int(o.keys), int(o.depth), int(e0)];
  const queries = o.queries === 1 ? int(1) : Q;
  const [b, g, r, q] = [coord("b", B), coord("g", G), coord("r", R), coord("q", queries)];
  const [k, d, e] = [coord("k", C), coord("d", D), coord("e", E)];
  const head = row(g, R, r);
  const H = mul(G, R);
  const at = (last: Expr, width: Expr): Expr => row(row(row(b, queries, q), H, head), width, last);
  const perSequence = Math.ceil(o.keys / (o.page ?? o.keys));
  const inPage = int(o.page ?? o.keys);
  const pages = mul(B, int(perSequence));
  const entry = cast(load("table", row(b, int(perSequence), div(k, inPage)), "i32"), "i64");
  const page = o.page === undefined ? b : max(int(0), min(entry, sub(pages, int(1))));
  const kv = (last: Expr, width: Expr): Expr =>
    row(row(row(page, G, g), inPage, mod(k, inPage)), width, last);
  const held = mul(mul(pages, G), inPage);
  const past = cast(load("past", b, "i32"), "i64");
  const score = param("score", "f32");
  const low = f32(-Infinity);
  const cached = o.mask === "cached";
  const position = cached ? add(past, q) : q;
  const limit = cached ? add(past, queries) : C;
  const until = add(position, int(1));
  const masks: Record<
    NonNullable<AttentionOptions["mask"]>,
    { score: Expr; first: Expr; end: Expr }
  > = {
    none: { score, first: int(0), end: C },
    causal: { score: select(le(k, q), score, low), first: int(0), end: until },
    cached: { score: select(lt(k, until), score, low), first: int(0), end: until },
    window: {
      score: select(and(le(k, q), lt(sub(q, int(5)), k)), score, low),
      first: max(int(0), sub(q, int(4))),
      end: until,
    },
    tensor: {
      score: add(mul(score, f32(0.5)), load("mask", row(q, C, k), "f32")),
      first: int(0),
      end: C,
    },
    nothing: {
      score: select(lt(k, sub(q, int(2))), score, low),
      first: int(0),
      end: max(int(0), sub(q, int(2))),
    },
  };
  const mask = masks[o.mask ?? "none"];
  const { out = "f32", dtype = "f32" } = o;
  const desc: AttentionDesc = {
    family: "attention",
    dtype,
    b,
    g,
    r,
    q,
    k,
    d,
    e,
    extents: { b: B, g: G, r: R, q: queries, k: limit, d: D, e: E },
    label: `b${o.batch} g${o.heads} r${o.repeat} q${o.queries} k${o.keys} d${o.depth} e${e0} ${o.mask ?? "none"} ${dtype === "f32" ? "" : `${dtype} `}${out}${o.page === undefined ? "" : ` page ${o.page}`}`,
    queries: load("q", at(d, D), dtype),
    keys: load("k", kv(d, D), dtype),
    values: load("v", kv(e, E), dtype),
    scale: 1 / Math.sqrt(o.depth),
    score: mask.score,
    bounds: { first: mask.first, end: mask.end },
    operands: [
      read("q", dtype, mul(mul(mul(B, queries), H), D)),
      read("k", dtype, mul(held, D)),
      read("v", dtype, mul(held, E)),
      ...(o.page === undefined ? [] : [read("table", "i32", pages)]),
      ...(cached ? [read("past", "i32", B)] : []),
      ...(o.mask === "tensor" ? [read("mask", "f32", mul(queries, C))] : []),
      write("o", out, mul(mul(mul(B, queries), H), E)),
    ],
    stores: [{ operand: "o", offset: at(e, E), value: param("acc", "f32"), guard: null }],
  };
  const inputs: Record<string, Fill> = {
    q: hash(30, 2),
    k: hash(31, 2),
    v: hash(32),
    past: values(
      Array.from({ length: o.batch }, (_, i) => Math.max(0, o.keys - o.queries - 3 * i)),
    ),
    mask: hash(33, 3),
    table: values(
      Array.from({ length: o.batch * perSequence }, (_, i) => o.batch * perSequence - 1 - i),
    ),
  };
  const used = Object.fromEntries(
    desc.operands
      .filter(({ access }) => access === "read")
      .map(({ name }) => [name, inputs[name]!]),
  );
  const work = o.batch * o.heads * o.repeat * o.queries * o.keys * o.depth;
  return casesOf(sm80SimtAttention, desc, {
    symbols: { batch: o.batch, queries: o.queries },
    inputs: used,
    tolerance: { absolute: 2e-6, relative: out === "f32" ? 1e-5 : 2 ** -7, rms: 1e-5 },
    configs: o.configs ?? "first",
    large: work > 2e6,
  });
}

export const allAttentionCases = (): GpuCase[] =>
  (
    [
      { batch: 2, heads: 2, repeat: 2, queries: 5, keys: 70, depth: 20, configs: "all" },
      {
        batch: 1,
        heads: 1,
        repeat: 1,
        queries: 37,
        keys: 37,
        depth: 32,
        mask: "causal",
        configs: "all",
      },
      {
        batch: 2,
        heads: 1,
        repeat: 3,
        queries: 1,
        keys: 300,
        depth: 64,
        mask: "cached",
        configs: "all",
      },
      { batch: 2, heads: 2, repeat: 2, queries: 7, keys: 50, depth: 16, mask: "cached" },
      { batch: 2, heads: 2, repeat: 2, queries: 7, keys: 50, depth: 16, mask: "cached", page: 16 },
      { batch: 3, heads: 1, repeat: 2, queries: 1, keys: 50, depth: 20, mask: "cached", page: 7 },
      { batch: 1, heads: 2, repeat: 1, queries: 20, keys: 20, depth: 8, mask: "window" },
      {
        batch: 1,
        heads: 1,
        repeat: 2,
        queries: 9,
        keys: 33,
        depth: 12,
        mask: "tensor",
        out: "bf16",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 9, keys: 33, depth: 16, mask: "nothing" },
      { batch: 1, heads: 1, repeat: 1, queries: 3, keys: 5, depth: 6, width: 10 },
      {
        batch: 1,
        heads: 1,
        repeat: 1,
        queries: 3,
        keys: 40,
        depth: 128,
        width: 96,
        configs: "all",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 2, keys: 45, depth: 256, configs: "all" },
      { batch: 1, heads: 1, repeat: 1, queries: 2, keys: 9, depth: 5, width: 33 },
      { batch: 1, heads: 2, repeat: 1, queries: 3, keys: 40, depth: 20, dtype: "bf16" },
      { batch: 1, heads: 1, repeat: 2, queries: 2, keys: 9, depth: 5, width: 7, dtype: "f16" },
      {
        batch: 1,
        heads: 1,
        repeat: 8,
        queries: 1,
        keys: 40,
        depth: 576,
        width: 128,
        mask: "cached",
        configs: "all",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 1, keys: 1, depth: 64, mask: "cached" },
      { batch: 1, heads: 12, repeat: 1, queries: 512, keys: 512, depth: 64, mask: "causal" },
      { batch: 4, heads: 8, repeat: 4, queries: 1, keys: 1000, depth: 128, mask: "cached" },
      { batch: 1, heads: 2, repeat: 4, queries: 128, keys: 300, depth: 128, mask: "cached" },
    ] as AttentionOptions[]
  ).flatMap(attentionCases);
