import fs from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FarrierError } from "../../../errors.js";
import {
  failure,
  mutate,
  random,
  survives,
  temporaryDirectory,
} from "../../files/failure.testing.js";
import { Checkpoint } from "../../files/checkpoint.js";
import { ModelDirectory } from "../../files/source-file.js";
import {
  attr,
  bytesField,
  concat,
  encodeGraph,
  encodeModel,
  encodeNode,
  f32Tensor,
  floatField,
  type GraphSpec,
  i64Tensor,
  intField,
  type ModelSpec,
  node,
  packedInts,
  stringField,
  tag,
  varint,
} from "./encode.testing.js";
import { decodeOnnx, readOnnx } from "./model.js";
import { type OnnxGraph, type OnnxModel, type OnnxTensor } from "./types.js";

const value = { name: "y", type: "f32", shape: [2] } as const;
const graph: GraphSpec = {
  nodes: [node("Relu", ["x"], ["y"])],
  inputs: [{ name: "x", type: "f32", shape: ["n", null, 3] }],
  outputs: [value],
};
const model = encodeModel({ graph });

/** A model with most of what a model can hold. */
const rich: ModelSpec = {
  producer: "test",
  opset: { "": 21, "com.example": 1 },
  metadata: { __proto__x: "1", author: "me" },
  graph: {
    ...graph,
    nodes: [
      {
        ...node("Mixed", ["x", "", "w"], ["y", ""], {
          float: attr.float(0.5),
          int: attr.int(-(2n ** 63n)),
          string: attr.string("é"),
          tensor: attr.tensor(i64Tensor("t", [2], [1, -1])),
          floats: attr.floats([1, 2.5]),
          ints: attr.ints([0, 2n ** 63n - 1n, -1]),
          strings: attr.strings(["a", ""]),
          branch: attr.graph({ nodes: [node("Relu", ["x"], ["z"])], outputs: [{ name: "z" }] }),
        }),
        name: "mixed",
        domain: "com.example",
      },
    ],
    initializers: [f32Tensor("w", [2, 2], [1, 2, 3, 4]), i64Tensor("s", [1], [7])],
    valueInfo: [{ name: "z", type: "bf16" }],
  },
  functions: [
    {
      name: "F",
      domain: "com.example",
      inputs: ["a"],
      outputs: ["b"],
      attributes: ["alpha"],
      defaults: { beta: attr.float(1) },
      nodes: [node("Elu", ["a"], ["b"], { alpha: attr.ref("alpha", 1) })],
    },
  ],
};

test("what is encoded is decoded", () => {
  const decoded = decodeOnnx(encodeModel(rich));
  expect([...decoded.opsets]).toEqual([
    ["", 21],
    ["com.example", 1],
  ]);
  expect(decoded.producer).toBe("test");
  const [first] = decoded.graph.nodes;
  expect(first).toMatchObject({
    index: 0,
    name: "mixed",
    op: "Mixed",
    domain: "com.example",
    inputs: ["x", "", "w"],
    outputs: ["y", ""],
  });
  const attributes = first?.attributes;
  expect(attributes?.get("float")).toEqual({ type: "float", value: 0.5 });
  expect(attributes?.get("int")).toEqual({ type: "int", value: -(2n ** 63n) });
  expect(attributes?.get("string")).toEqual({ type: "string", value: "é" });
  expect(attributes?.get("floats")).toEqual({ type: "floats", value: [1, 2.5] });
  expect(attributes?.get("ints")).toEqual({ type: "ints", value: [0n, 2n ** 63n - 1n, -1n] });
  expect(attributes?.get("strings")).toEqual({ type: "strings", value: ["a", ""] });
  expect(attributes?.get("tensor")).toMatchObject({ type: "tensor", value: { dtype: "i64" } });
  expect(attributes?.get("branch")).toMatchObject({
    type: "graph",
    value: { nodes: [{ op: "Relu" }], outputs: [{ name: "z", type: null }] },
  });
  expect(decoded.graph.inputs).toEqual([
    { name: "x", type: { kind: "tensor", elemType: "FLOAT", dtype: "f32", shape: ["n", null, 3] } },
  ]);
  expect(decoded.graph.valueInfo[0]?.type).toMatchObject({ dtype: "bf16", shape: null });
  expect(decoded.functions[0]).toMatchObject({ name: "F", attributes: ["alpha"] });
  expect(decoded.functions[0]?.nodes[0]?.attributes.get("alpha")).toEqual({
    type: "ref",
    ref: "alpha",
    of: "float",
  });
  expect(decoded.functions[0]?.defaults.get("beta")).toEqual({ type: "float", value: 1 });
});

