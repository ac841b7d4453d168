import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { topological } from "../../ir/graph.js";
import { tensor, type TensorValue } from "../../ir/tensor.js";
import { verify } from "../../ir/verify.js";
import { rangeOf } from "../../scalar/range.js";
import { SafetensorsFile } from "../files/safetensors.js";
import { fromBytes } from "../../ir/tensor.js";
import { importOnnx } from "./import.js";
import { evaluated, imported } from "./import.testing.js";
import { attr, f32Tensor, i64Tensor, node, type GraphSpec } from "./wire/encode.testing.js";

const models = new URL("../../../test/fixtures/models/", import.meta.url).pathname;

const exported = fs
  .readdirSync(models)
  .flatMap((name) =>
    ["static.onnx", "dyn.onnx", "ts.onnx"].map((file) => path.join(models, name, file)),
  )
  .filter((file) => fs.existsSync(file));
const dynamic = exported.filter((file) => !file.endsWith("static.onnx"));

const dims = { batch: [1, 8], seq: [1, 128] } as const;
const dimsOf = (file: string): Record<string, readonly [number, number]> =>
  file.endsWith("static.onnx") ? {} : dims;

function golden(file: string): Record<string, TensorValue> {
  const tensors = SafetensorsFile.open(path.join(path.dirname(file), "golden.safetensors"));
  return Object.fromEntries(
    ["input", "output"].map((name) => {
      const { dtype, shape } = tensors.tensors.get(name)!;
      return [name, fromBytes(dtype, shape, tensors.read(name))];
    }),
  );
}

function relativeRms(found: TensorValue, expected: TensorValue): number {
  expect(found.shape).toEqual(expected.shape);
  let [error, total] = [0, 0];
  expected.data.forEach((value: number | bigint, i: number) => {
    error += (Number(found.data[i]) - Number(value)) ** 2;
    total += Number(value) ** 2;
  });
  return Math.sqrt(error / total);
}

const named = (files: readonly string[]): [string, string][] =>
  files.map((file) => [path.relative(models, file), file]);

describe("exported models", () => {
  test.each(named(exported))("%s computes what it was exported from", (_, file) => {
    const model = importOnnx(file, { dims: dimsOf(file) });
    verify(model.entries[0]!.graph, "import");
    const { input, output } = golden(file);
    const found = evaluated(model, { input: input! }).get("output")!;
    expect(relativeRms(found, output!)).toBeLessThan(1e-6);
  });

  test.each(named(dynamic))("%s computes the same at any size", (_, file) => {
    const model = importOnnx(file, { dims });
    for (const [batch, seq] of [
      [1, 1],
      [1, 2],
      [3, 17],
    ] as const) {
      const ids = Array.from({ length: batch * seq }, (_, i) => BigInt((i * 37) % 256));
      const input = tensor("i64", [batch, seq], ids);
      const fixed = importOnnx(file, { dims: { batch: [batch, batch], seq: [seq, seq] } });
      expect(fixed.symbols).toEqual([]);
      const [any, one] = [model, fixed].map((each) => evaluated(each, { input }).get("output")!);
      expect(any!.shape.slice(0, 2)).toEqual([batch, seq]);
      expect(any).toEqual(one);
    }
  });

  test.each(named(dynamic))("%s computes no shape at run time", (_, file) => {
    const { graph } = importOnnx(file, { dims }).entries[0]!;
    for (const each of topological(graph)) {
      if (each.op !== "concat" || each.dtype !== "i64") continue;
      const dimensions = each.inputs.every((part) => part.inputs[0]?.op === "dim");
      expect(dimensions).toBe(false);
    }
  });

  test("weights stay in their files", () => {
    const model = importOnnx(exported[0]!, { dims: dimsOf(exported[0]!) });
    expect(model.tensors.length).toBeGreaterThan(10);
    const literals = topological(model.entries[0]!.graph).flatMap((each) =>
      each.op === "constant" && "source" in each.attrs! && each.attrs.source.kind === "literal"
        ? [each.attrs.source.data.length]
        : [],
    );
    expect(Math.max(...literals)).toBeLessThanOrEqual(64 * 1024);
    for (const { place, shape } of model.tensors)
      expect(place?.bytes).toBe(4 * shape.reduce((x, y) => x * y, 1));
  });

  test("without weights there are only shapes", () => {
    const model = importOnnx(exported[0]!, { dims: dimsOf(exported[0]!), weights: "none" });
    expect(model.tensors.length).toBeGreaterThan(10);
    expect(model.tensors.every(({ place }) => place === null)).toBe(true);
  });

  test("errors name the file and the flag", () => {
    expect(() => importOnnx(dynamic[0]!)).toThrow(
      /E_SHAPE_UNBOUNDED: .*\.onnx: dimensions "batch", "seq".*--dim batch=1\.\.64 --dim seq=1\.\.64/,
    );
  });
});

const f32 = (shape: readonly number[], values: readonly number[]): TensorValue =>
  tensor("f32", shape, values);

const x23 = { name: "x", type: "f32", shape: ["n", 3] } as const;

