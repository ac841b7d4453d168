/** What mutation found, made by hand: each was a crash or took more than its share. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../../compiler/frontend/files/failure.testing.js";
import {
  attr,
  encodeModel,
  node,
  type AttrSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
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
  ...(
    [
      ["ConvTranspose", [2, 3], [2, 1, 2], {}, "E_SHAPE"],
      ["ConvTranspose", [1, 1, 3], [1, 2, 2, 2], {}, "E_SHAPE"],
      ["ConvTranspose", [1, 1, 3, 3], [1, 2, 3, 3], { strides: attr.ints([3]) }, "E_CONV"],
      ["RotaryEmbedding", [2, 4], [50, 4], { num_heads: attr.int(1) }, "E_SHAPE"],
      ["CausalConvWithState", [2, 4], [4, 1, 4], {}, "E_SHAPE"],
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