test("the standard domain's second spelling", () => {
  const spec = { ...graph, nodes: [{ ...node("Relu", ["x"], ["y"]), domain: "ai.onnx" }] };
  const decoded = decodeOnnx(encodeModel({ opset: { "ai.onnx": 18 }, graph: spec }));
  expect(decoded.opsets.get("")).toBe(18);
  expect(decoded.graph.nodes[0]?.domain).toBe("");
});

test("value types: other kinds are kept as kinds", () => {
  const kinds: [number, string][] = [
    [4, "sequence"],
    [5, "map"],
    [7, "opaque"],
    [8, "sparse_tensor"],
    [9, "optional"],
  ];
  for (const [field, kind] of kinds) {
    const output = { name: "y", typeProto: bytesField(field) };
    const decoded = decodeOnnx(encodeModel({ graph: { ...graph, outputs: [output] } }));
    expect(decoded.graph.outputs[0]?.type).toEqual({ kind });
  }
});

describe("rows 1 and 10: what is no model", () => {
  test("1: an empty file", () => {
    const error = failure(() => decodeOnnx(new Uint8Array()));
    expect(error.code).toBe("E_ONNX_EMPTY");
    expect(error.message).toContain("0 bytes: not a model");
  });

  test.each([
    [
      "version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
      "Git LFS pointer",
      "git lfs pull",
    ],
    ["<!DOCTYPE html><html></html>", "HTML page", "download"],
    ["\n<html>", "HTML page", "download"],
    ["PK\x03\x04\x00\x00data.pkl", "zip archive", "torch.onnx.export"],
    ["\x80\x02}q\x00.", "pickle", "torch.onnx.export"],
    ["\x18\x00\x00\x00ORTM\x00\x00", "flatbuffer", ".onnx file"],
    ["GGUF\x03\x00\x00\x00", "GGUF", "original"],
    ["ir_version: 8\ngraph {}", "text form", "binary"],
    ["\x1f\x8b\x08\x00", "gzip", "unpack"],
    ["\x02\x00\x00\x00\x00\x00\x00\x00{}", "safetensors", "config.json"],
    ["hello world", "a text", ".onnx"],
  ])("10: %j", (text, what, hint) => {
    const error = failure(() => decodeOnnx(new Uint8Array(Buffer.from(text, "latin1"))));
    expect(error.code).toBe("E_NOT_ONNX");
    expect(error.message).toContain(what);
    expect(error.message).toContain(hint);
  });
});

