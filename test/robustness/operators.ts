/** Rows 36 to 62: what an ONNX operator is given, and how large it may grow. */
import { expect } from "vitest";
import {
  attr,
  bytesField,
  f32Tensor,
  i64Tensor,
  node,
  zeroTensor,
  type NodeSpec,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import {
  call,
  inner,
  levels,
  owning,
} from "../../compiler/frontend/onnx/wire/functions.testing.js";
import { type Case, each, graph, graphOf, input, ints, negated, onnx, output } from "./case.js";

const weights = [f32Tensor("w", [4, 3], new Array<number>(12).fill(1))];
const image = f32Tensor("w", [1, 2, 3, 3], new Array<number>(18).fill(1));
const hidden = f32Tensor("h", [1, 2, 12], new Array<number>(24).fill(1));
const scale3 = f32Tensor("s", [3], [1, 2, 3]);
const scalar = (name: string, value: number | bigint): TensorSpec => i64Tensor(name, [], [value]);
const f32 = (name: string, ...values: readonly number[]): TensorSpec =>
  f32Tensor(name, [values.length], values);

const layerNorm = (attrs: Parameters<typeof node>[3] = {}) => [
  node("LayerNormalization", ["x", "s"], ["y"], attrs),
];

const attention = (
  what: string,
  shapes: Readonly<Record<"q" | "k" | "v", readonly number[]>>,
  attrs: Parameters<typeof node>[3] = {},
): Case =>
  graph(
    45,
    "E_ATTENTION",
    what,
    [node("Attention", ["q", "k", "v"], ["y"], attrs)],
    Object.entries(shapes).map(([name, dims]) => zeroTensor(name, "f32", dims)),
  );

const loop = (trips: bigint): readonly [NodeSpec[], TensorSpec[]] => [
  [
    node("Loop", ["n", ""], [], {
      body: attr.graph({
        inputs: [{ name: "i" }, { name: "c" }],
        outputs: [{ name: "d" }],
        nodes: [node("Identity", ["c"], ["d"])],
      }),
    }),
    negated,
  ],
  [scalar("n", trips)],
];

const doubling = Array.from({ length: 12 }, (_, i) => i);

const special = [NaN, Infinity, 1, 2, -Infinity, NaN];
const large = Array.from({ length: 192 }, (_, i) => (i < 6 ? special[i]! : 0.5));

const shapesOf: readonly Case[] = [
  graph(
    36,
    "E_MATMUL_SHAPE",
    "inner sizes that differ",
    [node("MatMul", ["x", "w"], ["y"])],
    weights,
    /3.*4/,
  ),
  graph(
    36,
    "E_MATMUL_SHAPE",
    "a bias of another shape",
    [node("Gemm", ["x", "w", "w"], ["y"], { transB: attr.int(1) })],
    weights,
  ),
  graph(
    37,
    "E_SLICE_STEP",
    "a step of 0",
    [node("Slice", ["x", "a", "b", "a", "a"], ["y"])],
    [ints("a", 0), ints("b", 1)],
  ),
  graph(
    37,
    "ok",
    "bounds of -2^63 and 2^63 - 1",
    [node("Slice", ["x", "a", "b"], ["z"]), node("Neg", ["z"], ["y"])],
    [ints("a", -(2n ** 63n)), ints("b", 2n ** 63n - 1n)],
  ),
  graph(
    38,
    "E_CONCAT",
    "ranks that differ",
    [node("Concat", ["x", "s"], ["y"], { axis: attr.int(0) })],
    [scale3],
  ),
  graph(
    39,
    "E_SPLIT",
    "sizes that do not sum",
    [node("Split", ["x", "s"], ["y", "z"])],
    [ints("s", 1, 2)],
  ),
  graph(
    40,
    "E_PAD",
    "padding to less than nothing",
    [node("Pad", ["x", "p"], ["y"])],
    [ints("p", -3, 0, 0, 0)],
  ),
  ...each([4n, -1n, 2n ** 63n - 1n], (k) =>
    graph(
      41,
      "E_TOPK",
      `the ${k} largest of 3`,
      [node("TopK", ["x", "k"], ["y", "i"])],
      [ints("k", k)],
    ),
  ),
  ...each(
    ["ij->ik", "i->i", "i$->i", "ij->ii", "ij,jk->ik", "->->", "i j k", "..ij->ij"],
    (equation) =>
      graph(42, "E_EINSUM", `the equation ${equation}`, [
        node("Einsum", ["x"], ["y"], { equation: attr.string(equation) }),
      ]),
  ),
  graph(
    43,
    "E_CONV",
    "groups that do not divide",
    [node("Conv", ["w", "w"], ["y"], { group: attr.int(3) })],
    [image],
  ),
  graph(
    43,
    "E_CONV",
    "a kernel larger than the padded image",
    [node("Conv", ["w", "k"], ["y"])],
    [image, zeroTensor("k", "f32", [1, 2, 5, 5])],
  ),
  graph(
    43,
    "E_CONV",
    "a window larger than the image",
    [node("MaxPool", ["w"], ["y"], { kernel_shape: attr.ints([5, 5]) })],
    [image],
  ),
  graph(
    44,
    "E_NORM",
    "a scale of another shape",
    [node("LayerNormalization", ["x", "w"], ["y"])],
    weights,
  ),
  graph(44, "E_NORM", "an epsilon below 0", layerNorm({ epsilon: attr.float(-1) }), [scale3]),
  graph(44, "E_NORM", "an epsilon that is NaN", layerNorm({ epsilon: attr.float(NaN) }), [scale3]),
  graph(44, "E_AXIS", "an axis out of range", layerNorm({ axis: attr.int(2) }), [scale3]),
  attention("heads of queries that are no multiple", {
    q: [1, 3, 2, 4],
    k: [1, 2, 2, 4],
    v: [1, 2, 2, 4],
  }),
  attention("heads of another size", { q: [1, 2, 2, 4], k: [1, 2, 2, 6], v: [1, 2, 2, 6] }),
  attention(
    "heads that do not divide the width",
    { q: [1, 2, 12], k: [1, 2, 12], v: [1, 2, 12] },
    {
      q_num_heads: attr.int(5),
      kv_num_heads: attr.int(5),
    },
  ),
  graph(
    45,
    "E_ATTENTION",
    "more past than the cache holds",
    [node("Attention", ["q", "q", "q", "", "", "", "n"], ["y"])],
    [zeroTensor("q", "f32", [1, 2, 4, 4]), ints("n", 5)],
    /5.*4/,
  ),
  graph(
    46,
    "E_ROPE",
    "a head of odd size",
    [node("RotaryEmbedding", ["h", "c", "c"], ["y"], { num_heads: attr.int(4) })],
    [hidden, f32Tensor("c", [1, 2, 1], [1, 1])],
  ),
  graph(
    46,
    "E_ROPE",
    "a table of two positions, and position 2",
    [node("RotaryEmbedding", ["q", "c", "c", "p"], ["y"])],
    [
      zeroTensor("q", "f32", [1, 2, 3, 4]),
      zeroTensor("c", "f32", [2, 2]),
      i64Tensor("p", [1, 3], [0, 1, 2]),
    ],
    /2/,
  ),
  ...each([0, -1, NaN], (value) =>
    graph(
      47,
      "E_QUANT",
      `a scale of ${value}`,
      [node("QuantizeLinear", ["x", "s"], ["y"])],
      [f32Tensor("s", [], [value])],
    ),
  ),
  graph(
    47,
    "E_QUANT",
    "a zero point of another type",
    [node("DequantizeLinear", ["q", "s", "z"], ["y"])],
    [zeroTensor("q", "u8", [4]), f32Tensor("s", [], [1]), zeroTensor("z", "i8", [])],
  ),
  graph(
    47,
    "E_QUANT",
    "blocks that do not divide",
    [node("DequantizeLinear", ["q", "s"], ["y"], { axis: attr.int(1), block_size: attr.int(3) })],
    [zeroTensor("q", "i8", [2, 8]), f32Tensor("s", [2, 2], [1, 1, 1, 1])],
  ),
];

const values: readonly Case[] = [
  ...each([2, -3], (index) =>
    graph(
      48,
      "E_INDEX",
      `a gather at ${index} of 2`,
      [node("Gather", ["x", "i"], ["y"])],
      [ints("i", index)],
    ),
  ),
  graph(
    48,
    "E_INDEX",
    "a scatter at 2 of 2",
    [node("ScatterND", ["x", "i", "u"], ["y"])],
    [i64Tensor("i", [1, 1], [2]), f32Tensor("u", [1, 3], [1, 2, 3])],
  ),
  graph(
    50,
    "E_LIMIT_CONST",
    "ConstantOfShape of 2^60",
    [node("ConstantOfShape", ["s"], ["y"])],
    [ints("s", 2n ** 60n)],
  ),
  graph(
    50,
    "E_LIMIT_CONST",
    "Expand to 2^60",
    [node("Expand", ["x", "s"], ["y"])],
    [ints("s", 2n ** 58n, 1, 1)],
  ),
  graph(
    50,
    "E_LIMIT_CONST",
    "Tile to 2^60",
    [node("Tile", ["x", "s"], ["y"])],
    [ints("s", 2n ** 30n, 2n ** 30n)],
  ),
  graph(
    50,
    "E_LIMIT_CONST",
    "Range to 2^60",
    [node("Range", ["a", "b", "c"], ["y"])],
    [scalar("a", 0), scalar("b", 2n ** 60n), scalar("c", 1)],
  ),
  graph(51, "E_LIMIT_FOLD", "2^63 - 1 rounds of a loop", ...loop(2n ** 63n - 1n)),
  graph(
    54,
    "ok",
    "1,000 operators in a row",
    Array.from({ length: 1000 }, (_, i) =>
      node("Tanh", [i === 0 ? "x" : `v${i}`], [i === 999 ? "y" : `v${i + 1}`]),
    ),
  ),
  onnx(54, "ok", "reads that double 12 times", {
    graph: {
      inputs: [
        { name: "v0", type: "i64", shape: [16] },
        ...doubling.map((i) => ({ name: `at${i}`, type: "i64", shape: [16] }) as const),
      ],
      outputs: [{ name: `v${doubling.length}` }],
      nodes: doubling.flatMap((i) => [
        node("Gather", [`v${i}`, `at${i}`], [`g${i}`]),
        node("Add", [`v${i}`, `g${i}`], [`v${i + 1}`]),
      ]),
    },
  }),
  onnx(
    52,
    "E_FUNC_RECURSION",
    "functions that call each other",
    owning([inner("f", [call("g")]), inner("g", [call("f")])], graphOf([call("f")])),
  ),
  onnx(53, "E_LIMIT_NODES", "10^10 nodes of functions", owning(levels, graphOf([call("f9")])), {
    says: /10000000000 nodes/,
  }),
  onnx(
    55,
    "E_SYMBOL_CONFLICT",
    "N is 3 and 2",
    {
      graph: {
        ...graphOf([node("Transpose", ["x"], ["t"]), node("Transpose", ["t"], ["y"])]),
        valueInfo: [{ name: "t", type: "f32", shape: ["N", null] }],
        outputs: [{ ...output, shape: ["N", null] }],
      },
    },
    { says: /"N" is 3 and 2/ },
  ),
  onnx(
    56,
    "E_SHAPE_UNBOUNDED",
    "a dimension without a range",
    {
      graph: { ...graphOf([negated]), inputs: [{ ...input, shape: ["batch", 3] }] },
    },
    { says: /--dim batch=1\.\.64/ },
  ),
  onnx(
    56,
    "ok",
    "the same with a range",
    {
      graph: { ...graphOf([negated]), inputs: [{ ...input, shape: ["batch", 3] }] },
    },
    { args: ["--target", "sm_80", "--dim", "batch=1..64"] },
  ),
  onnx(
    57,
    "E_SHAPE_CONFLICT",
    "a shape that is another",
    {
      graph: { ...graphOf([negated]), outputs: [{ ...output, shape: [2, 4] }] },
    },
    { says: /declared \[2, 4\], is \[2, 3\]/ },
  ),
  onnx(57, "E_SHAPE_CONFLICT", "a type that is another", {
    graph: { ...graphOf([negated]), outputs: [{ name: "y", type: "f16" }] },
  }),
  onnx(58, "ok", "an axis of 0", {
    graph: { ...graphOf([negated]), inputs: [{ ...input, shape: [0, 3] }] },
  }),
  onnx(58, "ok", "a scalar", {
    graph: { ...graphOf([negated]), inputs: [{ ...input, shape: [] }] },
  }),
  graph(
    58,
    "ok",
    "an empty part of a Concat",
    [node("Concat", ["x", "e"], ["y"], { axis: attr.int(0) })],
    [zeroTensor("e", "f32", [0, 3])],
  ),
  onnx(58, "ok", "an output that is the input", {
    graph: { inputs: [input], outputs: [{ name: "x", type: "f32" }] },
  }),
  graph(
    59,
    "E_LIMIT_RANK",
    "9 axes",
    [node("Unsqueeze", ["x", "a"], ["y"])],
    [ints("a", 0, 1, 2, 3, 4, 5, 6)],
  ),
  onnx(59, "E_LIMIT_RANK", "an input of 9 axes", {
    graph: { ...graphOf([negated]), inputs: [{ ...input, shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] }] },
  }),
  onnx(60, "E_TYPE_UNSUPPORTED", "strings", {
    graph: { ...graphOf([negated]), inputs: [{ name: "x", type: 8, shape: [1] }] },
  }),
  ...each(
    [
      ["a sequence", 4],
      ["an optional", 9],
    ] as const,
    ([what, field]) =>
      onnx(60, "E_TYPE_UNSUPPORTED", what, {
        graph: {
          ...graphOf([negated]),
          // Of f32 scalars.
          inputs: [
            {
              name: "x",
              typeProto: bytesField(field, bytesField(1, bytesField(1, Buffer.from([8, 1])))),
            },
          ],
        },
      }),
  ),
  onnx(60, "E_TYPE_UNSUPPORTED", "a sparse tensor", {
    graph: {
      ...graphOf([node("Add", ["x", "w"], ["y"])]),
      extra: bytesField(15, bytesField(1, bytesField(8, Buffer.from("w")))),
    },
  }),
  graph(
    61,
    "E_DIV_ZERO",
    "a constant divided by 0",
    [node("Div", ["s", "z"], ["y"])],
    [ints("s", 1), ints("z", 0)],
  ),
  graph(
    61,
    "E_DIV_ZERO",
    "a constant modulo 0",
    [node("Mod", ["s", "z"], ["y"])],
    [ints("s", 1), ints("z", 0)],
  ),
  onnx(
    62,
    "ok",
    "weights that are no numbers",
    {
      graph: graphOf(
        [node("MatMul", ["x", "w"], ["z"]), node("Add", ["z", "b"], ["y"])],
        f32Tensor("w", [3, 64], large),
        f32("b", ...large.slice(0, 64)),
      ),
    },
    {
      check: (_, said) => {
        const notices = said.events
          .filter(({ event }) => event === "notice")
          .map(({ text }) => String(text));
        expect(notices.filter((text) => /NaN|infinit/i.test(text))).toHaveLength(1);
        expect(notices.join("\n")).toMatch(/"w".*"b"|"b".*"w"/);
      },
    },
  ),
];

export const operators: readonly Case[] = [...shapesOf, ...values];
