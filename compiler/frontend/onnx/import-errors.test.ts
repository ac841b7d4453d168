/** What models must not be told apart by a crash: each row is a mistake and the error it gives. */
import { describe, expect, test } from "vitest";
import { failure } from "../files/failure.testing.js";
import { imported } from "./import.testing.js";
import type { OnnxOptions } from "./import.js";
import { call, inner, levels, owning } from "./wire/functions.testing.js";
import {
  attr,
  f32Tensor,
  i64Tensor,
  node,
  zeroTensor,
  type GraphSpec,
  type ModelSpec,
  type NodeSpec,
  type TensorSpec,
} from "./wire/encode.testing.js";

const input = { name: "x", type: "f32", shape: [2, 3] } as const;
const output = { name: "y", type: "f32" } as const;
const ints = (name: string, ...values: (number | bigint)[]): TensorSpec =>
  i64Tensor(name, [values.length], values);

const graphOf = (nodes: readonly NodeSpec[], ...initializers: TensorSpec[]): GraphSpec => ({
  inputs: [input],
  outputs: [output],
  nodes,
  initializers,
});

interface Row {
  readonly name: string;
  readonly code: string;
  readonly model: ModelSpec;
  readonly options?: OnnxOptions;
  readonly says?: RegExp;
}

const row = (
  name: string,
  code: string,
  nodes: readonly NodeSpec[],
  initializers: readonly TensorSpec[] = [],
  says?: RegExp,
): Row => ({
  name,
  code,
  model: { opset: 24, graph: graphOf(nodes, ...initializers) },
  ...(says && { says }),
});

const negated = node("Neg", ["x"], ["y"]);

const models: readonly Row[] = [
  { name: "opset 0", code: "E_OPSET", model: { opset: 0, graph: graphOf([negated]) } },
  { name: "opset -1", code: "E_OPSET", model: { opset: -1, graph: graphOf([negated]) } },
  {
    name: "opset 9999",
    code: "E_OPSET",
    model: { opset: 9999, graph: graphOf([negated]) },
    says: /got 9999, supported 7\.\.28/,
  },
  { name: "no opsets", code: "E_OPSET", model: { opset: {}, graph: graphOf([negated]) } },
  {
    name: "unknown operators",
    code: "E_OP_UNSUPPORTED",
    model: {
      opset: { "": 21, "com.example": 1 },
      graph: graphOf([
        node("Foo", ["x"], ["a"]),
        { ...node("Bar", ["a"], ["b"]), domain: "com.example", name: "bar" },
        node("Foo", ["b"], ["y"]),
      ]),
    },
    says: /Foo \(2, first node 0 \(Foo\)\); com\.example\.Bar \(1, first node 1 \(com\.example\.Bar "bar"\)\)/,
  },
  {
    name: "an operator before its time",
    code: "E_OP_VERSION",
    model: { opset: 19, graph: graphOf([node("Gelu", ["x"], ["y"])]) },
    says: /Gelu is defined from opset 20 on, the model is of opset 19/,
  },
  {
    name: "two initializers of one name",
    code: "E_INIT_DUPLICATE",
    model: { graph: graphOf([negated], ints("a", 1), ints("a", 2)) },
  },
  {
    name: "an output that nobody produces",
    code: "E_OUTPUT_UNDEFINED",
    model: { graph: graphOf([node("Neg", ["x"], ["z"])]) },
  },
  {
    name: "a function that calls itself",
    code: "E_FUNC_RECURSION",
    model: owning([inner("f", [call("g")]), inner("g", [call("f")])], graphOf([call("f")])),
  },
  {
    name: "functions that multiply",
    code: "E_LIMIT_NODES",
    model: owning(levels, graphOf([call("f9")])),
    says: /10000000000 nodes/,
  },
  {
    name: "dimensions without a range",
    code: "E_SHAPE_UNBOUNDED",
    model: {
      graph: {
        ...graphOf([negated]),
        inputs: [{ name: "x", type: "f32", shape: ["batch", null] }],
      },
    },
    says: /"batch", "x_dim1".*--dim batch=1\.\.64 --dim x_dim1=1\.\.64/,
  },
  {
    name: "a range of no symbol",
    code: "E_DIM",
    model: { graph: graphOf([negated]) },
    options: { dims: { N: [1, 2] } },
  },
  {
    name: "one symbol of two values",
    code: "E_SYMBOL_CONFLICT",
    model: {
      graph: {
        ...graphOf([node("Transpose", ["x"], ["t"]), node("Transpose", ["t"], ["y"])]),
        valueInfo: [{ name: "t", type: "f32", shape: ["N", null] }],
        outputs: [{ name: "y", type: "f32", shape: ["N", null] }],
      },
    },
  },
  {
    name: "a declared shape that is another",
    code: "E_SHAPE_CONFLICT",
    model: {
      graph: { ...graphOf([negated]), outputs: [{ name: "y", type: "f32", shape: [2, 4] }] },
    },
    says: /node 0 \(Neg\): "y" is declared \[2, 4\], is \[2, 3\]/,
  },
  {
    name: "a declared type that is another",
    code: "E_SHAPE_CONFLICT",
    model: { graph: { ...graphOf([negated]), outputs: [{ name: "y", type: "f16" }] } },
  },
  {
    name: "an input of strings",
    code: "E_TYPE_UNSUPPORTED",
    model: { graph: { ...graphOf([negated]), inputs: [{ name: "x", type: 8, shape: [1] }] } },
  },
  {
    name: "a type that the model does not store",
    code: "E_CONFIG_UNSUPPORTED",
    model: { graph: graphOf([negated]) },
    options: { dtype: "bf16" },
  },
];