describe("rows 3-9: the wire", () => {
  const varintOf = (length: number): Uint8Array =>
    concat(new Uint8Array(length - 1).fill(0x80), Uint8Array.of(0));

  test("3: a varint of ten bytes is read, of eleven refused", () => {
    expect(survives(() => decodeOnnx(concat(model, tag(99, 0), varintOf(10))))).toBe(true);
    const error = failure(() => decodeOnnx(concat(model, tag(99, 0), varintOf(11))));
    expect(error.code).toBe("E_WIRE_VARINT");
    expect(error.place.offset).toBe(model.length + 2);
    const tooLarge = concat(new Uint8Array(9).fill(0xff), Uint8Array.of(2));
    expect(failure(() => decodeOnnx(concat(model, tag(99, 0), tooLarge))).code).toBe(
      "E_WIRE_VARINT",
    );
  });

  test.each([5n, 2n ** 31n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n])("4: length %d", (length) => {
    const bytes = concat(model, tag(99, 2), varint(length), Uint8Array.of(1, 2, 3, 4));
    const error = failure(() => decodeOnnx(bytes));
    expect(error.code).toBe("E_WIRE_LENGTH");
    expect(error.message).toContain(`declares ${length} bytes, 4 left`);
  });

  test("4: a length that leaves its message, not the file", () => {
    const inner = concat(tag(2, 2), varint(100));
    const bytes = concat(intField(1, 10), bytesField(7, inner), new Uint8Array(200));
    expect(failure(() => decodeOnnx(bytes)).code).toBe("E_WIRE_LENGTH");
  });

  test.each<[string, Uint8Array]>([
    ["field 0", concat(tag(0, 0), varint(1))],
    ["wire type 6", tag(9, 6)],
    ["wire type 7", tag(9, 7)],
    ["field 2^29", concat(varint(2n ** 32n), varint(1))],
    ["a group's end alone", tag(99, 4)],
    ["a group's end with another number", concat(tag(99, 3), tag(98, 4))],
    ["a known field of another type", stringField(1, "x")],
  ])("5: %s", (_, bytes) => {
    expect(failure(() => decodeOnnx(concat(bytes, model))).code).toBe("E_WIRE_TAG");
  });

  test("6: groups within groups", () => {
    const groups = (depth: number): Uint8Array =>
      concat(
        ...Array.from({ length: depth }, () => tag(99, 3)),
        ...Array.from({ length: depth }, () => tag(99, 4)),
      );
    expect(survives(() => decodeOnnx(concat(model, groups(100))))).toBe(true);
    expect(failure(() => decodeOnnx(concat(model, groups(101)))).code).toBe("E_WIRE_DEPTH");
    const million = new Uint8Array(2_000_000);
    for (let at = 0; at < million.length; at += 2) million.set(tag(99, 3), at);
    expect(failure(() => decodeOnnx(concat(model, million))).code).toBe("E_WIRE_DEPTH");
    expect(failure(() => decodeOnnx(concat(model, groups(3).subarray(0, 7)))).code).toBe(
      "E_WIRE_TRUNCATED",
    );
  });

  /** If in If, `depth` subgraphs below the model's graph. */
  function nested(depth: number): Uint8Array {
    let inner = encodeGraph(graph);
    for (let level = 0; level < depth; level++) {
      const branch = { code: 5, fields: bytesField(6, inner) };
      inner = bytesField(
        1,
        encodeNode({ op: "If", outputs: ["y"], attrs: { then_branch: branch } }),
      );
    }
    return concat(bytesField(7, concat(inner, encodeGraph({ outputs: [value] }))), intField(1, 10));
  }

  test("7: subgraphs 32 deep are read, 33 and 2,000 deep are refused", () => {
    expect(survives(() => decodeOnnx(nested(31)))).toBe(true);
    expect(["E_GRAPH_DEPTH", "E_WIRE_DEPTH"]).toContain(failure(() => decodeOnnx(nested(33))).code);
    const deep = failure(() => decodeOnnx(nested(2_000)));
    expect(["E_GRAPH_DEPTH", "E_WIRE_DEPTH"]).toContain(deep.code);
  });

  test("7: types nested deep are skipped without recursion", () => {
    let type = bytesField(1, intField(1, 1));
    for (let level = 0; level < 10_000; level++) type = bytesField(4, bytesField(1, type));
    const bytes = encodeModel({ graph: { ...graph, outputs: [{ name: "y", typeProto: type }] } });
    expect(decodeOnnx(bytes).graph.outputs[0]?.type).toEqual({ kind: "sequence" });
  });

  test("8: unknown fields of every wire type are skipped", () => {
    const unknown = concat(
      intField(1000, 2n ** 64n - 1n),
      concat(tag(1001, 1), new Uint8Array(8)),
      stringField(1002, "text"),
      concat(tag(1003, 3), intField(1, 1), tag(1004, 3), tag(1004, 4), tag(1003, 4)),
      floatField(1005, 1),
    );
    const decoded = decodeOnnx(
      concat(unknown, encodeModel({ graph: { ...graph, extra: unknown } })),
    );
    expect(decoded.graph).toEqual(decodeOnnx(model).graph);
  });

  test("8: repeated numbers packed, unpacked and mixed", () => {
    const fields = concat(
      intField(8, 1),
      packedInts(8, [2, -3]),
      intField(8, 4),
      packedInts(8, []),
    );
    const spec = node("X", [], ["y"], { ints: attr.fields(7, fields) });
    const decoded = decodeOnnx(encodeModel({ graph: { ...graph, nodes: [spec] } }));
    expect(decoded.graph.nodes[0]?.attributes.get("ints")).toEqual({
      type: "ints",
      value: [1n, 2n, -3n, 4n],
    });
  });

  test("a packed run that ends inside a value", () => {
    const fields = bytesField(8, Uint8Array.of(0x80));
    const spec = node("X", [], ["y"], { ints: attr.fields(7, fields) });
    const bytes = encodeModel({ graph: { ...graph, nodes: [spec] } });
    expect(failure(() => decodeOnnx(bytes)).code).toMatch(/^E_WIRE_/);
  });

  test("9: a field twice that may stand once", () => {
    const again = concat(model, bytesField(7, encodeGraph(graph)));
    const error = failure(() => decodeOnnx(again));
    expect(error.code).toBe("E_WIRE_DUPLICATE");
    expect(error.message).toContain("field graph appears twice");
    const twice = {
      ...graph,
      nodes: [{ ...node("Relu", ["x"], ["y"]), extra: stringField(4, "Elu") }],
    };
    expect(failure(() => decodeOnnx(encodeModel({ graph: twice }))).code).toBe("E_WIRE_DUPLICATE");
  });
});

