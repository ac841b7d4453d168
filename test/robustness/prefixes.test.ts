/** Row 2: a file that was cut off is an error, never a smaller model. */
import { describe, expect, it } from "vitest";
import { FarrierError } from "../../compiler/errors.js";
import { readHeader } from "../../compiler/frontend/files/safetensors.js";
import { importModel } from "../../compiler/frontend/onnx/import.js";
import {
  attr,
  encodeModel,
  f32Tensor,
  node,
  type ModelSpec,
  type NodeSpec,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { decodeOnnx } from "../../compiler/frontend/onnx/wire/model.js";
import { printGraph } from "../../compiler/ir/print.js";
import { graphOf, ints } from "./case.js";

const model = (
  nodes: readonly NodeSpec[],
  tensors: readonly TensorSpec[] = [],
  rest: Partial<ModelSpec> = {},
): ModelSpec => ({ opset: 24, graph: graphOf(nodes, ...tensors), ...rest });

const one = (op: string, attrs: NodeSpec["attrs"] = {}): ModelSpec =>
  model([node(op, ["x"], ["y"], attrs)]);
const with_ = (op: string, tensor: TensorSpec, attrs: NodeSpec["attrs"] = {}): ModelSpec =>
  model([node(op, ["x", tensor.name!], ["y"], attrs)], [tensor]);

const square = f32Tensor("w", [3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
const vector = f32Tensor("w", [3], [1, 2, 3]);
const branch = attr.graph({ nodes: [node("Neg", ["x"], ["v"])], outputs: [{ name: "v" }] });
const yes: TensorSpec = { name: "c", type: "bool", dims: [], raw: Uint8Array.of(1) };
const own = {
  ...{ name: "F", domain: "own", inputs: ["a"], outputs: ["b"], attributes: ["alpha"] },
  nodes: [node("Elu", ["a"], ["b"], { alpha: attr.ref("alpha", 1) })],
};

const models: readonly ModelSpec[] = [
  ...["Neg", "Exp", "Tanh", "Relu", "Identity", "Softmax"].map((op) => one(op)),
  one("Transpose", { perm: attr.ints([0, 1]) }),
  one("Elu", { alpha: attr.float(0.5) }),
  one("Gelu", { approximate: attr.string("tanh") }),
  one("Cast", { to: attr.int(1) }),
  with_("MatMul", square),
  with_("Gemm", square, { transB: attr.int(1) }),
  with_("Add", vector),
  with_("LayerNormalization", vector),
  with_("Reshape", ints("s", 2, 3)),
  with_("Tile", ints("s", 1, 1)),
  model([
    node("Add", ["x", "x"], ["a"]),
    node("Mul", ["a", "x"], ["b"]),
    node("Sub", ["b", "a"], ["y"]),
  ]),
  model([node("If", ["c"], ["y"], { then_branch: branch, else_branch: branch })], [yes]),
  model([{ ...node("F", ["x"], ["y"], { alpha: attr.float(2) }), domain: "own" }], [], {
    opset: { "": 21, own: 1 },
    functions: [own],
  }),
  model([node("Neg", ["x"], ["y"])], [], { metadata: { author: "é" }, producer: "test" }),
];

const graphText = (bytes: Uint8Array): string => {
  const imported = importModel(decodeOnnx(bytes), {});
  return imported.entries.map(({ graph }) => printGraph(graph)).join("\n");
};

describe("every prefix of a model is an error, or the whole graph", () => {
  it("is about 20 models", () => expect(models).toHaveLength(20));

  it.each(models.map((spec, i) => [i, spec] as const))("model %i", (_, spec) => {
    const bytes = encodeModel(spec);
    const whole = graphText(bytes);
    const codes = new Set<string>();
    for (let length = 0; length < bytes.length; length++)
      try {
        expect(graphText(bytes.slice(0, length))).toBe(whole);
      } catch (error) {
        if (!(error instanceof FarrierError)) throw error;
        codes.add(error.code);
      }
    expect([...codes]).toEqual(expect.arrayContaining(["E_ONNX_EMPTY", "E_WIRE_LENGTH"]));
    expect([...codes].filter((code) => code === "E_INTERNAL")).toEqual([]);
  });
});

it("every prefix of a safetensors file is an error", () => {
  const header = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}';
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(header.length));
  const bytes = new Uint8Array(Buffer.concat([head, Buffer.from(header), Buffer.alloc(4)]));
  const read = (length: number) => (): unknown =>
    readHeader({
      size: length,
      path: "x",
      readRange: (offset, count) => bytes.slice(offset, offset + count),
    });
  for (let length = 0; length < bytes.length; length++)
    expect(read(length)).toThrow(/^E_ST_(HEADER_LEN|OFFSETS)/);
  expect(read(bytes.length)).not.toThrow();
});
