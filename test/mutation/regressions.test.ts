/** What mutation found, made by hand: each was a crash or took more than its share. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../../compiler/frontend/files/failure.testing.js";
import {
  attr,
  encodeModel,
  i64Tensor,
  node,
  type AttrSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import type { DType } from "../../compiler/ir/dtype.js";
import { packageRoot } from "../../compiler/version.js";
import { readers, type ReaderName } from "./readers.js";

type Json = Record<string, unknown>;

/** A fixture's configuration with other values. */
function config(fixture: string, changes: Json): Uint8Array {
  const file = path.join(packageRoot(), "test/fixtures/models", fixture, "hf/config.json");
  const json = JSON.parse(fs.readFileSync(file, "utf8")) as Json;
  return new Uint8Array(Buffer.from(JSON.stringify({ ...json, ...changes })));
}

/** A model of one operator of two inputs, of the newest version. */
function binary(
  op: string,
  x: readonly number[],
  w: readonly number[],
  attrs: Readonly<Record<string, AttrSpec>>,
): Uint8Array {
  const inputs = ["x", "w"].map((name, i) => ({
    name,
    type: "f32" as const,
    shape: i === 0 ? x : w,
  }));
  const graph = { nodes: [node(op, ["x", "w"], ["y"], attrs)], inputs, outputs: [{ name: "y" }] };
  return encodeModel({ opset: newest, graph });
}

/** A model of one operator of one input. */
function unary(
  op: string,
  type: DType,
  shape: readonly number[],
  attrs: Readonly<Record<string, AttrSpec>>,
): Uint8Array {
  const inputs = [{ name: "x", type, shape }];
  const graph = { nodes: [node(op, ["x"], ["y"], attrs)], inputs, outputs: [{ name: "y" }] };
  return encodeModel({ opset: newest, graph });
}

const pool = (op: string, attrs: Readonly<Record<string, AttrSpec>>): Uint8Array =>
  unary(op, "f32", [1, 1, 5], attrs);

/** A scan of the first version, over sequences: each element is its own result. */
function scan(shape: readonly number[]): Uint8Array {
  const inputs = [{ name: "x", type: "f32" as const, shape }];
  const each = { name: "a", type: "f32" as const, shape: [] };
  const body = { nodes: [node("Relu", ["a"], ["b"])], inputs: [each], outputs: [{ name: "b" }] };
  const attrs = { body: attr.graph(body), num_scan_inputs: attr.int(1) };
  const graph = {
    nodes: [node("Scan", ["", "x"], ["y"], attrs)],
    inputs,
    outputs: [{ name: "y" }],
  };
  return encodeModel({ opset: 8, graph });
}

/** A loop that applies a function to its state again and again. */
function loop(rounds: number, nodes: number): Uint8Array {
  const x = { name: "x", type: "f32" as const, shape: [2] };
  const name = (i: number): string => (i === 0 ? "a" : i === nodes ? "b" : `s${i}`);
  const chain = Array.from({ length: nodes }, (_, i) => node("Sin", [name(i)], [name(i + 1)]));
  const body = {
    nodes: [node("Identity", ["c"], ["d"]), ...chain],
    inputs: [
      { name: "i", type: "i64" as const, shape: [] },
      { name: "c", type: "bool" as const, shape: [] },
      { ...x, name: "a" },
    ],
    outputs: [{ name: "d" }, { name: "b" }],
  };
  const graph = {
    nodes: [node("Loop", ["n", "", "x"], ["y"], { body: attr.graph(body) })],
    initializers: [i64Tensor("n", [], [rounds])],
    inputs: [x],
    outputs: [{ name: "y" }],
  };
  return encodeModel({ opset: newest, graph });
}

/** The first version that has all of the operators below. */
const newest = 27;

const cases: readonly (readonly [string, ReaderName, () => Uint8Array, code: string])[] = [
  [
    "a rotated head of 2^24 elements",
    "config",
    () => config("deepseek_v2", { qk_rope_head_dim: 2 ** 24 }),
    "E_CONFIG_VALUE",
  ],
  [
    "2^32 layers that predict further ids",
    "config",
    () => config("deepseek_v3", { num_nextn_predict_layers: 2 ** 32 }),
    "E_CONFIG_VALUE",
  ],
  [
    "a graph's output without a name, as outputs that nobody takes",
    "onnx",
    () =>
      encodeModel({
        graph: {
          nodes: [node("Relu", ["x"], [""])],
          inputs: [{ name: "x", type: "f32", shape: [2] }],
          outputs: [{ name: "" }],
        },
      }),
    "E_OUTPUT_UNDEFINED",
  ],
  [
    "an average over 2^31 windows",
    "onnx",
    () => pool("AveragePool", { kernel_shape: attr.ints([5]), pads: attr.ints([2, 2 ** 31]) }),
    "E_LIMIT_FOLD",
  ],
  [
    "a sum of 2^31 channels",
    "onnx",
    () => pool("LRN", { size: attr.int(2 ** 31) }),
    "E_LIMIT_FOLD",
  ],
  [
    "an axis of no elements in 2^40 parts",
    "onnx",
    () => unary("Split", "f32", [0], { num_outputs: attr.int(2 ** 40) }),
    "E_SPLIT",
  ],
  ["a loop of 2^14 rounds of 30 nodes", "onnx", () => loop(2 ** 14, 30), "E_LIMIT_FOLD"],
  ["a scan of elements of no axis", "onnx", () => scan([2]), "E_SHAPE"],
  ["a scan of 2^31 sequences", "onnx", () => scan([2 ** 31, 3]), "E_LIMIT_FOLD"],
  ["a softplus of integers", "onnx", () => unary("Softplus", "i8", [3], {}), "E_DTYPE"],
  ["a leaky Relu of integers", "onnx", () => unary("LeakyRelu", "i8", [3], {}), "E_DTYPE"],
  ["a Gelu of integers", "onnx", () => unary("Gelu", "i32", [3], {}), "E_DTYPE"],
  ...(
    [
      ["ConvTranspose", [2, 3], [2, 1, 2], {}, "E_SHAPE"],
      ["ConvTranspose", [1, 1, 3], [1, 2, 2, 2], {}, "E_SHAPE"],
      ["ConvTranspose", [1, 1, 3, 3], [1, 2, 3, 3], { strides: attr.ints([3]) }, "E_CONV"],
      ["RotaryEmbedding", [2, 4], [50, 4], { num_heads: attr.int(1) }, "E_SHAPE"],
      ["CausalConvWithState", [2, 4], [4, 1, 4], {}, "E_SHAPE"],
      ["Conv", [1, 1, 5, 5], [4], { kernel_shape: attr.ints([3, 3]) }, "E_SHAPE"],
      ["Conv", [1, 1, 5, 5], [3, 1, 1], { kernel_shape: attr.ints([3, 3]) }, "E_SHAPE"],
      ["ConvTranspose", [1, 1, 3, 3], [1, 2, 3, 0], {}, "E_CONV"],
      ["ConvTranspose", [1, 1, 3], [1, 2, 2 ** 31], {}, "E_OP_UNSUPPORTED"],
      ["TensorScatter", [2, 1, 4, 5], [1, 1, 5], {}, "E_SHAPE"],
    ] as const
  ).map(
    ([op, x, w, attrs, code]) =>
      [
        `${op} of [${x.join()}] and [${w.join()}]`,
        "onnx",
        () => binary(op, x, w, attrs),
        code,
      ] as const,
  ),
];

describe("inputs that mutation found", () => {
  it.each(cases)("%s", (_, reader, input, code) => {
    expect(failure(() => readers[reader].read(input())).code).toBe(code);
  });
});
