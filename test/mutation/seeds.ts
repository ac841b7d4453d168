/** Small good inputs of each reader, from which mutation starts. */
import fs from "node:fs";
import path from "node:path";
import { tinyBert, tinyModels } from "../../compiler/frontend/huggingface/families.testing.js";
import {
  attr,
  encodeModel,
  f32Tensor,
  i64Tensor,
  node,
  zeroTensor,
  type GraphSpec,
  type ModelSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import type { DType } from "../../compiler/ir/dtype.js";

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "utf8"));

const x = { name: "x", type: "f32", shape: [2, 3] } as const;
const y = { name: "y", type: "f32", shape: [2, 3] } as const;
const condition = { name: "c", type: "bool", dims: [], raw: Uint8Array.of(1) } as const;

const branch = (op: string): GraphSpec => ({
  nodes: [node(op, ["x"], ["b"])],
  outputs: [{ name: "b", type: "f32", shape: [2, 3] }],
});

const storedTypes: readonly DType[] = [
  ...(["f32", "f16", "bf16", "f64", "i64", "i32", "i8", "u8", "bool", "i4", "u4"] as const),
];

/** Symbols, weights, every way to store a tensor, subgraphs, functions. */
const models: readonly ModelSpec[] = [
  { graph: { nodes: [node("Relu", ["x"], ["y"])], inputs: [x], outputs: [y] } },
  {
    producer: "made up",
    metadata: { key: "value" },
    graph: {
      nodes: [
        node("MatMul", ["x", "w"], ["p"]),
        node("Add", ["p", "b"], ["s"]),
        node("Softmax", ["s"], ["y"], { axis: attr.int(-1) }),
      ],
      initializers: [f32Tensor("w", [3, 2], [1, 2, 3, 4, 5, 6]), f32Tensor("b", [2], [0.5, -1])],
      inputs: [{ name: "x", type: "f32", shape: ["n", 3] }],
      outputs: [{ name: "y", type: "f32", shape: ["n", 2] }],
      valueInfo: [{ name: "p", type: "f32", shape: ["n", 2] }],
    },
  },
  {
    graph: {
      nodes: [
        node("Shape", ["x"], ["d"]),
        node("Gather", ["d", "one"], ["w"], { axis: attr.int(0) }),
        node("Concat", ["minus", "w"], ["to"], { axis: attr.int(0) }),
        node("Reshape", ["x", "to"], ["r"]),
        node("Slice", ["r", "one", "minus"], ["s"]),
        node("Transpose", ["s"], ["y"], { perm: attr.ints([1, 0]) }),
      ],
      initializers: [i64Tensor("one", [1], [1]), i64Tensor("minus", [1], [-1])],
      inputs: [x],
      outputs: [{ name: "y" }],
    },
  },
  {
    graph: {
      nodes: [
        node("If", ["c"], ["y"], {
          then_branch: attr.graph(branch("Relu")),
          else_branch: attr.graph(branch("Neg")),
        }),
      ],
      initializers: [condition],
      inputs: [x],
      outputs: [y],
    },
  },
  {
    opset: { "": 21, mine: 1 },
    graph: {
      nodes: [{ ...node("Twice", ["x"], ["y"], { alpha: attr.float(0.5) }), domain: "mine" }],
      inputs: [x],
      outputs: [y],
    },
    functions: [
      {
        ...{ name: "Twice", domain: "mine", inputs: ["a"], outputs: ["z"] },
        defaults: { alpha: attr.float(1) },
        nodes: [
          node("LeakyRelu", ["a"], ["t"], { alpha: attr.ref("alpha", 1) }),
          node("Add", ["t", "t"], ["z"]),
        ],
      },
    ],
  },
  {
    graph: {
      nodes: storedTypes.map((type) => node("Identity", [`t${type}`], [`y${type}`])),
      initializers: storedTypes.map((type) => zeroTensor(`t${type}`, type, [2, 2])),
      outputs: storedTypes.map((type) => ({ name: `y${type}` })),
    },
  },
  {
    graph: {
      nodes: [
        node("Constant", [], ["k"], {
          value: attr.tensor({ type: "i32", dims: [2], int32Data: [1, -2] }),
        }),
        node("Constant", [], ["f"], { value_floats: attr.floats([1, 2]) }),
        node("Cast", ["k"], ["y"], { to: attr.int(1) }),
        node("Mul", ["y", "f"], ["z"]),
      ],
      initializers: [
        { name: "d", type: "f64", dims: [1], doubleData: [2.5] },
        { name: "u", type: "u64", dims: [2], uint64Data: [3, 4] },
        { name: "l", type: "i64", dims: [2], int64Data: [3, -4] },
        { name: "h", type: "f16", dims: [2], int32Data: [15_360, 0] },
        {
          name: "e",
          type: "f32",
          dims: [4],
          external: { location: "data.bin", offset: "0", length: "16" },
        },
        { name: "s", type: 8, dims: [1], stringData: ["text"] },
      ],
      outputs: [{ name: "z" }],
    },
  },
  {
    graph: {
      nodes: [
        node("LayerNormalization", ["x", "g"], ["n"], {
          epsilon: attr.float(1e-5),
          axis: attr.int(-1),
        }),
        node("Gemm", ["n", "w", "g"], ["m"], { transB: attr.int(1), alpha: attr.float(2) }),
        node("TopK", ["m", "k"], ["v", "i"], { axis: attr.int(-1) }),
        node("ReduceSum", ["v", "k"], ["y"], { keepdims: attr.int(0) }),
        node("Einsum", ["x", "w"], ["z"], { equation: attr.string("ij,kj->ik") }),
      ],
      initializers: [
        f32Tensor("g", [3], [1, 1, 1]),
        f32Tensor("w", [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        i64Tensor("k", [1], [1]),
      ],
      inputs: [x],
      outputs: [{ name: "y" }, { name: "z" }],
    },
  },
];

export const onnxSeeds = (): Uint8Array[] => models.map(encodeModel);

function safetensors(header: unknown, data: number): Uint8Array {
  const text = bytesOf(JSON.stringify(header));
  const made = new Uint8Array(8 + text.length + data);
  new DataView(made.buffer).setUint32(0, text.length, true);
  made.set(text, 8);
  return made;
}

export const safetensorsSeeds = (): Uint8Array[] => [
  safetensors({}, 0),
  safetensors({ a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] } }, 16),
  safetensors(
    {
      __metadata__: { format: "pt", "a key": "a \u00e9 value" },
      "model.a": { dtype: "BF16", shape: [3], data_offsets: [0, 6] },
      "model.b": { dtype: "I64", shape: [], data_offsets: [6, 14] },
      c: { dtype: "F8_E4M3", shape: [0, 5], data_offsets: [14, 14] },
    },
    14,
  ),
  safetensors({ q: { dtype: "F4", shape: [4], data_offsets: [0, 2] } }, 2),
];

const fixtures = "test/fixtures/models";

/** The configurations of the fixtures and of the tiny models, in both spellings. */
export function configSeeds(root: string): Uint8Array[] {
  const directory = path.join(root, fixtures);
  const files = fs
    .readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => path.basename(name) === "config.json")
    .sort();
  const stored = files.map((name) => new Uint8Array(fs.readFileSync(path.join(directory, name))));
  const tiny = [tinyBert, ...Object.values(tinyModels)].flatMap((model) => [
    model.config,
    { ...model.config, ...("published" in model ? model.published : {}) },
  ]);
  return [...stored, ...tiny.map((config) => bytesOf(JSON.stringify(config)))];
}
