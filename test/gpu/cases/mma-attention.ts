/** Cases of the tensor-core attention: head sharing, masks, lengths on the device, layouts. */
import type { AttentionDesc, Operand } from "../../../compiler/kernel/desc.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import {
  add,
  and,
  cast,
  constant,
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
  one,
  param,
  select,
  sub,
  unary,
  zero,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import type { Sm80MmaAttentionConfig } from "../../../templates/attention/sm80-mma-shape.js";
import {
  copyTensors,
  fills,
  roundoff,
  tensorOf,
  untouched,
  type Fill,
  type MmaCase,
} from "./mma-case.js";
import { referenceAttention, sizeOf, type Tensors } from "./mma-reference.js";

export interface AttentionOptions {
  readonly dtype: "f16" | "bf16";
  readonly b?: number;
  readonly g?: number;
  readonly r?: number;
  readonly q: number;
  readonly keys: number;
  readonly d?: number;
  readonly e?: number;
  readonly mask?: "none" | "causal" | "window" | "padding" | "bias" | "softcap" | "nothing";
  /** Lengths of a cache of `keys` in memory; queries are its last. */
  readonly lengths?: readonly number[];
  /** Keys and values are in pages of so many, which a table names in another order. */
  readonly page?: number;
  /** Rows of queries, keys and values that no 16-byte copy can take. */
  readonly shifted?: boolean;
  readonly out?: DType;
  readonly residual?: boolean;
  readonly config?: Sm80MmaAttentionConfig;
}

type Complete = Required<Omit<AttentionOptions, "config" | "lengths" | "page">> & {
  readonly lengths: readonly number[] | null;
  readonly page: number | null;
};

const defaults = {
  b: 1,
  g: 1,
  r: 1,
  d: 64,
  mask: "none",
  shifted: false,
  out: "f32",
  residual: false,
  lengths: null,
  page: null,
} as const;

const complete = (options: AttentionOptions): Complete => ({
  ...defaults,
  e: options.d ?? defaults.d,
  ...options,
});

const single = (value: Expr): Expr => cast(value, "f32");
const f32 = (value: number): Expr => constant(value, "f32");
const axis = (name: string, extent: number): Expr =>
  extent === 1 ? zero : coord(name, int(extent));

const tableWidth = ({ keys, page }: Complete): number => Math.ceil(keys / page!);

/** The page that key `k` of sequence `b` is in. */
function pageOf(o: Complete, b: Expr, k: Expr): Expr {
  const width = tableWidth(o);
  const entry = load("table", add(mul(b, int(width)), div(k, int(o.page!))), "i32");
  return max(zero, min(cast(entry, "i64"), int(o.b * width - 1)));
}

/** Every page once, in no order; where a sequence has no key, none. */
function pageNumber(o: Complete, index: number): number {
  const width = tableWidth(o);
  const { [Math.floor(index / width)]: length = o.keys } = o.lengths ?? [];
  if ((index % width) * o.page! >= length) return -1;
  const count = o.b * width;
  const step = [7, 5, 3, 2].find((each) => count % each !== 0) ?? 1;
  return (index * step + 1) % count;
}

interface Coordinates {
  readonly b: Expr;
  readonly g: Expr;
  readonly r: Expr;
  readonly q: Expr;
  readonly k: Expr;
  /** Keys in use, and the position of a query among them. */
  readonly length: Expr;
  readonly position: Expr;
}

function scoreOf(o: Complete, c: Coordinates): { score: Expr; first: Expr; end: Expr } {
  const score = param("score", "f32");
  const masked = f32(-Infinity);
  const next = add(c.position, one);
  const causal = le(c.k, c.position);
  const h = add(mul(c.g, int(o.r)), c.r);
  switch (o.mask) {
    case "none":
      return { score, first: zero, end: c.length };
    case "causal":
      return { score: select(causal, score, masked), first: zero, end: next };
    case "window": {
      const first = max(zero, sub(c.position, int(19)));
      const inside = and(causal, lt(sub(c.position, int(20)), c.k));
      return { score: select(inside, score, masked), first, end: min(next, c.length) };
    }
    case "padding": {
      const kept = load("padding", add(mul(c.b, int(o.keys)), c.k), "bool");
      return { score: select(kept, score, masked), first: zero, end: c.length };
    }
    case "bias": {
      const bias = load("bias", add(mul(add(mul(h, int(o.q)), c.q), int(o.keys)), c.k), o.dtype);
      return { score: select(causal, add(score, single(bias)), masked), first: zero, end: next };
    }
    case "softcap":
      return {
        score: select(causal, mul(f32(5), unary("tanh", div(score, f32(5)))), masked),
        first: zero,
        end: next,
      };
    case "nothing":
      return {
        score: select(lt(c.k, sub(c.position, int(7))), score, masked),
        first: zero,
        end: sub(c.position, int(7)),
      };
  }
}

