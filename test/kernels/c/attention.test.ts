import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  cast,
  constant,
  coord,
  int,
  le,
  load,
  lt,
  min,
  mul,
  param,
  select,
  sub,
  sym,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import type { AttentionDesc, Operand } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { attentionCpu } from "../../../templates/attention/cpu.js";
import { kernelOf, Kernels, random, relativeRms, runnableIsas, type Symbols } from "./harness.js";
import { reference } from "./reference.js";

type Float = "f32" | "f16" | "bf16";
const size = (name: string): Expr => sym({ name, space: "host", min: 1, max: 4096, divisor: 1 });
const [B, G, R, Q, T] = [size("b"), size("g"), size("r"), size("q"), size("t")];
const cpu = targetNamed("cpu");

interface Case {
  readonly dtype: Float;
  readonly depth: number;
  readonly valueDepth: number;
  /** Keys up to a length that the device knows, and no later than the query. */
  readonly causal: boolean;
}

/** q [b, q, g, r, d] and k, v [b, g, t, d]; queries are the last of the `length[b]` positions. */
function attention({ dtype, depth, valueDepth, causal }: Case): AttentionDesc {
  const [d, e] = [coord("d", int(depth)), coord("e", int(valueDepth))];
  const [b, g, r, q] = [coord("b", B), coord("g", G), coord("r", R), coord("q", Q)];
  const length = load("length", b, "i64");
  const k = coord("k", causal ? min(length, T) : T);
  const nest = (pairs: readonly (readonly [Expr, Expr])[]): Expr =>
    pairs.reduce((offset, [at, extent]) => add(mul(offset, extent), at), int(0));
  const read = (name: string, elements: Expr): Operand => ({
    name,
    dtype,
    access: "read",
    elements,
  });
  const score = param("score", "f32");
  const position = add(sub(length, Q), q);
  const out = nest([
    [b, B],
    [q, Q],
    [g, G],
    [r, R],
    [e, int(valueDepth)],
  ]);
  return {
    family: "attention",
    label: `attention ${dtype} ${depth} ${causal}`,
    operands: [
      read("xq", nest([[mul(mul(B, Q), mul(mul(G, R), int(depth))), int(1)]])),
      read("xk", mul(mul(B, G), mul(T, int(depth)))),
      read("xv", mul(mul(B, G), mul(T, int(valueDepth)))),
      { name: "length", dtype: "i64", access: "read", elements: B },
      { name: "bias", dtype: "f32", access: "read", elements: T },
      {
        name: "y",
        dtype,
        access: "write",
        elements: mul(mul(B, Q), mul(mul(G, R), int(valueDepth))),
      },
    ],
    b,
    g,
    r,
    q,
    k,
    d,
    e,
    extents: {
      b: B,
      g: G,
      r: R,
      q: Q,
      k: k.op === "coord" ? k.args[0]! : T,
      d: int(depth),
      e: int(valueDepth),
    },
    dtype,
    queries: load(
      "xq",
      nest([
        [b, B],
        [q, Q],
        [g, G],
        [r, R],
        [d, int(depth)],
      ]),
      dtype,
    ),
    keys: load(
      "xk",
      nest([
        [b, B],
        [g, G],
        [k, T],
        [d, int(depth)],
      ]),
      dtype,
    ),
    values: load(
      "xv",
      nest([
        [b, B],
        [g, G],
        [k, T],
        [e, int(valueDepth)],
      ]),
      dtype,
    ),
    scale: 1 / Math.sqrt(depth),
    score: causal
      ? select(le(k, position), add(score, load("bias", k, "f32")), constant(-Infinity, "f32"))
      : select(lt(load("bias", k, "f32"), constant(0, "f32")), constant(-Infinity, "f32"), score),
    bounds: { first: int(0), end: causal ? add(position, int(1)) : T },
    stores: [{ operand: "y", offset: out, value: cast(param("acc", "f32"), dtype), guard: null }],
  };
}