describe("rows 11-13: names", () => {
  const named = (name: string): ModelSpec => ({
    graph: { ...graph, nodes: [{ ...node("Relu", ["x"], [name]), name }] },
  });

  test("11: invalid UTF-8 at its byte", () => {
    const extra = bytesField(1, Uint8Array.of(0x61, 0xff));
    const bytes = encodeModel({ graph: { ...graph, nodes: [{ op: "Relu", extra }] } });
    const error = failure(() => decodeOnnx(bytes));
    expect(error.code).toBe("E_NAME_UTF8");
    expect(error.place.offset).toBe(bytes.indexOf(0xff));
  });

  test.each([
    ["__proto__", "__proto__"],
    ["constructor", "constructor"],
    ["toString", "toString"],
    ["characters of code", "a\0b\n\"'*/ }; ret;"],
    ["60,000 bytes", "é".repeat(30_000)],
  ])("12, 13: %s", (_, name) => {
    const decoded = decodeOnnx(encodeModel(named(name)));
    expect(decoded.graph.nodes[0]).toMatchObject({ name, outputs: [name] });
  });

  test("12: attributes of such names", () => {
    const attrs = Object.fromEntries([["__proto__", attr.int(1)] as const]);
    const spec = { ...node("X", [], ["y"]), attrs };
    const decoded = decodeOnnx(encodeModel({ graph: { ...graph, nodes: [spec] } }));
    expect(decoded.graph.nodes[0]?.attributes.get("__proto__")).toEqual({ type: "int", value: 1n });
  });

  test("13: a name of a megabyte", () => {
    expect(failure(() => decodeOnnx(encodeModel(named("x".repeat(2 ** 20))))).code).toBe(
      "E_NAME_LENGTH",
    );
  });
});

