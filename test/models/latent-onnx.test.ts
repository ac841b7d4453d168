/** Attention over a latent as exporters spell it out, in small operators: raised, and then absorbed. */
import { describe, expect, it } from "vitest";
import { constantReader } from "../../compiler/constants.js";
import { runPasses } from "../../compiler/passes/index.js";
import { isNode, topological, type Graph } from "../../compiler/ir/graph.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import { tensor, type TensorValue } from "../../compiler/ir/tensor.js";
import { constValue } from "../../compiler/scalar/build.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { constantsOf, imported } from "../../compiler/frontend/onnx/import.testing.js";
import {
  attr,
  f32Tensor,
  i64Tensor,
  node,
  type NodeSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";

const [heads, still, shared, value, rank, queries] = [3, 6, 2, 5, 12, 2];
const scale = 0.25;

function noise(seed: number, count: number): number[] {
  let state = (seed * 2654435761) >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}

/** How the product of the latent with its weights is written. */
type Spelling = "merged" | "transposed" | "apart" | "gemm";

const matrix = (name: string, rows: number, columns: number, seed: number) =>
  f32Tensor(name, [rows, columns], noise(seed, rows * columns));

const outputs = heads * (still + value);
const known = {
  byHeads: i64Tensor("by_heads", [4], [0, 0, heads, still + value]),
  parts: i64Tensor("parts", [2], [still, value]),
  byHead: i64Tensor("by_head", [4], [0, 0, heads, -1]),
  rows: i64Tensor("rows", [2], [-1, rank]),
  repeated: i64Tensor("repeated", [4], [1, heads, 1, 1]),
};

/** Nodes from `c` [batch, past, rank] to `K` and `V` [batch, heads, past, …]. */
const spellings: Readonly<Record<Spelling, readonly NodeSpec[]>> = {
  merged: [
    node("MatMul", ["c", "kv"], ["kv_out"]),
    node("Reshape", ["kv_out", "by_heads"], ["kv_4"]),
    node("Transpose", ["kv_4"], ["kv_t"], { perm: attr.ints([0, 2, 1, 3]) }),
    node("Split", ["kv_t", "parts"], ["K", "V"], { axis: attr.int(3) }),
  ],
  transposed: [
    node("Transpose", ["kv_stored"], ["kv_w"], { perm: attr.ints([1, 0]) }),
    node("MatMul", ["c", "kv_w"], ["kv_out"]),
    node("Reshape", ["kv_out", "by_heads"], ["kv_4"]),
    node("Split", ["kv_4", "parts"], ["K_0", "V_0"], { axis: attr.int(3) }),
    node("Transpose", ["K_0"], ["K"], { perm: attr.ints([0, 2, 1, 3]) }),
    node("Transpose", ["V_0"], ["V"], { perm: attr.ints([0, 2, 1, 3]) }),
  ],
  apart: [
    ...["K", "V"].flatMap((name) => [
      node("MatMul", ["c", `${name}_w`], [`${name}_out`]),
      node("Reshape", [`${name}_out`, "by_head"], [`${name}_4`]),
      node("Transpose", [`${name}_4`], [name], { perm: attr.ints([0, 2, 1, 3]) }),
    ]),
  ],
  gemm: [
    node("Reshape", ["c", "rows"], ["c_2"]),
    node("Gemm", ["c_2", "kv_stored"], ["kv_2"], { transB: attr.int(1) }),
    node("Shape", ["c"], ["c_shape"]),
    node("Gather", ["c_shape", "two"], ["c_two"]),
    node("Concat", ["c_two", "heads_and_rest"], ["kv_shape"], { axis: attr.int(0) }),
    node("Reshape", ["kv_2", "kv_shape"], ["kv_4"]),
    node("Transpose", ["kv_4"], ["kv_t"], { perm: attr.ints([0, 2, 1, 3]) }),
    node("Split", ["kv_t", "parts"], ["K", "V"], { axis: attr.int(3) }),
  ],
};

const weights = [
  matrix("kv", rank, outputs, 1),
  matrix("kv_stored", outputs, rank, 1),
  matrix("K_w", rank, heads * still, 2),
  matrix("V_w", rank, heads * value, 3),
];
const constants = [
  ...Object.values(known),
  i64Tensor("two", [2], [0, 1]),
  i64Tensor("heads_and_rest", [2], [heads, still + value]),
  f32Tensor("scale", [], [scale]),
];

function modelOf(expansion: readonly NodeSpec[]): ImportedModel {
  const nodes = [
    ...expansion,
    node("Tile", ["turned", "repeated"], ["turned_all"]),
    node("Concat", ["K", "turned_all"], ["keys"], { axis: attr.int(3) }),
    node("Transpose", ["keys"], ["keys_t"], { perm: attr.ints([0, 1, 3, 2]) }),
    node("MatMul", ["asked", "keys_t"], ["scores"]),
    node("Mul", ["scores", "scale"], ["scaled"]),
    node("Softmax", ["scaled"], ["weights"], { axis: attr.int(-1) }),
    node("MatMul", ["weights", "V"], ["mixed"]),
  ];
  const used = new Set(nodes.flatMap(({ inputs }) => inputs ?? []));
  const width = still + shared;
  return imported(
    {
      graph: {
        nodes,
        initializers: [...weights, ...constants].filter(({ name }) => used.has(name!)),
        inputs: [
          { name: "asked", type: "f32", shape: ["rows", heads, queries, width] },
          { name: "c", type: "f32", shape: ["rows", "past", rank] },
          { name: "turned", type: "f32", shape: ["rows", 1, "past", shared] },
        ],
        outputs: [{ name: "mixed", type: "f32" }],
      },
    },
    { dims: { rows: [1, 2], past: [1, 64] } },
  );
}

function passed(model: ImportedModel, without: readonly string[] = []): Graph {
  const { bytes } = constantReader(model);
  return runPasses(model.entries[0]!.graph, { strict: false, without, bytes });
}

const keysOf = (graph: Graph): (number | null)[][] =>
  topological(graph)
    .filter((each) => isNode(each, "attention"))
    .map(({ inputs }) => [1, 3].map((axis) => constValue(inputs[1]!.shape[axis]!)));

function values(model: ImportedModel, graph: Graph, rows: number, past: number): TensorValue {
  const given = graph.inputs.map(({ attrs }, i): [string, TensorValue] => {
    const shapes: Readonly<Record<string, readonly number[]>> = {
      asked: [rows, heads, queries, still + shared],
      turned: [rows, 1, past, shared],
    };
    const shape = shapes[attrs.name] ?? [rows, past, rank];
    return [
      attrs.name,
      tensor(
        "f32",
        shape,
        noise(
          7 + i,
          shape.reduce((a, b) => a * b, 1),
        ),
      ),
    ];
  });
  const run = evaluateGraph(graph, new Map(given), { constants: constantsOf(model) });
  return run.outputs.get("mixed")!;
}

describe.each(["merged", "transposed", "apart", "gemm"] as const)("weights %s", (spelling) => {
  it("are absorbed, with the values that the file says", () => {
    const model = modelOf(spellings[spelling]);
    const after = passed(model);
    expect(keysOf(passed(model, ["attention(q, c·K, c·V)"]))).toEqual([[heads, still + shared]]);
    expect(keysOf(after)).toEqual([[1, rank + shared]]);
    for (const [rows, past] of [
      [1, 1],
      [2, 11],
    ] as const) {
      const [found, wanted] = [after, model.entries[0]!.graph].map((graph) =>
        Array.from<number | bigint, number>(values(model, graph, rows, past).data, Number),
      );
      found!.forEach((each, i) => expect(each).toBeCloseTo(wanted![i]!, 9));
    }
  });

  it("stay where the latent is not what they multiply last", () => {
    const tanh = node("Tanh", [spelling === "apart" ? "K_4" : "kv_4"], ["bent"]);
    const nodes = spellings[spelling].flatMap((each) =>
      each.outputs?.[0] === tanh.inputs![0]
        ? [each, tanh]
        : [{ ...each, inputs: each.inputs!.map((x) => (x === tanh.inputs![0] ? "bent" : x)) }],
    );
    expect(keysOf(passed(modelOf(nodes)))).toEqual([[heads, still + shared]]);
  });
});
