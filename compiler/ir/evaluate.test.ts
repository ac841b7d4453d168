import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FarrierError } from "../errors.js";
import { add, constant, int, le, load, mul, param, select, sym } from "../scalar/build.js";
import { scalarFunction } from "../scalar/table.js";
import { evaluateOne, graphOf, random, randomInputs, randomTensor } from "../../test/graphs.js";
import * as b from "./build.js";
import { attention, cacheWrite, dequantize, matmul, rotary } from "./build-anchor.js";
import type { DType } from "./dtype.js";
import { evaluateGraph, type EvaluateGraphOptions } from "./evaluate.js";
import { GraphBuilder, type Node } from "./graph.js";
import { tensor, type TensorValue } from "./tensor.js";

const f = scalarFunction;
const range = (count: number, from = 0): number[] =>
  Array.from({ length: count }, (_, i) => i + from);

/** The values of what `body` builds over one input, which counts from 0. */
function over(
  shape: number[],
  body: (g: GraphBuilder, x: Node) => Node,
  dtype: DType = "f32",
): number[] {
  const g = new GraphBuilder();
  const x = b.input(g, "x", dtype, shape);
  const count = shape.reduce((product, dim) => product * dim, 1);
  const graph = graphOf(g, { out: body(g, x), x });
  return evaluateOne(graph, { x: tensor(dtype, shape, range(count)) });
}

/** The values of what `body` builds over no input. */
function value(body: (g: GraphBuilder) => Node, options: EvaluateGraphOptions = {}): number[] {
  const g = new GraphBuilder();
  return evaluateOne(graphOf(g, { out: body(g) }), {}, options);
}

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof FarrierError) return error.code;
    throw error;
  }
  return "none";
}

describe("movement", () => {
  it.each<[string, number[], (g: GraphBuilder, x: Node) => Node, number[]]>([
    ["transpose", [2, 3], (g, x) => b.transpose(g, x, [1, 0]), [0, 3, 1, 4, 2, 5]],
    ["transpose of three", [2, 1, 3], (g, x) => b.transpose(g, x, [2, 0, 1]), [0, 3, 1, 4, 2, 5]],
    ["reshape", [2, 3], (g, x) => b.reshape(g, x, [3, 2]), range(6)],
    ["broadcast", [2, 1], (g, x) => b.broadcastTo(g, x, [2, 2, 2]), [0, 0, 1, 1, 0, 0, 1, 1]],
    ["broadcast of a scalar", [], (g, x) => b.broadcastTo(g, x, [3]), [0, 0, 0]],
    [
      "slice",
      [2, 4],
      (g, x) => b.slice(g, x, { axis: 1, start: 1, end: 4, step: 2 }),
      [1, 3, 5, 7],
    ],
    [
      "slice backwards",
      [4],
      (g, x) => b.slice(g, x, { axis: 0, start: 3, end: -1, step: -2 }),
      [3, 1],
    ],
    ["empty slice", [4], (g, x) => b.slice(g, x, { axis: 0, start: 2, end: 2 }), []],
    [
      "concat",
      [2, 2],
      (g, x) => b.concat(g, [x, b.transpose(g, x, [1, 0])], 1),
      [0, 1, 0, 2, 2, 3, 1, 3],
    ],
    ["gather", [3, 2], (g, x) => b.gather(g, x, b.literal(g, "i64", [2], [2, 0])), [4, 5, 0, 1]],
    [
      "gather of columns",
      [2, 3],
      (g, x) => b.gather(g, x, b.literal(g, "i8", [2], [2, 0]), 1),
      [2, 0, 5, 3],
    ],
    ["gather by a scalar", [3, 2], (g, x) => b.gather(g, x, b.constantScalar(g, "u64", 1)), [2, 3]],
    [
      "gather_nd",
      [2, 2, 2],
      (g, x) => b.gatherNd(g, x, b.literal(g, "i64", [2, 2], [0, 1, 1, 0])),
      [2, 3, 4, 5],
    ],
    [
      "gather_nd in batches",
      [2, 3],
      (g, x) => b.gatherNd(g, x, b.literal(g, "i64", [2, 2, 1], [0, 2, 1, 1]), 1),
      [0, 2, 4, 4],
    ],
    ["split", [4], (g, x) => b.split(g, x, 0, [1, 3])[1]!, [1, 2, 3]],
  ])("%s", (_, shape, body, expected) => {
    expect(over(shape, body)).toEqual(expected);
    expect(over(shape, body, "i64")).toEqual(expected);
    expect(over(shape, body, "u8")).toEqual(expected);
  });

  it("iota and dim", () => {
    expect(value((g) => b.iota(g, [2, 3], 1))).toEqual([0, 1, 2, 0, 1, 2]);
    expect(value((g) => b.iota(g, [2, 3], 0))).toEqual([0, 0, 0, 1, 1, 1]);
    const n = sym({ name: "n", space: "device", min: 0, max: 9, divisor: 1 });
    const symbols = new Map([["n", 4]]);
    expect(value((g) => b.dim(g, add(mul(n, n), int(1))), { symbols })).toEqual([17]);
  });

  it("refuses indices outside the axis", () => {
    expect(codeOf(() => over([3], (g, x) => b.gather(g, x, b.literal(g, "i64", [1], [3]))))).toBe(
      "E_RT_INDEX",
    );
    expect(codeOf(() => over([3], (g, x) => b.gather(g, x, b.literal(g, "i64", [1], [-1]))))).toBe(
      "E_RT_INDEX",
    );
  });
});