describe("rows 14 and 31: structure", () => {
  test.each<[string, Uint8Array]>([
    ["no graph", intField(1, 10)],
    ["no outputs", encodeModel({ graph: { ...graph, outputs: [] } })],
  ])("14: %s", (_, bytes) => {
    expect(failure(() => decodeOnnx(bytes)).code).toBe("E_GRAPH_MISSING");
  });

  test.each<[string, ReturnType<typeof attr.int>]>([
    ["declared int, holds a float", attr.fields(2, floatField(2, 1))],
    ["two values", attr.fields(2, floatField(2, 1), intField(3, 1))],
    ["no type, two values", attr.fields(0, floatField(2, 1), intField(3, 1))],
    ["no type, no value", attr.fields(0)],
    ["type 99", attr.fields(99, intField(3, 1))],
    ["a tensor without one", attr.fields(4)],
    ["a reference with a value", attr.fields(2, intField(3, 1), stringField(21, "x"))],
  ])("31: an attribute: %s", (_, spec) => {
    const bytes = encodeModel({
      graph: { ...graph, nodes: [node("X", [], ["y"], { axis: spec })] },
    });
    const error = failure(() => decodeOnnx(bytes));
    expect(error.code).toBe("E_ATTR_TYPE");
    expect(error.message).toContain('"axis"');
  });

  test("an attribute of the first files, without a type", () => {
    const spec = node("X", [], ["y"], { axis: attr.fields(0, intField(3, -1)) });
    const decoded = decodeOnnx(encodeModel({ graph: { ...graph, nodes: [spec] } }));
    expect(decoded.graph.nodes[0]?.attributes.get("axis")).toEqual({ type: "int", value: -1n });
  });

  test("54: more than a million nodes are refused in time", () => {
    const identity = bytesField(1, encodeNode(node("Identity", ["x"], ["y"])));
    const nodes = Buffer.alloc(identity.length * 1_000_001, identity);
    const bytes = concat(bytesField(7, nodes, encodeGraph(graph)), intField(1, 10));
    const start = process.cpuUsage();
    expect(failure(() => decodeOnnx(bytes)).code).toBe("E_LIMIT_NODES");
    expect(process.cpuUsage(start).user).toBeLessThan(10_000_000);
  });

  test("two versions of one domain", () => {
    const opset = bytesField(8, intField(2, 20));
    expect(failure(() => decodeOnnx(concat(model, opset))).code).toBe("E_OPSET");
  });
});

/** Every tensor of the model, subgraphs included. */
function tensorsOf(decoded: OnnxModel): OnnxTensor[] {
  const tensors: OnnxTensor[] = [];
  const visit = (part: Pick<OnnxGraph, "nodes" | "initializers">): void => {
    tensors.push(...part.initializers);
    for (const { attributes } of part.nodes) {
      for (const attribute of attributes.values()) {
        if (attribute.type === "tensor") tensors.push(attribute.value);
        if (attribute.type === "graph") visit(attribute.value);
      }
    }
  };
  visit(decoded.graph);
  return tensors;
}

const fixtures = new URL("../../../../test/fixtures/models/", import.meta.url);
const names = ["gpt2/dyn", "gpt2/static", "llama/dyn", "llama/static"];