export function attentionDesc(options: AttentionOptions): AttentionDesc {
  const o = complete(options);
  const [b, g, r, q] = [axis("b", o.b), axis("g", o.g), axis("r", o.r), axis("q", o.q)];
  const length = o.lengths === null ? int(o.keys) : cast(load("lengths", b, "i64"), "i64");
  const k = coord("k", int(o.keys));
  const [d, e] = [coord("d", int(o.d)), coord("e", int(o.e))];
  const position = add(q, sub(length, int(o.q)));
  const { score, first, end } = scoreOf(o, { b, g, r, q, k, length, position });
  const shift = o.shifted ? 1 : 0;
  const heads = o.g * o.r;
  const h = add(mul(g, int(o.r)), r);
  // Queries [b, s, h, d], keys and values [b, g, s, d].
  const query = (width: number): Expr =>
    mul(add(mul(add(mul(b, int(o.q)), q), int(heads)), h), int(width));
  const rows = o.page ?? o.keys;
  const pages = o.page === null ? o.b : o.b * tableWidth(o);
  const page = o.page === null ? b : pageOf(o, b, k);
  const key = (width: number): Expr =>
    mul(add(mul(add(mul(page, int(o.g)), g), int(rows)), mod(k, int(rows))), int(width));
  const stored = pages * o.g * rows;
  const operands: Operand[] = [
    { name: "q", dtype: o.dtype, access: "read", elements: int(o.b * o.q * heads * o.d + shift) },
    { name: "k", dtype: o.dtype, access: "read", elements: int(stored * o.d + shift) },
    { name: "v", dtype: o.dtype, access: "read", elements: int(stored * o.e + shift) },
  ];
  if (o.page !== null)
    operands.push({ name: "table", dtype: "i32", access: "read", elements: int(pages) });
  if (o.lengths !== null)
    operands.push({ name: "lengths", dtype: "i64", access: "read", elements: int(o.b) });
  if (o.mask === "padding")
    operands.push({ name: "padding", dtype: "bool", access: "read", elements: int(o.b * o.keys) });
  if (o.mask === "bias")
    operands.push({
      name: "bias",
      dtype: o.dtype,
      access: "read",
      elements: int(heads * o.q * o.keys),
    });
  const outputs = int(o.b * o.q * heads * o.e);
  if (o.residual)
    operands.push({ name: "residual", dtype: o.dtype, access: "read", elements: outputs });
  operands.push({ name: "out", dtype: o.out, access: "write", elements: outputs });
  const at = add(query(o.e), e);
  const acc = param("acc", "f32");
  const value = o.residual ? add(acc, single(load("residual", at, o.dtype))) : acc;
  return {
    family: "attention",
    operands,
    label: describe(options),
    b,
    g,
    r,
    q,
    k,
    d,
    e,
    extents: {
      b: int(o.b),
      g: int(o.g),
      r: int(o.r),
      q: int(o.q),
      k: length,
      d: int(o.d),
      e: int(o.e),
    },
    dtype: o.dtype,
    queries: load("q", add(add(query(o.d), d), int(shift)), o.dtype),
    keys: load("k", add(add(key(o.d), d), int(shift)), o.dtype),
    values: load("v", add(add(key(o.e), e), int(shift)), o.dtype),
    scale: 1 / Math.sqrt(o.d),
    score,
    bounds: { first, end },
    stores: [{ operand: "out", offset: at, value, guard: null }],
  };
}

function describe({ config, dtype, ...rest }: AttentionOptions): string {
  const tags = Object.entries(rest).map(([key, value]) => `${key}=${String(value)}`);
  const tile =
    config === undefined
      ? []
      : [
          `tile=${config.tilesM}x${config.warpsM}x${config.warpsK}x${config.bn}`,
          `stages=${config.stages}`,
          config.keepQueries ? "kept" : "reread",
        ];
  return ["attention", dtype, ...tags, ...tile].join(" ");
}

export function attentionCase(
  options: AttentionOptions,
): MmaCase<AttentionDesc, Sm80MmaAttentionConfig> {
  const o = complete(options);
  const desc = attentionDesc(options);
  const tensors: Tensors = new Map();
  const fillOf = ({ name, access }: Operand): Fill => {
    if (access === "write") return () => untouched;
    if (name === "table") return (i) => pageNumber(o, i);
    if (name === "lengths") return (i) => o.lengths![i]!;
    if (name === "padding") return (i) => (i % 3 === 1 || i % 7 === 2 ? 0 : 1);
    return name === "q" ? (_, random) => 3 * random() : fills.unit;
  };
  desc.operands.forEach((operand, index) => {
    tensors.set(
      operand.name,
      tensorOf(operand, sizeOf(operand.elements, {}), fillOf(operand), index + 1),
    );
  });
  const expected = copyTensors(tensors);
  referenceAttention(desc, expected, {});
  const tolerance = Math.max(roundoff[o.out]!, roundoff[o.dtype]! / 2) * 4;
  return {
    name: desc.label,
    desc,
    config: options.config ?? null,
    symbols: {},
    tensors,
    expected,
    tolerance,
  };
}