describe("reductions", () => {
  it.each<[string, (g: GraphBuilder, x: Node) => Node, number[]]>([
    ["sum", (g, x) => b.reduce(g, "sum", x, [1]), [3, 12]],
    ["sum of columns", (g, x) => b.reduce(g, "sum", x, [0]), [3, 5, 7]],
    ["sum of all", (g, x) => b.reduce(g, "sum", x, [0, 1], { keep: false }), [15]],
    ["max", (g, x) => b.reduce(g, "max", x, [0]), [3, 4, 5]],
    ["min", (g, x) => b.reduce(g, "min", x, [1]), [0, 3]],
    ["prod", (g, x) => b.reduce(g, "prod", x, [1]), [0, 60]],
    ["cumsum", (g, x) => b.cumsum(g, x, 1), [0, 1, 3, 3, 7, 12]],
    ["cumsum, exclusive", (g, x) => b.cumsum(g, x, 1, { exclusive: true }), [0, 0, 1, 0, 3, 7]],
    ["cumsum, reverse", (g, x) => b.cumsum(g, x, 0, { reverse: true }), [3, 5, 7, 3, 4, 5]],
    ["matmul", (g, x) => matmul(g, x, b.transpose(g, x, [1, 0])), [5, 14, 14, 50]],
  ])("%s", (_, body, expected) => {
    expect(over([2, 3], body)).toEqual(expected);
    expect(over([2, 3], body, "i64")).toEqual(expected);
    expect(over([2, 3], body, "i32")).toEqual(expected);
  });

  it("mean", () => {
    expect(over([2, 4], (g, x) => b.reduce(g, "mean", x, [1]))).toEqual([1.5, 5.5]);
  });

  it("of nothing give the neutral element", () => {
    expect(over([0, 2], (g, x) => b.reduce(g, "sum", x, [0]))).toEqual([0, 0]);
    expect(over([0, 2], (g, x) => b.reduce(g, "max", x, [0]))).toEqual([-Infinity, -Infinity]);
  });

  it("keep NaN", () => {
    const sum = value((g) => b.reduce(g, "max", b.literal(g, "f32", [3], [1, NaN, 2]), [0]));
    expect(sum).toEqual([NaN]);
  });

  it("wrap integers to their width", () => {
    expect(value((g) => b.reduce(g, "sum", b.literal(g, "i8", [2], [100, 100]), [0]))).toEqual([
      -56,
    ]);
    expect(value((g) => b.reduce(g, "prod", b.literal(g, "u8", [2], [16, 17]), [0]))).toEqual([16]);
  });

  it("are exact on 64-bit integers", () => {
    const g = new GraphBuilder();
    const x = b.literal(g, "i64", [2], [2n ** 62n, 1n]);
    const { outputs } = evaluateGraph(graphOf(g, { out: b.reduce(g, "sum", x, [0]) }), new Map());
    expect(outputs.get("out")!.data[0]).toBe(2n ** 62n + 1n);
  });
});