const order: readonly Row[] = [
  row(
    "a cycle",
    "E_GRAPH_CYCLE",
    [node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
    [],
    /node 0 \(Add\) -> node 1 \(Neg\) -> node 0 \(Add\)/,
  ),
  row("the wrong order", "E_GRAPH_ORDER", [node("Neg", ["a"], ["y"]), node("Neg", ["x"], ["a"])]),
  row(
    "an input that nobody produces",
    "E_VALUE_UNDEFINED",
    [node("Add", ["x", "missing"], ["y"])],
    [],
    /node 0 \(Add\): input 1, "missing"/,
  ),
  row(
    "two producers",
    "E_VALUE_REDEFINED",
    [negated, negated],
    [],
    /node 1 \(Neg\).*node 0 \(Neg\)/,
  ),
  row("a missing input", "E_INPUT_MISSING", [node("Add", ["x"], ["y"])]),
  row("an input too many", "E_INPUT_UNKNOWN", [node("Neg", ["x", "x"], ["y"])]),
  row("an attribute of another type", "E_ATTR_TYPE", [
    node("Softmax", ["x"], ["y"], { axis: attr.float(1) }),
  ]),
  row("an unknown attribute", "E_ATTR_UNKNOWN", [
    node("Softmax", ["x"], ["y"], { axes: attr.int(1) }),
  ]),
];

const weights = [f32Tensor("w", [4, 3], new Array<number>(12).fill(1))];

const shapes: readonly Row[] = [
  row("an axis out of range", "E_AXIS", [node("Softmax", ["x"], ["y"], { axis: attr.int(4) })]),
  row("a perm that is none", "E_PERM", [
    node("Transpose", ["x"], ["y"], { perm: attr.ints([0, 0]) }),
  ]),
  row("two unknowns", "E_RESHAPE", [node("Reshape", ["x", "s"], ["y"])], [ints("s", -1, -1)]),
  row("another size", "E_RESHAPE", [node("Reshape", ["x", "s"], ["y"])], [ints("s", 5, -1)]),
  row(
    "a zero that is a size",
    "E_RESHAPE",
    [node("Reshape", ["x", "s"], ["y"], { allowzero: attr.int(1) })],
    [ints("s", 0, -1)],
  ),
  row(
    "a zero beyond the rank",
    "E_RESHAPE",
    [node("Reshape", ["x", "s"], ["y"])],
    [ints("s", 6, 1, 0)],
  ),
  row("no broadcast", "E_BROADCAST", [node("Add", ["x", "w"], ["y"])], weights),
  row("inner dimensions", "E_MATMUL_SHAPE", [node("MatMul", ["x", "w"], ["y"])], weights),
  row(
    "a bias of another shape",
    "E_MATMUL_SHAPE",
    [node("Gemm", ["x", "w", "w"], ["y"], { transB: attr.int(1) })],
    weights,
  ),
  row(
    "a step of 0",
    "E_SLICE_STEP",
    [node("Slice", ["x", "a", "b", "a", "a"], ["y"])],
    [ints("a", 0), ints("b", 1)],
  ),
  row(
    "ranks that differ",
    "E_CONCAT",
    [node("Concat", ["x", "s"], ["y"], { axis: attr.int(0) })],
    [f32Tensor("s", [3], [1, 2, 3])],
  ),
  row(
    "sizes that do not sum",
    "E_SPLIT",
    [node("Split", ["x", "s"], ["y", "z"])],
    [ints("s", 1, 2)],
  ),
  row("a negative padding", "E_PAD", [node("Pad", ["x", "p"], ["y"])], [ints("p", -3, 0, 0, 0)]),
  row(
    "a division by 0",
    "E_DIV_ZERO",
    [node("Div", ["s", "z"], ["y"])],
    [ints("s", 1), ints("z", 0)],
  ),
  row(
    "a remainder by 0",
    "E_DIV_ZERO",
    [node("Mod", ["s", "z"], ["y"])],
    [ints("s", 1), ints("z", 0)],
  ),
  row("an index out of range", "E_INDEX", [node("Gather", ["x", "i"], ["y"])], [ints("i", 2)]),
  row("a negative one", "E_INDEX", [node("Gather", ["x", "i"], ["y"])], [ints("i", -3)]),
  row(
    "a scale of another shape",
    "E_NORM",
    [node("LayerNormalization", ["x", "w"], ["y"])],
    weights,
  ),
  row(
    "an epsilon below 0",
    "E_NORM",
    [node("LayerNormalization", ["x", "s"], ["y"], { epsilon: attr.float(-1) })],
    [f32Tensor("s", [3], [1, 2, 3])],
  ),
  row(
    "9 axes",
    "E_LIMIT_RANK",
    [node("Unsqueeze", ["x", "a"], ["y"])],
    [ints("a", 0, 1, 2, 3, 4, 5, 6)],
  ),
];

const image = f32Tensor("w", [1, 2, 3, 3], new Array<number>(18).fill(1));
const hidden = f32Tensor("h", [1, 2, 12], new Array<number>(24).fill(1));
const scalar = (name: string, value: number | bigint): TensorSpec => i64Tensor(name, [], [value]);

const compounds: readonly Row[] = [
  row(
    "query heads that are no multiple",
    "E_ATTENTION",
    [
      node("Attention", ["h", "h", "h"], ["y"], {
        q_num_heads: attr.int(3),
        kv_num_heads: attr.int(2),
      }),
    ],
    [hidden],
  ),
  row(
    "heads of odd size",
    "E_ROPE",
    [node("RotaryEmbedding", ["h", "c", "c"], ["y"], { num_heads: attr.int(4) })],
    [hidden, f32Tensor("c", [1, 2, 1], [1, 1])],
  ),
  row(
    "a scale of 0",
    "E_QUANT",
    [node("QuantizeLinear", ["x", "s"], ["y"])],
    [f32Tensor("s", [], [0])],
  ),
  row(
    "a zero point of another type",
    "E_QUANT",
    [node("DequantizeLinear", ["q", "s", "z"], ["y"])],
    [zeroTensor("q", "u8", [4]), f32Tensor("s", [], [1]), zeroTensor("z", "i8", [])],
  ),
  ...["ij->ik", "i->i", "i$->i", "ij->ii", "ij,jk->ik"].map((equation) =>
    row(`the equation ${equation}`, "E_EINSUM", [
      node("Einsum", ["x"], ["y"], { equation: attr.string(equation) }),
    ]),
  ),
  row(
    "groups that do not divide",
    "E_CONV",
    [node("Conv", ["w", "w"], ["y"], { group: attr.int(3) })],
    [image],
  ),
  row(
    "a window that is larger than the image",
    "E_CONV",
    [node("MaxPool", ["w"], ["y"], { kernel_shape: attr.ints([5, 5]) })],
    [image],
  ),
  row(
    "a loop without an end",
    "E_LIMIT_FOLD",
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
    [scalar("n", 2n ** 63n - 1n)],
  ),
];

const sizes: readonly Row[] = [
  row(
    "ConstantOfShape",
    "E_LIMIT_CONST",
    [node("ConstantOfShape", ["s"], ["y"])],
    [ints("s", 2n ** 60n)],
  ),
  row("Expand", "E_LIMIT_CONST", [node("Expand", ["x", "s"], ["y"])], [ints("s", 2n ** 40n, 1, 1)]),
  row(
    "Tile",
    "E_LIMIT_CONST",
    [node("Tile", ["x", "s"], ["y"])],
    [ints("s", 2n ** 30n, 2n ** 30n)],
  ),
  row(
    "Range",
    "E_LIMIT_CONST",
    [node("Range", ["a", "b", "c"], ["y"])],
    [i64Tensor("a", [], [0]), i64Tensor("b", [], [2n ** 50n]), i64Tensor("c", [], [1])],
  ),
];

describe.each([
  ["models", models],
  ["order and attributes", order],
  ["shapes and values", shapes],
  ["compounds", compounds],
  ["sizes", sizes],
])("%s", (_, rows) => {
  test.each(rows.map((each) => [each.name, each] as const))(
    "%s",
    (_name, { code, model, options, says }) => {
      const error = failure(() => imported(model, options));
      expect(error.message).toContain(code);
      expect(error.code).toBe(code);
      if (says) expect(error.message).toMatch(says);
    },
  );
});

describe("accepted", () => {
  const accepted: readonly Row[] = [
    row(
      "clamped bounds",
      "",
      [node("Slice", ["x", "a", "b"], ["y"])],
      [ints("a", -(2n ** 63n)), ints("b", 2n ** 63n - 1n)],
    ),
    row(
      "an empty axis",
      "",
      [node("Concat", ["x", "e"], ["y"], { axis: attr.int(0) })],
      [zeroTensor("e", "f32", [0, 3])],
    ),
    row("an unused string", "", [negated], [{ name: "s", type: 8, stringData: [], dims: [0] }]),
  ];
  test.each(accepted.map((each) => [each.name, each] as const))("%s", (_name, { model }) => {
    expect(imported(model).entries).toHaveLength(1);
  });

  test("an output that is an input", () => {
    const graph = { inputs: [input], outputs: [{ name: "x", type: "f32" } as const] };
    expect(imported({ graph }).entries[0]!.graph.outputs[0]!.node.op).toBe("input");
  });
});
