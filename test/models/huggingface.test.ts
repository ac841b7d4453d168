/** Language models from directories on a CPU: goldens in float64 made by transformers. */
import { beforeAll, describe, expect, it } from "vitest";
import { compare } from "../../compiler/cli/tensors.js";
import type { Model, State } from "../../runtime/node/index.js";
import { asInput, bundleOf, fixture, golden, isas, loaded, reference, relRms } from "../support.js";

const models = ["gpt2", "llama", "qwen3", "published/gpt2", "published/llama"];

describe.each(models)("%s", (name) => {
  const tensors = golden(fixture(name, "golden-hf.safetensors"));
  let bundle: string;
  beforeAll(async () => {
    bundle = await bundleOf(fixture(name, "hf"), { dtype: "f32" });
  }, 240_000);

  it.each(isas())("computes transformers' logits, %s", async (isa) => {
    const model = await loaded(bundle, isa);
    const { logits } = await model.run({
      input_ids: asInput("input_ids", tensors.get("input_ids")!, "i64"),
    });
    expect(relRms(logits!, tensors.get("logits")!)).toBeLessThanOrEqual(2e-6);
    await model.close();
  });

  it("generates transformers' ids", async () => {
    const model = await loaded(bundle);
    const { prompt, greedy } = reference(name);
    expect(await generate(model, prompt, greedy.length)).toEqual(greedy);
    await model.close();
  });

  it.each([1, 2, 24])("gives the logits of one prefill of %i ids step by step", async (length) => {
    const model = await loaded(bundle);
    const prompt = reference(name).prompt.slice(0, length);
    const whole = await model.run({ input_ids: [[...prompt]] }, { entry: "main" });
    const expected = whole["logits"]!.toFloat64();
    const vocabulary = expected.length / length;
    const state = model.createState();
    for (let i = 0; i < length; i++) {
      const logits = await step(model, state, [prompt[i]!], i, i === 0 ? "prefill" : "decode");
      const row = expected.subarray(i * vocabulary, (i + 1) * vocabulary);
      expect(compare(logits, row, [vocabulary]).relRms).toBeLessThanOrEqual(2e-6);
    }
    await model.close();
  });

  it("is within twice transformers' own error in bf16", async () => {
    const model = await loaded(await bundleOf(fixture(name, "hf"), { dtype: "bf16" }));
    const { logits } = await model.run({
      input_ids: asInput("input_ids", tensors.get("input_ids")!, "i64"),
    });
    expect(relRms(logits!, tensors.get("logits")!)).toBeLessThanOrEqual(
      2 * reference(name).rel_rms_of_transformers.bf16,
    );
    await model.close();
  }, 240_000);
});

async function step(
  model: Model,
  state: State,
  ids: number[],
  past: number,
  entry: string,
): Promise<Float64Array> {
  const { logits } = await model.run({ input_ids: [ids], lengths: [past] }, { entry, state });
  return logits!.toFloat64();
}

async function generate(model: Model, prompt: readonly number[], count: number): Promise<number[]> {
  const state = model.createState();
  const ids: number[] = [];
  let logits = await step(model, state, [...prompt], 0, "prefill");
  while (ids.length < count) {
    const next = logits.indexOf(Math.max(...logits));
    ids.push(next);
    logits = await step(model, state, [next], prompt.length + ids.length - 1, "decode");
  }
  return ids;
}