describe("softmax and normalize", () => {
  it("softmax sums to one along its axis, whatever is added", () => {
    const rows = over([3, 4], (g, x) =>
      b.softmax(g, b.map(g, f("add"), [x, b.constantScalar(g, "f32", 1e4)])),
    );
    for (let row = 0; row < 3; row++) {
      const part = rows.slice(row * 4, row * 4 + 4);
      expect(part.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 14);
      expect(part[1]! / part[0]!).toBeCloseTo(Math.E, 12);
    }
    expect(over([2, 2], (g, x) => b.softmax(g, x, 0))[2]).toBeCloseTo(1 / (1 + Math.exp(-2)), 14);
  });

  it("layer: mean 0 and variance 1; rms: mean square 1", () => {
    const layer = over([1, 8], (g, x) => b.normalize(g, x, "layer", 0));
    expect(layer.reduce((sum, x) => sum + x, 0)).toBeCloseTo(0, 12);
    expect(layer.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(8, 12);
    const rms = over([1, 8], (g, x) => b.normalize(g, x, "rms", 0));
    expect(rms.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(8, 12);
    expect(rms[0]).toBe(0);
  });

  it("epsilon is under the root", () => {
    expect(over([1], (g, x) => b.normalize(g, b.map(g, f("add"), [x, x]), "rms", 4))).toEqual([0]);
    expect(value((g) => b.normalize(g, b.literal(g, "f32", [1], [3]), "rms", 7))[0]).toBe(0.75);
  });
});

describe("maps and casts", () => {
  it("broadcast scalars and axes", () => {
    const sum = over([2, 2], (g, x) =>
      b.map(g, f("add"), [
        b.map(g, f("mul"), [x, b.constantScalar(g, "f32", 10)]),
        b.literal(g, "f32", [2], [1, 2]),
      ]),
    );
    expect(sum).toEqual([1, 12, 21, 32]);
  });

  it("integers stay integers, and wrap", () => {
    const pair = (
      dtype: DType,
      name: "add" | "div" | "mul",
      x: number | bigint,
      y: number | bigint,
    ): number =>
      value((g) =>
        b.map(g, f(name), [b.constantScalar(g, dtype, x), b.constantScalar(g, dtype, y)]),
      )[0]!;
    expect(pair("i32", "div", -7, 2)).toBe(-3);
    expect(pair("i32", "mul", 65536, 65536)).toBe(0);
    expect(pair("u8", "add", 200, 100)).toBe(44);
    expect(pair("i64", "div", 7, 0)).toBe(0);
  });

  it("compare and select", () => {
    const clipped = over([4], (g, x) => {
      const two = b.constantScalar(g, "f32", 2);
      return b.map(g, f("select"), [b.map(g, f("lt"), [x, two]), x, two]);
    });
    expect(clipped).toEqual([0, 1, 2, 2]);
    const not = over([2], (g, x) => b.map(g, f("not"), [b.cast(g, x, "bool")]));
    expect(not).toEqual([1, 0]);
  });

  it("u64 beyond 2^63 compares as unsigned", () => {
    const less = value((g) =>
      b.map(g, f("lt"), [b.constantScalar(g, "u64", 1n), b.constantScalar(g, "u64", 2n ** 63n)]),
    );
    expect(less).toEqual([1]);
  });

  it("casts between kinds are exact in both modes", () => {
    for (const mode of ["exact", "strict"] as const) {
      const cast = (from: DType, to: DType, x: number | bigint): number =>
        value((g) => b.cast(g, b.constantScalar(g, from, x), to), { mode })[0]!;
      expect(cast("f32", "i32", -2.7)).toBe(-2);
      expect(cast("f32", "u8", 300)).toBe(255);
      expect(cast("f32", "i64", NaN)).toBe(0);
      expect(cast("i32", "u8", -1)).toBe(255);
      expect(cast("f32", "bool", 0.5)).toBe(1);
      expect(cast("bool", "f16", 1)).toBe(1);
    }
  });

  it("casts between floats round in strict only", () => {
    const cast = (mode: "exact" | "strict"): number =>
      value((g) => b.cast(g, b.constantScalar(g, "f32", 1.001), "bf16"), { mode })[0]!;
    expect(cast("exact")).toBe(Math.fround(1.001));
    expect(cast("strict")).toBe(1);
  });
});

describe("strict rounds each node once to its dtype", () => {
  const third = (dtype: DType, mode: "exact" | "strict"): number =>
    value(
      (g) => b.map(g, f("div"), [b.constantScalar(g, dtype, 1), b.constantScalar(g, dtype, 3)]),
      { mode },
    )[0]!;
  it.each<[DType, number]>([
    ["f32", Math.fround(1 / 3)],
    ["f16", 1365 / 4096],
    ["bf16", 171 / 512],
    ["f64", 1 / 3],
  ])("%s", (dtype, expected) => {
    expect(third(dtype, "strict")).toBe(expected);
    expect(third(dtype, "exact")).toBe(1 / 3);
  });

  it("bf16: a product accumulates wide and rounds once", () => {
    const body = (g: GraphBuilder): Node =>
      matmul(
        g,
        b.literal(g, "bf16", [1, 257], Array(257).fill(1)),
        b.literal(g, "bf16", [257, 1], Array(257).fill(1)),
      );
    expect(value(body, { mode: "strict" })).toEqual([256]);
    expect(value(body)).toEqual([257]);
  });
});

describe("rotary", () => {
  const rotated = (interleaved: boolean): number[] =>
    value((g) => {
      const x = b.literal(g, "f32", [1, 2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
      const cos = b.literal(g, "f32", [2, 2], [1, 0, 0.5, 1]);
      const sin = b.literal(g, "f32", [2, 2], [0, 1, 2, 0]);
      return rotary(g, x, cos, sin, interleaved);
    });
  it("pairs halves", () => {
    expect(rotated(false)).toEqual([1, -4, 3, 2, 2.5 - 14, 6, 3.5 + 10, 8]);
  });
  it("pairs neighbours", () => {
    expect(rotated(true)).toEqual([1, 2, -4, 3, 2.5 - 12, 3 + 10, 7, 8]);
  });
});

describe("attention", () => {
  const next = random(7);
  const [batch, heads, groups, length, keys, depth, width] = [2, 4, 2, 3, 5, 4, 6];
  const q = randomTensor("f64", [batch, heads, length, depth], next);
  const k = randomTensor("f64", [batch, groups, keys, depth], next);
  const v = randomTensor("f64", [batch, groups, keys, width], next);
  const shift = tensor("i64", [batch], [2, 0]);
  const bias = randomTensor("f64", [heads, keys], next);
  const [s, qi, ki] = [param("score", "f32"), param("q", "i64"), param("k", "i64")];
  const masked = constant(-Infinity, "f32");

  /** As its decomposition computes it: products, a mask by select, softmax, product. */
  function decomposed(g: GraphBuilder, x: Node[], mask: Node | null, extra: Node | null): Node {
    const repeat = (kv: Node): Node =>
      b.reshape(
        g,
        b.broadcastTo(g, b.unsqueeze(g, kv, [2]), [
          batch,
          groups,
          heads / groups,
          ...kv.shape.slice(2),
        ]),
        [batch, heads, ...kv.shape.slice(2)],
      );
    let score: Node = matmul(g, x[0]!, b.transpose(g, repeat(x[1]!), [0, 1, 3, 2]));
    score = b.map(g, f("mul"), [score, b.constantScalar(g, "f64", 0.5)]);
    if (extra !== null) score = b.map(g, f("add"), [score, b.unsqueeze(g, extra, [1])]);
    if (mask !== null)
      score = b.map(g, f("select"), [mask, score, b.constantScalar(g, "f64", -Infinity)]);
    return matmul(g, b.softmax(g, score), repeat(x[2]!));
  }

  function difference(build: (g: GraphBuilder, x: Node[]) => [Node, Node]): number {
    const g = new GraphBuilder();
    const values: Record<string, TensorValue> = { q, k, v, shift, bias };
    const x = Object.entries(values).map(([name, t]) => b.input(g, name, t.dtype, t.shape));
    const [fused, plain] = build(g, x);
    const graph = graphOf(g, { fused, plain });
    const inputs = new Map(Object.entries(values));
    const { outputs } = evaluateGraph(graph, inputs);
    const [a, c] = [outputs.get("fused")!.data, outputs.get("plain")!.data].map((d) =>
      Array.from(d, Number),
    );
    expect(a!.length).toBe(batch * heads * length * width);
    return Math.max(...a!.map((each, i) => Math.abs(each - c![i]!)));
  }

  it("is its decomposition", () => {
    const worst = difference((g, x) => [
      attention(g, x[0]!, x[1]!, x[2]!, { scale: 0.5, score: s }),
      decomposed(g, x, null, null),
    ]);
    expect(worst).toBeLessThan(1e-12);
  });

  it("masks by a predicate that loads", () => {
    const worst = difference((g, x) => {
      const visible = le(ki, add(qi, load("input3", param("b", "i64"), "i64")));
      const options = { scale: 0.5, score: select(visible, s, masked), loads: [x[3]!] };
      const shape = [batch, 1, length, keys];
      const last = b.map(g, f("add"), [b.iota(g, shape, 2), b.reshape(g, x[3]!, [batch, 1, 1, 1])]);
      const mask = b.map(g, f("le"), [b.iota(g, shape, 3), last]);
      return [
        attention(g, x[0]!, x[1]!, x[2]!, options),
        decomposed(g, x, b.broadcastTo(g, mask, [batch, heads, length, keys]), null),
      ];
    });
    expect(worst).toBeLessThan(1e-12);
  });

  it("adds a bias per head", () => {
    const worst = difference((g, x) => {
      const offset = add(mul(param("h", "i64"), int(keys)), ki);
      const f32Bias = b.cast(g, x[4]!, "f32");
      const score = add(s, load("input3", offset, "f32"));
      return [
        attention(g, x[0]!, x[1]!, x[2]!, { scale: 0.5, score, loads: [f32Bias] }),
        decomposed(g, x, null, x[4]!),
      ];
    });
    expect(worst).toBeLessThan(1e-12);
  });

  it("gives zeros where all is masked, and ignores what masked keys hold", () => {
    const g = new GraphBuilder();
    const one = b.literal(g, "f32", [1, 1, 2, 1], [1, 1]);
    const rows = b.literal(g, "f32", [1, 1, 2, 1], [3, NaN]);
    const score = select(le(add(ki, int(1)), qi), s, masked);
    const out = attention(g, one, one, rows, { scale: 1, score });
    expect(evaluateOne(graphOf(g, { out }), {})).toEqual([0, 3]);
  });
});

describe("states", () => {
  const g = new GraphBuilder();
  const n = sym({ name: "n", space: "host", min: 1, max: 2, divisor: 1 });
  const cache = b.state(g, "k", "f16", [2, 1, 3, 2]);
  const fresh = b.input(g, "fresh", "f16", [n, 1, 1, 2]);
  const start = b.input(g, "start", "i64", [n]);
  const final = cacheWrite(g, cache, fresh, start);
  const graph = graphOf(g, { out: b.reduce(g, "sum", final, [3]) }, [
    { name: "k", initial: cache, final },
  ]);
  const values = tensor("f16", [2, 1, 1, 2], [1, 2, 3, 4]);

  it("are written in place of each row's start, and persist", () => {
    const first = evaluateGraph(
      graph,
      new Map([
        ["fresh", values],
        ["start", tensor("i64", [2], [0, 2])],
      ]),
    );
    expect(Array.from(first.outputs.get("out")!.data, Number)).toEqual([3, 0, 0, 0, 0, 7]);
    const one = tensor("f16", [1, 1, 1, 2], [8, 8]);
    const inputs = new Map([
      ["fresh", one],
      ["start", tensor("i64", [1], [1])],
    ]);
    const second = evaluateGraph(graph, inputs, { states: first.states });
    expect(Array.from(second.states.get("k")!.data, Number)).toEqual([
      1, 2, 8, 8, 0, 0, 0, 0, 0, 0, 3, 4,
    ]);
  });

  it("refuse positions beyond their capacity", () => {
    const inputs = new Map([
      ["fresh", values],
      ["start", tensor("i64", [2], [0, 3])],
    ]);
    expect(codeOf(() => evaluateGraph(graph, inputs))).toBe("E_RT_INDEX");
  });
});

describe("dequantize", () => {
  it("scales groups", () => {
    const out = value((g) =>
      dequantize(
        g,
        b.literal(g, "i4", [5, 2], [1, -8, 2, 7, 3, 0, 4, 1, 5, -1]),
        b.literal(g, "f16", [3, 1], [1, 10, 100]),
        {
          axis: 0,
          group: 2,
          dtype: "f32",
        },
      ),
    );
    expect(out).toEqual([1, -8, 2, 7, 30, 0, 40, 10, 500, -100]);
  });

  it("of fp8 is its value", () => {
    const out = value((g) =>
      dequantize(g, b.literal(g, "e4m3fn", [2], [448, 0.0625]), b.literal(g, "f32", [1], [0.5]), {
        axis: 0,
        group: 2,
      }),
    );
    expect(out).toEqual([224, 0.03125]);
  });
});

describe("constants and inputs", () => {
  const n = sym({ name: "n", space: "host", min: 2, max: 8, divisor: 2 });
  const g = new GraphBuilder();
  const x = b.input(g, "x", "f32", [n, 2]);
  const y = b.input(g, "y", "f32", [n]);
  const graph = graphOf(g, { x, y });
  const run = (xs: number[], ys: number[], dtype: DType = "f32"): string =>
    codeOf(() =>
      evaluateGraph(
        graph,
        new Map([
          ["x", randomTensor(dtype, xs, random(1))],
          ["y", randomTensor("f32", ys, random(1))],
        ]),
      ),
    );

  it("bind symbols, and say what does not fit", () => {
    expect(run([4, 2], [4])).toBe("none");
    expect(run([4, 2], [2])).toBe("E_SYMBOL_CONFLICT");
    expect(run([10, 2], [10])).toBe("E_RT_PROFILE");
    expect(run([3, 2], [3])).toBe("E_RT_PROFILE");
    expect(run([4, 3], [4])).toBe("E_RT_INPUT");
    expect(run([4], [4])).toBe("E_RT_INPUT");
    expect(run([4, 2], [4], "f16")).toBe("E_RT_INPUT");
    expect(codeOf(() => evaluateGraph(graph, new Map()))).toBe("E_RT_INPUT");
  });

  it("reads constants through the caller", () => {
    const h = new GraphBuilder();
    const w = b.constant(h, { kind: "absent", tensor: "w" }, "f16", [2]);
    const constants = (): Uint8Array => Uint8Array.of(0x00, 0x3c, 0x00, 0xc0);
    expect(evaluateOne(graphOf(h, { w }), {}, { constants })).toEqual([1, -2]);
    expect(codeOf(() => evaluateOne(graphOf(h, { w }), {}))).toBe("E_WEIGHTS");
  });

  it("shows each node once, inputs first", () => {
    const seen: string[] = [];
    const h = new GraphBuilder();
    const e = b.map(h, f("exp"), [b.literal(h, "f32", [1], [0])]);
    evaluateOne(
      graphOf(h, { out: b.map(h, f("add"), [e, e]) }),
      {},
      { onNode: (node) => seen.push(node.op) },
    );
    expect(seen).toEqual(["constant", "map", "map"]);
  });
});

describe("matmul", () => {
  it("equals the plain sum for any shape", () => {
    fc.assert(
      fc.property(fc.nat(9), fc.nat(40), fc.nat(9), fc.integer(), (m, k, n, seed) => {
        const next = random(seed);
        const a = randomTensor("f64", [2, m, k], next);
        const c = randomTensor("f64", [2, k, n], next);
        const g = new GraphBuilder();
        const graph = graphOf(g, {
          out: matmul(g, b.input(g, "a", "f64", a.shape), b.input(g, "c", "f64", c.shape)),
        });
        const out = evaluateOne(graph, { a, c });
        for (let i = 0; i < out.length; i++) {
          const [batch, row, column] = [Math.floor(i / (m * n)), Math.floor(i / n) % m, i % n];
          let total = 0;
          for (let l = 0; l < k; l++)
            total +=
              Number(a.data[(batch * m + row) * k + l]) *
              Number(c.data[(batch * k + l) * n + column]);
          expect(Math.abs(out[i]! - total)).toBeLessThan(1e-12);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("does a layer of GPT-2 small in seconds", () => {
    const g = new GraphBuilder();
    const x = b.input(g, "x", "f32", [128, 768]);
    const graph = graphOf(g, { out: matmul(g, x, b.input(g, "w", "f32", [768, 3072])) });
    const started = performance.now();
    evaluateGraph(graph, randomInputs(graph));
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
