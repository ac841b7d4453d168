/** Sequences that grow past the length at which Phi-3's rotary frequencies change. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ModelDirectory } from "../../compiler/frontend/files/source-file.js";
import { tinyDirectory, tinyModels } from "../../compiler/frontend/huggingface/families.testing.js";
import { importHuggingFace } from "../../compiler/frontend/huggingface/import.js";
import { idsOf, largest, run, scores } from "../../compiler/frontend/huggingface/models.testing.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { generate } from "../../runtime/node/generate.js";
import type { Model } from "../../runtime/node/index.js";
import { bundleOf, loaded } from "../support.js";

/** Above it, of `original_max_position_embeddings` in the tiny model. */
const limit = 4;
const dims = { batch: [1, 3], seq: [1, 16] } as const;
const prompts = [[3, 1], [5, 9, 2, 6], [1, 2, 3, 4, 5, 6, 7], [11], [8, 8, 3]];
const maxNewTokens = 8;

const directory = tinyDirectory(tinyModels.phi3.config);
afterAll(() => directory.remove());

/** Each id from all before it, computed afresh: what transformers' cache amounts to. */
function afresh(oracle: ImportedModel, prompt: readonly number[]): number[] {
  const ids = [...prompt];
  for (let i = 0; i < maxNewTokens; i++) {
    const { logits } = run(oracle, "main", { input_ids: idsOf([ids]) });
    ids.push(largest(scores(logits, 0, ids.length - 1)));
  }
  return ids.slice(prompt.length);
}

/** The ids with the keys that the cache has from before. */
async function keeping(model: Model, prompt: readonly number[]): Promise<number[]> {
  const state = model.createState();
  const made: number[] = [];
  let [ids, past]: [readonly number[], number] = [prompt, 0];
  while (made.length < maxNewTokens) {
    const entry = past === 0 ? "prefill" : "decode";
    const { next_ids } = await model.run(
      { input_ids: [[...ids]], lengths: [past] },
      { entry, state },
    );
    past += ids.length;
    ids = [next_ids!.toFloat64()[0]!];
    made.push(ids[0]!);
  }
  state.close();
  return made;
}

describe("Phi-3 past its switching point", () => {
  let bundle: string;
  let model: Model;
  let expected: number[][];
  beforeAll(async () => {
    bundle = await bundleOf(directory.path, { dtype: "f32", dims });
    model = await loaded(bundle);
    const oracle = importHuggingFace(ModelDirectory.at(directory.path), { dtype: "f32", dims });
    expected = prompts.map((prompt) => afresh(oracle, prompt));
  }, 240_000);
  afterAll(() => model.close());

  it("says where it is", () => {
    expect(model.description.plan.generation?.recomputeAbove).toBe(limit);
    const short = { dtype: "f32", dims: { ...dims, seq: [1, limit] } } as const;
    const { generation } = importHuggingFace(ModelDirectory.at(directory.path), short);
    expect(generation).not.toHaveProperty("recomputeAbove");
  });

  it("generates as if nothing were cached: one prompt, and several that switch at other steps", async () => {
    const stop: number[] = [];
    for (const [i, prompt] of prompts.entries())
      expect(await generate(model, [prompt], { maxNewTokens, stop })).toEqual([expected[i]]);
    expect(await generate(model, prompts, { maxNewTokens, stop })).toEqual(expected);
  });

  it("ends sequences beside one that switches", async () => {
    const stop = [expected[0]![1]!];
    const cut = expected.map((ids) => {
      const end = ids.indexOf(stop[0]!);
      return end < 0 ? ids : ids.slice(0, end + 1);
    });
    expect(await generate(model, prompts, { maxNewTokens, stop })).toEqual(cut);
  });

  it("would give other ids with the keys from before", async () => {
    const kept: number[][] = [];
    for (const prompt of prompts) kept.push(await keeping(model, prompt));
    expect(kept).not.toEqual(expected);
    // A prompt that is longer than the limit from the start never switches.
    expect(kept[2]).toEqual(expected[2]);
  });
});
