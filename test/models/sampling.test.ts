/** Ids drawn by compiled kernels: the oracle's, and as often as the softmax says. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ModelDirectory } from "../../compiler/frontend/files/source-file.js";
import { importHuggingFace } from "../../compiler/frontend/huggingface/import.js";
import { idsOf, lengthsOf, run } from "../../compiler/frontend/huggingface/models.testing.js";
import { tensor } from "../../compiler/ir/tensor.js";
import type { Model, State } from "../../runtime/node/index.js";
import { bundleOf, fixture, isas, loaded } from "../support.js";

const dims = { batch: [1, 8], seq: [1, 16] } as const;
const directory = fixture("gpt2", "hf");
const prompts = [[1, 2, 3, 4, 5, 6], [9, 8, 7], [40, 41, 42, 43, 44], [100]];
const width = Math.max(...prompts.map((prompt) => prompt.length));
const padded = prompts.map((prompt) => [
  ...prompt,
  ...Array<number>(width - prompt.length).fill(0),
]);
const counts = prompts.map((prompt) => prompt.length);
const zeros = prompts.map(() => 0);

/** Limits of the four rows, several to a row of the table. */
const settings = [
  { temperature: [0, 0, 0, 0] },
  { temperature: [1, 0.5, 2, 0], seed: [1, 2, 3, 4] },
  { temperature: [1, 1, 5, 3], top_k: [1, 5, 40, 3], seed: [5, -6, 2 ** 40, 8] },
  { temperature: [3, 3, 3, 3], top_p: [0.9, 0.5, 0.2, 0], seed: [1, 2, 3, 4] },
  { temperature: [2, 2, 2, 2], top_k: [50, 20, 3, 7], top_p: [0.9, 0.95, 0.6, 0.1] },
];

describe("sampling", () => {
  let bundle: string;
  beforeAll(async () => {
    bundle = await bundleOf(directory, { dtype: "f32", dims });
  }, 240_000);

  it.each(isas())("draws what the oracle draws, %s", async (isa) => {
    const oracle = importHuggingFace(ModelDirectory.at(directory), { dtype: "f32", dims });
    const model = await loaded(bundle, isa);
    const state = model.createState();
    for (const each of settings) {
      const { next_ids: drawn } = await model.run(
        { input_ids: padded, lengths: zeros, counts, ...each },
        { entry: "prefill", state },
      );
      const rows = prompts.length;
      const { outputs } = run(oracle, "prefill", {
        input_ids: idsOf(padded),
        lengths: lengthsOf(zeros),
        counts: lengthsOf(counts),
        temperature: tensor("f32", [rows], each.temperature),
        ...(each.top_k && { top_k: tensor("i32", [rows], each.top_k) }),
        ...(each.top_p && { top_p: tensor("f32", [rows], each.top_p.map(Math.fround)) }),
        ...(each.seed && { seed: tensor("i64", [rows], each.seed.map(BigInt)) }),
      });
      expect([...drawn!.toFloat64()]).toEqual([...outputs.get("next_ids")!.data].map(Number));
    }
    await model.close();
  });

  describe("over many seeds", () => {
    let model: Model;
    let state: State;
    beforeAll(async () => {
      model = await loaded(bundle);
      state = model.createState();
    });
    afterAll(() => model.close());

    const step = async (
      limits: Readonly<Record<string, number>>,
      seeds: readonly number[],
    ): Promise<{ logits: Float64Array; drawn: number[] }> => {
      const rows = seeds.map(() => 0);
      const all = Object.entries(limits).map(
        ([name, value]) => [name, rows.map(() => value)] as const,
      );
      const { logits, next_ids: drawn } = await model.run(
        { input_ids: rows.map(() => [7]), lengths: rows, seed: seeds, ...Object.fromEntries(all) },
        { entry: "decode", state },
      );
      return { logits: logits!.toFloat64(), drawn: [...drawn!.toFloat64()] };
    };

    it.each([
      [{ temperature: 0.2 }],
      [{ temperature: 0.5, top_k: 12 }],
      [{ temperature: 0.5, top_p: 0.4 }],
      [{ temperature: 0.4, top_k: 30, top_p: 0.7 }],
    ])(
      "draws %j as often as the softmax says",
      async (limits) => {
        const draws = 4096;
        const seen = new Map<number, number>();
        let logits: Float64Array = new Float64Array();
        for (let seed = 0; seed < draws; seed += 8) {
          const made = await step(
            limits,
            Array.from({ length: 8 }, (_, i) => seed + i),
          );
          logits = made.logits;
          for (const id of made.drawn) seen.set(id, (seen.get(id) ?? 0) + 1);
        }
        const wanted = expectedShares(logits.subarray(0, logits.length / 8), limits);
        for (const id of seen.keys()) expect(wanted.get(id)).toBeGreaterThan(0);
        // Chi-squared over the ids that are expected five times or more, against its 99.99 % quantile.
        const common = [...wanted].filter(([, share]) => share * draws >= 5);
        const statistic = common.reduce(
          (sum, [id, share]) => sum + ((seen.get(id) ?? 0) - share * draws) ** 2 / (share * draws),
          0,
        );
        const freedom = common.length - 1;
        const quantile =
          freedom * (1 - 2 / (9 * freedom) + 3.72 * Math.sqrt(2 / (9 * freedom))) ** 3;
        expect(statistic).toBeLessThan(quantile);
        expect(common.length).toBeGreaterThan(3);
      },
      60_000,
    );

    it("does not depend on the batch", async () => {
      const limits = { temperature: 1 };
      const together = await step(limits, [11, 12, 13]);
      const alone = await Promise.all([11, 12, 13].map((seed) => step(limits, [seed])));
      expect(alone.flatMap(({ drawn }) => drawn)).toEqual(together.drawn);
    });
  });
});

/** Shares of the ids of a nucleus: temperature, then the largest, then their mass. */
function expectedShares(
  logits: Float64Array,
  limits: { readonly temperature: number; readonly top_k?: number; readonly top_p?: number },
): Map<number, number> {
  const { temperature, top_k: count = logits.length, top_p: mass = 1 } = limits;
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!).slice(0, count);
  const weight = (id: number): number => Math.exp((logits[id]! - logits[order[0]!]!) / temperature);
  const total = order.reduce((sum, id) => sum + weight(id), 0);
  let before = 0;
  const kept = order.filter((id) => {
    const inside = before < mass * total;
    before += weight(id);
    return inside;
  });
  const sum = kept.reduce((all, id) => all + weight(id), 0);
  return new Map(kept.map((id) => [id, weight(id) / sum]));
}