describe("fixtures", () => {
  test.each(names)("%s.onnx: every tensor has its bytes, by range", (name) => {
    const file = new URL(`${name}.onnx`, fixtures).pathname;
    const decoded = readOnnx(file);
    expect(decoded.warnings).toEqual([]);
    expect(decoded.files.map((source) => source.name)).toEqual([
      `${name.split("/")[1]}.onnx`,
      `${name.split("/")[1]}.onnx.data`,
    ]);
    for (const { data } of tensorsOf(decoded)) {
      const bytes = data.bytes();
      expect(bytes.length).toBe(data.byteLength);
      if (data.location === null) continue;
      const source = decoded.files.find((candidate) => candidate.name === data.location?.file);
      const again = source?.readRange(data.location.offset, bytes.length) ?? new Uint8Array();
      expect(Buffer.compare(again, bytes)).toBe(0);
    }
    decoded.close();
  });

  test("weights are those of the checkpoint that the file was exported from", () => {
    const decoded = readOnnx(new URL("gpt2/dyn.onnx", fixtures).pathname);
    const directory = ModelDirectory.at(new URL("gpt2/hf", fixtures).pathname);
    const checkpoint = Checkpoint.open(directory);
    let same = 0;
    for (const tensor of decoded.graph.initializers) {
      const ref = checkpoint.tensors.get(tensor.name.replace(/^m\./, ""));
      if (ref === undefined) continue;
      expect([tensor.dtype, tensor.shape]).toEqual([ref.dtype, ref.shape]);
      expect(Buffer.compare(checkpoint.read(ref), tensor.data.bytes())).toBe(0);
      same++;
    }
    expect(same).toBe(27);
    decoded.close();
    directory.close();
  });
});

describe("row 2: prefixes", () => {
  test("a prefix is an error, or the whole graph", () => {
    const seeds = [rich, { graph }, named("é")].map((spec) => encodeModel(spec));
    for (const seed of seeds) {
      const whole = JSON.stringify(decodeOnnx(seed).graph, plain);
      for (let length = 0; length < seed.length; length++) {
        let decoded: OnnxModel | undefined;
        if (!survives(() => (decoded = decodeOnnx(seed.slice(0, length))))) continue;
        expect(JSON.stringify(decoded?.graph, plain)).toBe(whole);
      }
    }
  });

  test("a prefix that ends inside a value says where the file ends", () => {
    for (let length = 3; length < 20; length++) {
      const error: FarrierError = failure(() => decodeOnnx(model.slice(0, length)));
      expect(error.code).toMatch(/^E_(WIRE_(TRUNCATED|LENGTH)|GRAPH_MISSING)$/);
      expect(error.code).not.toBe("E_GRAPH_MISSING");
    }
  });

  function named(name: string): ModelSpec {
    return { graph: { ...graph, nodes: [{ ...node("Relu", ["x"], ["y"]), name }] } };
  }
  const plain = (_: string, item: unknown): unknown => {
    if (typeof item === "bigint") return `${item}n`;
    return item instanceof Map ? [...(item as Map<unknown, unknown>)] : item;
  };
});

describe("mutated models: only FarrierError", () => {
  const root = temporaryDirectory();
  afterAll(() => root.remove());
  beforeAll(() => {
    const data = new URL("gpt2/dyn.onnx.data", fixtures);
    fs.copyFileSync(data, root.file("dyn.onnx.data"));
  });

  test("bytes", () => {
    const next = random(4);
    const seeds = [encodeModel(rich), model];
    for (let round = 0; round < 4000; round++) {
      const bytes = mutate(seeds[round % seeds.length] ?? model, next);
      survives(() => {
        for (const tensor of tensorsOf(decodeOnnx(bytes))) survives(() => tensor.data.bytes());
      });
    }
  });

  test("files with external data", () => {
    const next = random(5);
    const seed = new Uint8Array(fs.readFileSync(new URL("gpt2/dyn.onnx", fixtures)));
    let read = 0;
    for (let round = 0; round < 1000; round++) {
      fs.writeFileSync(root.file("dyn.onnx"), mutate(seed, next));
      const ok = survives(() => {
        const decoded = readOnnx(root.file("dyn.onnx"));
        for (const tensor of tensorsOf(decoded)) survives(() => tensor.data.bytes());
        decoded.close();
      });
      if (ok) read++;
    }
    expect(read).toBeGreaterThan(10);
  });
});