function small(graph: GraphSpec): Parameters<typeof imported>[0] {
  return { graph: { inputs: [x23], outputs: [{ name: "y", type: "f32" }], ...graph } };
}

describe("symbols", () => {
  test("shapes follow the inputs' dimensions", () => {
    const model = imported(
      small({
        initializers: [i64Tensor("minus", [1], [-1])],
        nodes: [
          node("Concat", ["x", "x"], ["c"], { axis: attr.int(0) }),
          node("Reshape", ["c", "minus"], ["y"]),
        ],
      }),
      { dims: { n: [1, 10] } },
    );
    const [length] = model.entries[0]!.graph.outputs[0]!.node.shape;
    expect(rangeOf(length!)).toEqual({ min: 6, max: 60 });
    expect(model.symbols).toEqual([{ name: "n", space: "host", min: 1, max: 10, divisor: 1 }]);
  });

  test("an input that has an initializer is a constant", () => {
    const model = imported(
      small({
        inputs: [x23, { name: "w", type: "f32", shape: [3] }],
        initializers: [f32Tensor("w", [3], [1, 2, 3])],
        nodes: [node("Mul", ["x", "w"], ["y"])],
      }),
      { dims: { n: [1, 4] } },
    );
    expect(model.entries[0]!.graph.inputs.map((each) => each.attrs.name)).toEqual(["x"]);
    const found = evaluated(model, { x: f32([1, 3], [1, 1, 1]) }).get("y")!;
    expect([...found.data]).toEqual([1, 2, 3]);
  });

  test("a fixed input is a constant, and shapes may depend on it", () => {
    const spec = small({
      inputs: [x23, { name: "s", type: "i64", shape: [2] }],
      nodes: [node("Reshape", ["x", "s"], ["y"])],
    });
    const dims = { n: [2, 2] } as const;
    expect(() => imported(spec, { dims })).toThrow(
      /E_OP_UNSUPPORTED: node 0 \(Reshape\): data-dep/,
    );
    const fixed = new Map([["s", tensor("i64", [2], [3n, -1n])]]);
    const { node: y } = imported(spec, { dims, fixed }).entries[0]!.graph.outputs[0]!;
    expect(y.shape.map((dim) => rangeOf(dim).max)).toEqual([3, 2]);
  });
});

describe("graphs", () => {
  test("functions are inlined, with their callers' attributes", () => {
    const model = imported(
      {
        opset: { "": 21, own: 1 },
        graph: {
          inputs: [x23],
          outputs: [{ name: "y", type: "f32" }],
          nodes: [{ ...node("Leaky", ["x"], ["y"], { slope: attr.float(0.5) }), domain: "own" }],
        },
        functions: [
          {
            name: "Leaky",
            domain: "own",
            inputs: ["a"],
            outputs: ["b"],
            attributes: ["slope"],
            nodes: [node("LeakyRelu", ["a"], ["b"], { alpha: attr.ref("slope", 1) })],
          },
        ],
      },
      { dims: { n: [1, 4] } },
    );
    const found = evaluated(model, { x: f32([1, 3], [-2, 0, 4]) }).get("y")!;
    expect([...found.data]).toEqual([-1, 0, 4]);
  });

  test("only the branch that a constant condition chooses is imported", () => {
    const branch = (op: string): GraphSpec => ({
      outputs: [{ name: `${op}_out` }],
      nodes: [node(op, ["x"], [`${op}_out`])],
    });
    const model = imported(
      small({
        initializers: [{ name: "no", type: "bool", raw: Uint8Array.of(0) }],
        nodes: [
          node("If", ["no"], ["y"], {
            then_branch: attr.graph(branch("Neg")),
            else_branch: attr.graph(branch("Abs")),
          }),
        ],
      }),
      { dims: { n: [1, 4] } },
    );
    const found = evaluated(model, { x: f32([1, 3], [-2, 0, 4]) }).get("y")!;
    expect([...found.data]).toEqual([2, 0, 4]);
  });

  test("long chains of shape arithmetic and of data take linear time", () => {
    const count = 20_000;
    const chain = (op: string, first: string, name: string, extra: readonly string[]) =>
      Array.from({ length: count }, (_, i) =>
        node(op, [i === 0 ? first : `${name}${i}`, ...extra], [`${name}${i + 1}`]),
      );
    const model = imported(
      small({
        initializers: [i64Tensor("zero", [1], [0])],
        nodes: [
          ...chain("Identity", "x", "i", []),
          ...chain("Neg", `i${count}`, "d", []),
          node("Shape", [`d${count}`], ["s"]),
          ...chain("Add", "s", "a", ["zero"]),
          node("Reshape", ["x", `a${count}`], ["y"]),
        ],
      }),
      { dims: { n: [1, 4] } },
    );
    expect(model.entries[0]!.graph.outputs[0]!.node.op).toBe("input");
  });

  test("names that mean something to JavaScript are names", () => {
    const model = imported(
      small({ nodes: [node("Neg", ["x"], ["__proto__"]), node("Neg", ["__proto__"], ["y"])] }),
      { dims: { n: [1, 4] } },
    );
    expect(evaluated(model, { x: f32([1, 3], [1, 2, 3]) }).get("y")!.data[2]).toBe(3);
  });
});