const cases: Record<string, Case> = {
  "f32 causal": { dtype: "f32", depth: 64, valueDepth: 64, causal: true },
  "f32 masked, odd depths": { dtype: "f32", depth: 19, valueDepth: 37, causal: false },
  "f32 deep": { dtype: "f32", depth: 576, valueDepth: 512, causal: true },
  "f16 causal": { dtype: "f16", depth: 32, valueDepth: 16, causal: true },
  "bf16 masked": { dtype: "bf16", depth: 128, valueDepth: 128, causal: false },
};
const descs = Object.fromEntries(
  Object.entries(cases).map(([name, each]) => [name, attention(each)]),
);
const texts = Object.fromEntries(
  Object.entries(descs).map(([name, desc]) => [
    name,
    attentionCpu.render(desc, attentionCpu.candidates(desc, cpu)[0]!, cpu),
  ]),
);
const kernels = new Kernels();
beforeAll(() => kernels.compile(Object.values(texts)));
afterAll(() => kernels.remove());

const shapes = [
  { b: 1, g: 1, r: 1, q: 1, t: 1 },
  { b: 2, g: 2, r: 1, q: 1, t: 127 },
  { b: 1, g: 2, r: 3, q: 2, t: 129 },
  { b: 1, g: 1, r: 1, q: 17, t: 17 },
  { b: 2, g: 1, r: 2, q: 31, t: 33 },
  { b: 1, g: 1, r: 1, q: 65, t: 300 },
];

function run(
  name: string,
  symbols: Symbols,
  isa: Parameters<Kernels["run"]>[4],
  edit?: (bias: Float64Array) => void,
) {
  const { dtype, depth, valueDepth } = cases[name]!;
  const { b, g, r, q, t } = symbols as (typeof shapes)[number];
  const bias = random(7, t);
  edit?.(bias);
  const values = {
    xq: kernels.stored(
      dtype,
      random(1, b * q * g * r * depth).map((v) => v * 3),
    ),
    xk: kernels.stored(dtype, random(2, b * g * t * depth)),
    xv: kernels.stored(dtype, random(3, b * g * t * valueDepth)),
    length: Array.from({ length: b }, (_, i) => (i === 0 ? t : Math.max(q, t - 5))),
    bias,
  };
  return { values, ...kernels.run(descs[name]!, texts[name]!, values, symbols, isa) };
}

describe.each(runnableIsas())("attention on %s", (isa) => {
  it.each(Object.keys(cases))("agrees with fp64: %s", (name) => {
    const limit = { f32: 2e-6, f16: 5e-4, bf16: 4e-3 }[cases[name]!.dtype];
    for (const symbols of cases[name]!.depth > 500 ? shapes.slice(0, 5) : shapes) {
      const { values, outputs } = run(name, symbols, { isa, threads: 2 });
      const want = reference(descs[name]!, values, symbols)["y"]!;
      expect(relativeRms(outputs["y"]!, want), JSON.stringify(symbols)).toBeLessThan(limit);
    }
  });

  it("gives zeros for rows that are masked everywhere, and NaN only where a score is NaN", () => {
    const name = "f32 masked, odd depths";
    const masked = run(name, shapes[4]!, { isa }, (bias) => bias.fill(-1));
    expect(masked.outputs["y"]!.every((v) => v === 0)).toBe(true);
    const nan = run("f32 causal", shapes[3]!, { isa }, (bias) => (bias[9] = NaN));
    const rows = Array.from({ length: 17 }, (_, q) =>
      nan.outputs["y"]!.subarray(q * 64, q * 64 + 64),
    );
    expect(rows.map((row) => row.some(Number.isNaN))).toEqual(rows.map((_, q) => q >= 9));
  });

  it("survives scores of any size and gives the same bits in any order", () => {
    const huge = (bias: Float64Array): void =>
      void bias.forEach((v, i) => (bias[i] = v * 1e4 * (i % 7)));
    const one = run("f32 causal", shapes[5]!, { isa }, huge);
    const many = run("f32 causal", shapes[5]!, { isa, threads: 4, backwards: true }, huge);
    expect(many.outputs).toEqual(one.outputs);
    const want = reference(descs["f32 causal"]!, one.values, shapes[5]!)["y"]!;
    expect(relativeRms(one.outputs["y"]!, want)).toBeLessThan(1e-3);
  });
});

it("prints the text of test/golden", async () => {
  await expect(kernelOf(texts["f32 causal"]!)).toMatchFileSnapshot("../../golden/c/attention.c");
});
