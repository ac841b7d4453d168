import { describe, expect, it } from "vitest";
import { FarrierError } from "../errors.js";
import { add, constant as literalExpr, int, load, mul, param, sym } from "../scalar/build.js";
import { scalarFunction } from "../scalar/table.js";
import * as b from "./build.js";
import { attention, cacheWrite, dequantize, matmul, pagedWrite, rotary } from "./build-anchor.js";
import { GraphBuilder, type Node } from "./graph.js";
import { printShape } from "./shape.js";
import type { DType } from "./dtype.js";

const batch = sym({ name: "batch", space: "host", min: 1, max: 8, divisor: 1 });
const seq = sym({ name: "seq", space: "host", min: 1, max: 1024, divisor: 1 });

const g = new GraphBuilder();
const x = b.input(g, "x", "f32", [batch, seq, 768]);
const heads = b.input(g, "heads", "f32", [batch, 12, seq, 64]);
const w = b.input(g, "w", "f32", [768, 2304]);
const ids = b.input(g, "ids", "i64", [batch, seq]);
const half = b.input(g, "half", "f16", [batch, seq, 768]);
const mask = b.input(g, "mask", "bool", [batch, 1, seq]);

const typeOf = (node: Node): string => `${node.dtype}${printShape(node.shape)}`;

