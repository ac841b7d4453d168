/**
 * A decoder as ONNX exports of Hugging Face models have it: `input_ids`, `attention_mask`,
 * `position_ids` and `past_key_values.*` of dynamic length in, `present.*` out, masks made of shapes.
 */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { constantReader } from "../../compiler/constants.js";
import {
  attr,
  encodeModel,
  i64Tensor,
  node,
  type GraphSpec,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { importModel } from "../../compiler/import.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import { tensor, type TensorValue } from "../../compiler/ir/tensor.js";
import { bundleOf, compare, loaded, temporaryDirectory } from "../support.js";

const [heads, size, vocabulary, positions, layers] = [2, 4, 19, 64, 2];
const hidden = heads * size;

/** Numbers between -1 and 1 that look random. */
function noise(seed: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return Math.fround(2 * (x - Math.floor(x)) - 1);
  });
}

const weight = (name: string, seed: number, ...dims: readonly number[]): TensorSpec => ({
  name,
  type: "f32",
  dims,
  floatData: noise(
    seed,
    dims.reduce((a, b) => a * b, 1),
  ),
});

/** The graph of a decoder; `total` is what its mask's last dimension is called. */
function decoder(total: string): GraphSpec {
  const nodes = [
    node("Gather", ["tokens", "input_ids"], ["embedded"]),
    node("Gather", ["places", "position_ids"], ["placed"]),
    node("Add", ["embedded", "placed"], ["x0"]),
    node("Shape", ["input_ids"], ["shape"]),
    node("Gather", ["shape", "one"], ["length"]),
    node("Shape", ["past_key_values.0.key"], ["past_shape"]),
    node("Gather", ["past_shape", "two"], ["past_length"]),
    node("Add", ["length", "past_length"], ["total_length"]),
    // A query at place p sees the keys up to past + p, unless they are padding.
    node("Range", ["zero", "total_length", "one"], ["keys"]),
    node("Range", ["past_length", "total_length", "one"], ["queries"]),
    node("Unsqueeze", ["queries", "axis1"], ["column"]),
    node("LessOrEqual", ["keys", "column"], ["causal"]),
    node("Unsqueeze", ["attention_mask", "axes12"], ["apart"]),
    node("Cast", ["apart"], ["present"], { to: attr.int(9) }),
    node("And", ["causal", "present"], ["visible"]),
    node("Where", ["visible", "none", "least"], ["bias"]),
  ];
  const initializers: TensorSpec[] = [
    weight("tokens", 1, vocabulary, hidden),
    weight("places", 2, positions, hidden),
    weight("head", 3, hidden, vocabulary),
    i64Tensor("zero", [], [0]),
    i64Tensor("one", [], [1]),
    i64Tensor("two", [], [2]),
    i64Tensor("axis1", [1], [1]),
    i64Tensor("axes12", [2], [1, 2]),
    i64Tensor("split", [4], [0, 0, heads, size]),
    i64Tensor("joined", [3], [0, 0, hidden]),
    { name: "none", type: "f32", dims: [], floatData: [0] },
    { name: "least", type: "f32", dims: [], floatData: [Math.fround(-3.4028234663852886e38)] },
    { name: "root", type: "f32", dims: [], floatData: [2] },
  ];
  for (let i = 0; i < layers; i++) {
    const own = (name: string): string => `${name}.${i}`;
    const past = `past_key_values.${i}`;
    for (const [j, name] of ["query", "key", "value", "output"].entries())
      initializers.push(weight(own(`${name}.weight`), 10 * (i + 1) + j, hidden, hidden));
    for (const name of ["query", "key", "value"])
      nodes.push(
        node("MatMul", [`x${i}`, own(`${name}.weight`)], [own(`${name}.flat`)]),
        node("Reshape", [own(`${name}.flat`), "split"], [own(`${name}.heads`)]),
        node("Transpose", [own(`${name}.heads`)], [own(name)], { perm: attr.ints([0, 2, 1, 3]) }),
      );
    nodes.push(
      node("Concat", [`${past}.key`, own("key")], [`present.${i}.key`], { axis: attr.int(2) }),
      node("Concat", [`${past}.value`, own("value")], [`present.${i}.value`], {
        axis: attr.int(2),
      }),
      node("Transpose", [`present.${i}.key`], [own("turned")], { perm: attr.ints([0, 1, 3, 2]) }),
      node("MatMul", [own("query"), own("turned")], [own("product")]),
      node("Div", [own("product"), "root"], [own("scores")]),
      node("Add", [own("scores"), "bias"], [own("masked")]),
      node("Softmax", [own("masked")], [own("shares")], { axis: attr.int(-1) }),
      node("MatMul", [own("shares"), `present.${i}.value`], [own("mixed")]),
      node("Transpose", [own("mixed")], [own("rows")], { perm: attr.ints([0, 2, 1, 3]) }),
      node("Reshape", [own("rows"), "joined"], [own("flat")]),
      node("MatMul", [own("flat"), own("output.weight")], [own("out")]),
      node("Add", [`x${i}`, own("out")], [`x${i + 1}`]),
    );
  }
  nodes.push(node("MatMul", [`x${layers}`, "head"], ["logits"]));
  const cache = ["batch_size", heads, "past_sequence_length", size];
  const each = Array.from({ length: layers }, (_, i) =>
    ["key", "value"].map((kind) => `${i}.${kind}`),
  );
  const ids = ["batch_size", "sequence_length"];
  return {
    inputs: [
      { name: "input_ids", type: "i64", shape: ids },
      { name: "attention_mask", type: "i64", shape: ["batch_size", total] },
      { name: "position_ids", type: "i64", shape: ids },
      ...each.flat().map((name) => ({
        name: `past_key_values.${name}`,
        type: "f32" as const,
        shape: cache,
      })),
    ],
    outputs: [
      { name: "logits", type: "f32", shape: [...ids, vocabulary] },
      ...each.flat().map((name) => ({ name: `present.${name}`, type: "f32" as const })),
    ],
    initializers,
    nodes,
  };
}

