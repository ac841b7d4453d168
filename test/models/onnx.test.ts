/** The fixtures of every exporter on a CPU: goldens in float64, and shapes of the dynamic files. */
import { beforeAll, describe, expect, it } from "vitest";
import { constantReader } from "../../compiler/constants.js";
import { importModel } from "../../compiler/import.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import { tensor } from "../../compiler/ir/tensor.js";
import { asInput, bundleOf, compare, fixture, golden, isas, loaded, relRms } from "../support.js";

const models = ["gpt2", "llama"];
const profile = { batch: [1, 4], seq: [1, 128] } as const;
const shapes = [
  [1, 1],
  [1, 2],
  [3, 17],
  [2, 24],
  [2, 128],
] as const;

describe.each(models)("%s/static.onnx", (name) => {
  const tensors = golden(fixture(name, "golden.safetensors"));
  let bundle: string;
  beforeAll(async () => {
    bundle = await bundleOf(fixture(name, "static.onnx"));
  }, 240_000);

  it.each(isas())("computes the golden output, %s", async (isa) => {
    const model = await loaded(bundle, isa);
    const { output } = await model.run({ input: asInput("input", tensors.get("input")!, "i64") });
    expect(relRms(output!, tensors.get("output")!)).toBeLessThanOrEqual(2e-6);
    await model.close();
  });
});

describe.each(models)("%s/dyn.onnx", (name) => {
  const tensors = golden(fixture(name, "golden.safetensors"));
  let bundle: string;
  beforeAll(async () => {
    bundle = await bundleOf(fixture(name, "dyn.onnx"), { dims: profile });
  }, 240_000);

  it("computes the golden output", async () => {
    const model = await loaded(bundle);
    const { output } = await model.run({ input: asInput("input", tensors.get("input")!, "i64") });
    expect(relRms(output!, tensors.get("output")!)).toBeLessThanOrEqual(2e-6);
    await model.close();
  });

  it("serves every shape from one bundle, with no compiler on PATH", async () => {
    const path = process.env["PATH"];
    process.env["PATH"] = "";
    try {
      const model = await loaded(bundle);
      for (const [batch, seq] of shapes) {
        const ids = Array.from({ length: batch * seq }, (_, i) => (i * 37 + 11) % 256);
        const { output } = await model.run({ input: { data: ids, shape: [batch, seq] } });
        const expected = oracle(name, ids, [batch, seq]);
        expect(compare(output!.toFloat64(), expected, output!.shape).relRms).toBeLessThanOrEqual(
          2e-6,
        );
      }
      await model.close();
    } finally {
      process.env["PATH"] = path;
    }
  }, 120_000);

  it("keeps the same bits for any number of threads", async () => {
    const bits: string[] = [];
    for (const threads of ["1", "2", "5"]) {
      process.env["FARRIER_THREADS"] = threads;
      const model = await loaded(bundle);
      const { output } = await model.run({ input: asInput("input", tensors.get("input")!, "i64") });
      bits.push(Buffer.from(output!.bytes).toString("base64"));
      await model.close();
    }
    delete process.env["FARRIER_THREADS"];
    expect(new Set(bits).size).toBe(1);
  });
});

/** The fp64 evaluator on the graph as it was imported. */
function oracle(name: string, ids: readonly number[], shape: readonly number[]): Float64Array {
  const model = importModel(fixture(name, "dyn.onnx"), { dims: profile, needWeights: true });
  const reader = constantReader(model);
  const inputs = new Map([["input", tensor("i64", shape, [...ids])]]);
  const { outputs } = evaluateGraph(model.entries[0]!.graph, inputs, {
    constants: (source) => reader.source(source, Infinity)!,
  });
  return outputs.get("output")!.data as Float64Array;
}
