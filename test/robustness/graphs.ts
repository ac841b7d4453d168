/** Rows 14 to 35: what an ONNX graph says. */
import {
  attr,
  bytesField,
  concat,
  f32Tensor,
  i64Tensor,
  intField,
  node,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { type Case, each, graph, graphOf, ints, negated, onnx } from "./case.js";

const opset = (version: number): Case =>
  onnx(
    15,
    "E_OPSET",
    `opset ${version}`,
    { opset: version, graph: graphOf([negated]) },
    {
      says: new RegExp(`got ${version}, supported 7\\.\\.28`),
    },
  );

/** An initializer that is added to x: used, so that nothing may pass over it. */
const stored = (row: number, code: string, what: string, tensor: TensorSpec, says?: RegExp): Case =>
  graph(row, code, what, [node("Add", ["x", "w"], ["y"])], [{ name: "w", ...tensor }], says);

const weights = [f32Tensor("w", [4, 3], new Array<number>(12).fill(1))];
const reshape = (attrs: Parameters<typeof node>[3] = {}) => [
  node("Reshape", ["x", "s"], ["y"], attrs),
];

export const graphs: readonly Case[] = [
  onnx(14, "E_GRAPH_MISSING", "no graph", concat(intField(1, 10), bytesField(8, intField(2, 21)))),
  onnx(14, "E_GRAPH_MISSING", "no outputs", { graph: { nodes: [negated], inputs: [] } }),
  onnx(15, "E_OPSET", "no opsets", { opset: {}, graph: graphOf([negated]) }),
  ...each([0, -1, 29, 9999], opset),
  onnx(
    16,
    "E_OP_UNSUPPORTED",
    "unknown operators, all of them",
    {
      opset: { "": 21, "com.example": 1 },
      graph: graphOf([
        node("Foo", ["x"], ["a"]),
        { ...node("Bar", ["a"], ["b"]), domain: "com.example", name: "bar" },
        node("Foo", ["b"], ["y"]),
      ]),
    },
    { says: /Foo \(2, first node 0 \(Foo\)\); com\.example\.Bar \(1, first node 1/ },
  ),
  onnx(
    17,
    "E_OP_VERSION",
    "Gelu before its time",
    { opset: 19, graph: graphOf([node("Gelu", ["x"], ["y"])]) },
    {
      says: /opset 20 on, the model is of opset 19/,
    },
  ),
  onnx(
    17,
    "E_OP_VERSION",
    "Scatter after its time",
    {
      opset: 11,
      graph: graphOf(
        [node("Scatter", ["x", "i", "u"], ["y"])],
        i64Tensor("i", [1, 1], [0]),
        f32Tensor("u", [1, 1], [1]),
      ),
    },
    { says: /opset 11/ },
  ),
  graph(
    18,
    "E_GRAPH_CYCLE",
    "a cycle",
    [node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
    [],
    /node 0 \(Add\) -> node 1 \(Neg\) -> node 0 \(Add\)/,
  ),
  graph(19, "E_GRAPH_ORDER", "nodes in the wrong order", [
    node("Neg", ["a"], ["y"]),
    node("Neg", ["x"], ["a"]),
  ]),
  graph(
    20,
    "E_VALUE_UNDEFINED",
    "an input that nobody produces",
    [node("Add", ["x", "missing"], ["y"])],
    [],
    /node 0 \(Add\): input 1, "missing"/,
  ),
  graph(
    21,
    "E_VALUE_REDEFINED",
    "two producers",
    [negated, negated],
    [],
    /node 1 \(Neg\).*node 0 \(Neg\)/,
  ),
  graph(
    22,
    "E_OUTPUT_UNDEFINED",
    "an output that nobody produces",
    [node("Neg", ["x"], ["z"])],
    [],
    /output "y"/,
  ),
  graph(
    23,
    "E_INIT_DUPLICATE",
    "two initializers of one name",
    [negated],
    [ints("a", 1), ints("a", 2)],
    /"a"/,
  ),
  stored(24, "E_DIM_NEGATIVE", "a negative dimension", { type: "f32", dims: [2, -3] }, /-3/),
  stored(25, "E_SIZE_OVERFLOW", "2^54 elements", { type: "f32", dims: [2n ** 27n, 2n ** 27n] }),
  stored(25, "E_SIZE_OVERFLOW", "2^80 elements", { type: "f32", dims: [2n ** 40n, 2n ** 40n] }),
  stored(
    26,
    "E_TENSOR_SIZE",
    "a byte too few",
    { type: "f32", dims: [1024], raw: new Uint8Array(4095) },
    /needs 4096.*has 4095/,
  ),
  stored(27, "E_TENSOR_AMBIGUOUS", "values twice", {
    type: "f32",
    dims: [1],
    raw: new Uint8Array(4),
    floatData: [0],
  }),
  ...each([99, -1, 0], (type) =>
    stored(28, "E_DTYPE_UNKNOWN", `element type ${type}`, {
      type,
      dims: [1],
      raw: new Uint8Array(4),
    }),
  ),
  onnx(28, "E_DTYPE_UNKNOWN", "an input of element type 99", {
    graph: { ...graphOf([negated]), inputs: [{ name: "x", type: 99, shape: [2] }] },
  }),
  ...each([22, 23] as const, (type) =>
    stored(29, "E_TENSOR_SIZE", `three of element type ${type} in one byte`, {
      type,
      dims: [3],
      raw: new Uint8Array(1),
    }),
  ),
  graph(
    30,
    "E_TENSOR_VALUE",
    "a bool of 2",
    [node("Where", ["w", "x", "x"], ["y"])],
    [{ name: "w", type: "bool", dims: [2, 3], raw: Uint8Array.from([0, 1, 2, 0, 1, 1]) }],
    /a bool of value 2/,
  ),
  graph(31, "E_ATTR_TYPE", "an axis that is a float", [
    node("Softmax", ["x"], ["y"], { axis: attr.float(1) }),
  ]),
  graph(31, "E_ATTR_UNKNOWN", "an unknown attribute", [
    node("Softmax", ["x"], ["y"], { axes: attr.int(1) }),
  ]),
  graph(
    32,
    "E_AXIS",
    "an axis out of range",
    [node("Softmax", ["x"], ["y"], { axis: attr.int(4) })],
    [],
    /axis 4.*rank 2/,
  ),
  graph(32, "E_ATTR_VALUE", "an axis of -2^63", [
    node("Softmax", ["x"], ["y"], { axis: attr.int(-(2n ** 63n)) }),
  ]),
  ...each([[0, 0], [0], [0, 2], [-1, 0]], (perm) =>
    graph(33, "E_PERM", `perm [${perm.join(", ")}]`, [
      node("Transpose", ["x"], ["y"], { perm: attr.ints(perm) }),
    ]),
  ),
  graph(34, "E_RESHAPE", "two unknowns", reshape(), [ints("s", -1, -1)]),
  graph(
    34,
    "E_RESHAPE",
    "another size",
    reshape(),
    [ints("s", 5, -1)],
    /6 elements of \[2, 3\] into \[5, ?-1\]/,
  ),
  graph(34, "E_RESHAPE", "a zero that is a size", reshape({ allowzero: attr.int(1) }), [
    ints("s", 0, -1),
  ]),
  graph(34, "E_RESHAPE", "a size of 2^62", reshape(), [ints("s", 2n ** 62n, 2n ** 62n)]),
  graph(
    35,
    "E_BROADCAST",
    "shapes that do not broadcast",
    [node("Add", ["x", "w"], ["y"])],
    weights,
    /\[2, 3\].*\[4, 3\]/,
  ),
];