/** Inputs of a batch of two of which the first has padding at its left. */
function inputsOf(past: number, length: number): Map<string, TensorValue> {
  const total = past + length;
  const padding = Math.min(2, total - 1);
  const ids = Array.from({ length: 2 * length }, (_, i) => (i * 7 + past) % vocabulary);
  const mask = [0, 1].flatMap((row) =>
    Array.from({ length: total }, (_, i) => (row === 0 && i < padding ? 0 : 1)),
  );
  const places = [0, 1].flatMap((row) =>
    Array.from({ length }, (_, i) => Math.max(0, past + i - (row === 0 ? padding : 0))),
  );
  const cache = (seed: number): TensorValue =>
    tensor("f32", [2, heads, past, size], noise(seed, 2 * heads * past * size));
  return new Map([
    ["input_ids", tensor("i64", [2, length], ids)],
    ["attention_mask", tensor("i64", [2, total], mask)],
    ["position_ids", tensor("i64", [2, length], places)],
    ...Array.from({ length: layers }, (_, i) => [
      [`past_key_values.${i}.key`, cache(50 + i)] as const,
      [`past_key_values.${i}.value`, cache(60 + i)] as const,
    ]).flat(),
  ]);
}

/**
 * The elements at tokens, of a tensor whose last positions along `axis` are the mask's. What padding
 * computes, which sees nothing but padding, is nobody's business.
 */
function ofTokens(
  data: Float64Array,
  shape: readonly number[],
  axis: number,
  { data: mask, shape: [, total] }: TensorValue,
): Float64Array {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const middle = shape.slice(1, axis).reduce((a, b) => a * b, 1);
  const extent = shape[axis]!;
  return data.filter((_, i) => {
    const place = Math.floor(i / inner) % extent;
    const row = Math.floor(i / (inner * extent * middle));
    return Number(mask[row * total! + total! - extent + place]) === 1;
  });
}

const dims = {
  batch_size: [1, 4],
  sequence_length: [1, 16],
  past_sequence_length: [0, 40],
} as const;

/** How exporters call the sum of both lengths, and what has to be said about it. */
const spellings = [
  ["past_sequence_length + sequence_length", dims],
  [
    "total_sequence_length",
    { ...dims, total_sequence_length: "past_sequence_length + sequence_length" },
  ],
] as const;

describe.each(spellings)("a mask of %s", (total, given) => {
  const scratch = temporaryDirectory();
  const file = path.join(scratch, "decoder.onnx");
  let bundle: string;
  beforeAll(async () => {
    fs.writeFileSync(file, encodeModel({ opset: 17, graph: decoder(total) }));
    bundle = await bundleOf(file, { dims: given });
  }, 240_000);

  it("serves prefill and decoding with padding", async () => {
    const imported = importModel(file, { dims: given, needWeights: true });
    const reader = constantReader(imported);
    const model = await loaded(bundle);
    for (const [past, length] of [
      [0, 5],
      [0, 1],
      [5, 1],
      [17, 1],
      [9, 4],
      [40, 16],
    ] as const) {
      const inputs = inputsOf(past, length);
      const { outputs } = evaluateGraph(imported.entries[0]!.graph, inputs, {
        constants: (source) => reader.source(source, Infinity)!,
      });
      const results = await model.run(
        Object.fromEntries(
          [...inputs].map(([name, { shape, data }]) => [name, { shape, data: [...data] }]),
        ),
      );
      const mask = inputs.get("attention_mask")!;
      for (const [name, value] of outputs) {
        const found = results[name]!;
        expect(found.shape, name).toEqual(value.shape);
        const [got, wanted] = [found.toFloat64(), value.data as Float64Array].map((data) =>
          ofTokens(data, value.shape, name === "logits" ? 1 : 2, mask),
        ) as [Float64Array, Float64Array];
        const { relRms } = compare(got, wanted, [got.length]);
        expect(relRms, `${name} at ${past} + ${length}`).toBeLessThanOrEqual(2e-6);
      }
    }
    await model.close();
  }, 60_000);
});