function errorOf(body: () => unknown): FarrierError {
  try {
    body();
  } catch (error) {
    if (error instanceof FarrierError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("dtype and shape", () => {
  const f = scalarFunction;
  const cases: Record<string, [() => Node, string]> = {
    "map of equal shapes": [() => b.map(g, f("mul"), [x, x]), "f32[batch, seq, 768]"],
    "map with rank 0": [
      () => b.map(g, f("add"), [b.constantScalar(g, "f32", 1), x]),
      "f32[batch, seq, 768]",
    ],
    "map broadcasts": [
      () => b.map(g, f("add"), [b.literal(g, "f32", [1, 1], [3]), x]),
      "f32[batch, seq, 768]",
    ],
    "map of bf16 stays bf16": [() => b.map(g, f("gelu_tanh"), [half]), "f16[batch, seq, 768]"],
    "comparison gives bool": [() => b.map(g, f("lt"), [ids, ids]), "bool[batch, seq]"],
    "select with a condition": [
      () => b.map(g, f("select"), [b.transpose(g, mask, [0, 2, 1]), x, x]),
      "f32[batch, seq, 768]",
    ],
    cast: [() => b.cast(g, x, "bf16"), "bf16[batch, seq, 768]"],
    reshape: [() => b.reshape(g, x, [batch, seq, 12, 64]), "f32[batch, seq, 12, 64]"],
    "reshape to one unknown": [() => b.reshape(g, x, [-1, 768]), "f32[batch*seq, 768]"],
    "reshape of merged axes": [() => b.reshape(g, x, [mul(seq, batch), -1]), "f32[batch*seq, 768]"],
    transpose: [() => b.transpose(g, heads, [0, 2, 1, -1]), "f32[batch, seq, 12, 64]"],
    broadcast: [() => b.broadcastTo(g, mask, [batch, seq, seq]), "bool[batch, seq, seq]"],
    unsqueeze: [() => b.unsqueeze(g, ids, [1, -1]), "i64[batch, 1, seq, 1]"],
    slice: [() => b.slice(g, x, { axis: -1, start: 8, end: 768, step: 2 }), "f32[batch, seq, 380]"],
    "slice of a symbol": [
      () => b.slice(g, x, { axis: 1, start: add(seq, int(-1)), end: seq }),
      "f32[batch, 1, 768]",
    ],
    "slice backwards": [
      () => b.slice(g, w, { axis: 0, start: 767, end: -1, step: -1 }),
      "f32[768, 2304]",
    ],
    split: [() => b.split(g, w, 1, [768, 1536])[1]!, "f32[768, 1536]"],
    "concat of symbols": [() => b.concat(g, [x, x], 1), "f32[batch, 2*seq, 768]"],
    gather: [() => b.gather(g, w, ids), "f32[batch, seq, 2304]"],
    "gather on another axis": [() => b.gather(g, w, ids, 1), "f32[768, batch, seq]"],
    gather_nd: [() => b.gatherNd(g, w, b.literal(g, "i32", [3, 1], [0, 1, 2])), "f32[3, 2304]"],
    reduce: [() => b.reduce(g, "sum", x, [2, 0]), "f32[1, seq, 1]"],
    "reduce without the axes": [
      () => b.reduce(g, "mean", x, [-1], { keep: false }),
      "f32[batch, seq]",
    ],
    cumsum: [() => b.cumsum(g, ids, -1), "i64[batch, seq]"],
    softmax: [() => b.softmax(g, x), "f32[batch, seq, 768]"],
    normalize: [() => b.normalize(g, half, "rms", 1e-6), "f16[batch, seq, 768]"],
    "matmul broadcasts": [() => matmul(g, x, w), "f32[batch, seq, 2304]"],
    "matmul by a vector": [() => matmul(g, x, b.input(g, "v", "f32", [768])), "f32[batch, seq]"],
    "vector by matmul": [() => matmul(g, b.input(g, "v", "f32", [768]), w), "f32[2304]"],
    rotary: [() => rotary(g, heads, angles, angles, false), "f32[batch, 12, seq, 64]"],
    attention: [
      () => attention(g, heads, heads, heads, { scale: 0.125, score }),
      "f32[batch, 12, seq, 64]",
    ],
    dequantize: [
      () => dequantize(g, b.cast(g, w, "i4"), scales, { axis: 0, group: 128 }),
      "f16[768, 2304]",
    ],
    cache_write: [
      () => cacheWrite(g, cache, heads, b.input(g, "start", "i64", [batch])),
      "f32[8, 12, 1024, 64]",
    ],
    paged_write: [
      () => pagedWrite(g, cache, heads, { slots, count: b.input(g, "count", "i64", [batch]) }),
      "f32[8, 12, 1024, 64]",
    ],
    iota: [() => b.iota(g, [seq, 4], 1), "i64[seq, 4]"],
    dim: [() => b.dim(g, mul(seq, int(2))), "i64[]"],
  };
  const angles = b.input(g, "cos", "f32", [seq, 32]);
  const scales = b.input(g, "scales", "f16", [6, 2304]);
  const cache = b.state(g, "k", "f32", [8, 12, 1024, 64]);
  const slots = b.input(g, "slots", "i64", [batch, seq]);
  const score = param("score", "f32");
  it.each(Object.entries(cases))("%s", (_, [make, type]) => {
    expect(typeOf(make())).toBe(type);
  });
});

describe("constraints", () => {
  const f = scalarFunction;
  const wide = b.input(g, "wide", "f32", [3, 4]);
  const five = b.input(g, "five", "f32", [5]);
  const cases: [string, string, () => unknown][] = [
    ["E_BROADCAST", "map", () => b.map(g, f("add"), [wide, five])],
    [
      "E_BROADCAST",
      "unproved dimensions",
      () => b.map(g, f("add"), [x, b.input(g, "y", "f32", [1, 7, 768])]),
    ],
    ["E_BROADCAST", "broadcast to fewer axes", () => b.broadcastTo(g, wide, [4])],
    ["E_DTYPE", "map of two dtypes", () => b.map(g, f("add"), [x, half])],
    ["E_DTYPE", "exp of integers", () => b.map(g, f("exp"), [ids])],
    ["E_DTYPE", "select by a number", () => b.map(g, f("select"), [x, x, x])],
    ["E_DTYPE", "addition of booleans", () => b.map(g, f("add"), [mask, mask])],
    ["E_RESHAPE", "other number of elements", () => b.reshape(g, wide, [5, 2])],
    ["E_RESHAPE", "-1 that does not divide", () => b.reshape(g, wide, [5, -1])],
    ["E_RESHAPE", "-1 twice", () => b.reshape(g, wide, [-1, -1])],
    ["E_RESHAPE", "unproved", () => b.reshape(g, x, [batch, 768, 768])],
    ["E_PERM", "repeated axis", () => b.transpose(g, wide, [0, 0])],
    ["E_PERM", "missing axis", () => b.transpose(g, wide, [0])],
    ["E_AXIS", "softmax", () => b.softmax(g, wide, 2)],
    ["E_AXIS", "gather", () => b.gather(g, wide, ids, -3)],
    ["E_AXIS", "concat", () => b.concat(g, [wide, wide], 2)],
    ["E_AXIS", "iota of rank 0", () => b.iota(g, [], 0)],
    ["E_AXIS", "reduce twice over an axis", () => b.reduce(g, "sum", wide, [0, -2])],
    ["E_SLICE_STEP", "0", () => b.slice(g, wide, { axis: 0, start: 0, end: 3, step: 0 })],
    ["E_SLICE", "past the end", () => b.slice(g, wide, { axis: 0, start: 2, end: 4 })],
    ["E_SLICE", "before the start", () => b.slice(g, wide, { axis: 0, start: -1, end: 2 })],
    ["E_DIM_NEGATIVE", "slice", () => b.slice(g, wide, { axis: 0, start: 2, end: 1 })],
    ["E_SPLIT", "sizes that do not sum", () => b.split(g, wide, 1, [1, 2])],
    ["E_CONCAT", "ranks", () => b.concat(g, [wide, five], 0)],
    ["E_CONCAT", "dimensions", () => b.concat(g, [wide, b.input(g, "z", "f32", [3, 5])], 0)],
    ["E_DTYPE", "concat", () => b.concat(g, [x, half], 0)],
    ["E_DTYPE", "gather by floats", () => b.gather(g, w, x)],
    [
      "E_GATHER",
      "tuples too long",
      () => b.gatherNd(g, wide, b.literal(g, "i64", [1, 3], [0, 0, 0])),
    ],
    ["E_DTYPE", "mean of integers", () => b.reduce(g, "mean", ids, [0])],
    ["E_DTYPE", "softmax of integers", () => b.softmax(g, ids)],
    ["E_NORM", "negative epsilon", () => b.normalize(g, x, "layer", -1)],
    ["E_NORM", "NaN epsilon", () => b.normalize(g, x, "layer", NaN)],
    ["E_MATMUL_SHAPE", "inner dimensions", () => matmul(g, wide, wide)],
    ["E_MATMUL_SHAPE", "rank 0", () => matmul(g, wide, b.constantScalar(g, "f32", 1))],
    ["E_DTYPE", "matmul", () => matmul(g, half, w)],
    ["E_ROPE", "odd", () => rotary(g, b.input(g, "odd", "f32", [4, 3]), wide, wide, false)],
    ["E_ROPE", "angles", () => rotary(g, heads, wide, wide, false)],
    ["E_ATTENTION", "head size", () => attention(g, heads, fewer(32), heads, plain)],
    ["E_ATTENTION", "groups", () => attention(g, heads, fewer(64, 5), fewer(64, 5), plain)],
    ["E_ATTENTION", "score's parameter", () => attend(param("z", "f32"))],
    ["E_ATTENTION", "score's type", () => attend(param("k", "i64"))],
    ["E_ATTENTION", "score's load", () => attend(load("input3", int(0), "f32"))],
    ["E_ATTENTION", "score loads q", () => attend(load("input0", int(0), "f32"))],
    [
      "E_STATE",
      "longer than the cache",
      () =>
        cacheWrite(
          g,
          b.state(g, "s", "f32", [1, 1, 2, 4]),
          b.input(g, "v3", "f32", [1, 1, 3, 4]),
          b.input(g, "at", "i64", [1]),
        ),
    ],
    [
      "E_STATE",
      "other slots than rows",
      () =>
        pagedWrite(g, b.state(g, "p", "f32", [4, 12, 16, 64]), heads, {
          slots: b.input(g, "slots4", "i64", [batch, 4]),
          count: b.input(g, "count4", "i64", [batch]),
        }),
    ],
    [
      "E_STATE",
      "counts of another type",
      () =>
        pagedWrite(g, b.state(g, "p", "f32", [4, 12, 16, 64]), heads, {
          slots: b.input(g, "slots5", "i64", [batch, seq]),
          count: b.input(g, "count5", "i32", [batch]),
        }),
    ],
    ["E_QUANT", "group", () => dequantize(g, wide, five, { axis: 0, group: 0 })],
    ["E_TENSOR_SIZE", "constant", () => b.literal(g, "f32", [3], [1, 2])],
    ["E_TENSOR_SIZE", "packed", () => b.literal(g, "i4", [3], [1])],
    [
      "E_SHAPE_UNBOUNDED",
      "constant",
      () => b.constant(g, { kind: "absent", tensor: "t" }, "f32", [seq]),
    ],
    ["E_LIMIT_RANK", "rank 9", () => b.input(g, "deep", "f32", [1, 1, 1, 1, 1, 1, 1, 1, 1])],
    ["E_DIM_NEGATIVE", "input", () => b.input(g, "neg", "f32", [-2])],
    ["E_DIM", "dim of a load", () => b.dim(g, load("a", int(0), "i64"))],
  ];
  const plain = { scale: 1, score: param("score", "f32") };
  const fewer = (depth: number, groups = 12): Node =>
    b.input(g, `kv${depth}.${groups}`, "f32", [batch, groups, seq, depth]);
  const attend = (score: ReturnType<typeof param>): Node =>
    attention(g, heads, heads, heads, { scale: 1, score });
  it.each(cases)("%s: %s", (code, _, body) => {
    const error = errorOf(body);
    expect(error.message).toContain(code);
    expect(error.code).toBe(code);
  });

  it("names both dimensions and the values", () => {
    const error = errorOf(() => b.map(g, f("add"), [wide, five]));
    expect(error.message).toBe(
      "E_BROADCAST: add(wide, five): [3, 4] and [5] do not broadcast: axis 1 is 4 and 5",
    );
  });

  it("says the place that `at` set", () => {
    const error = errorOf(() => b.at(g, "node 17 (MatMul)", () => matmul(g, wide, wide)));
    expect(error.message).toBe(
      "E_MATMUL_SHAPE: node 17 (MatMul): [3, 4] times [3, 4]: inner dimensions 4 and 3",
    );
    expect(error.exitStatus).toBe(2);
  });
});

describe("sharing", () => {
  it("gives the same node for the same computation", () => {
    expect(matmul(g, x, w)).toBe(matmul(g, x, w));
    expect(b.constantScalar(g, "f32", 1)).toBe(b.constantScalar(g, "f32", 1));
    expect(b.constantScalar(g, "f32", 0)).not.toBe(b.constantScalar(g, "f32", -0));
  });

  it("does not copy what is already so", () => {
    expect(b.cast(g, x, "f32")).toBe(x);
    expect(b.reshape(g, x, [batch, seq, -1])).toBe(x);
    expect(b.transpose(g, x, [0, 1, 2])).toBe(x);
    expect(b.slice(g, x, { axis: 2, start: 0, end: 768 })).toBe(x);
    expect(b.concat(g, [x], 0)).toBe(x);
  });

  it("compares long literals by identity", () => {
    const values = Array.from({ length: 1000 }, (_, i) => i);
    expect(b.literal(g, "f32", [1000], values)).not.toBe(b.literal(g, "f32", [1000], values));
    expect(b.literal(g, "f32", [4], [1, 2, 3, 4])).toBe(b.literal(g, "f32", [4], [1, 2, 3, 4]));
  });
});

describe("literals", () => {
  const round = (dtype: DType, value: number): string =>
    JSON.stringify(b.constantScalar(g, dtype, value).attrs);
  it("round to the dtype", () => {
    expect(round("bf16", 1)).toBe(round("bf16", 1 + 2 ** -10));
    expect(round("f32", 0.1)).toBe(round("f32", Math.fround(0.1)));
    expect(literalExpr(0.1, "f32")).toBe(literalExpr(0.1, "f32"));
  });
});
