/** Paged caches on a GPU, beside contiguous ones: the same ids, from recorded steps. */
import path from "node:path";
import { generate, pageLayoutOf, type Model } from "../../runtime/node/index.js";
import { check, fixtures, onGpu } from "./checks.js";
import type { DType } from "./directories.js";

const prompts = [17, 1, 8, 40, 3].map((length, at) =>
  Array.from({ length }, (_, i) => (31 * at + 7 * i) % 250),
);
const dims = { batch: [1, 3], seq: [1, 60] } as const;

const idsOf = async (model: Model): Promise<string> =>
  JSON.stringify(await generate(model, prompts, { maxNewTokens: 20, stop: [] }));

/** Pages of whole key tiles, of less, and of no power of two. */
export async function paged(name: string, dtype: DType): Promise<void> {
  const source = path.join(fixtures, name, "hf");
  const expected = await onGpu(source, { dtype, dims }, idsOf);
  for (const pageSize of [64, 16, 7]) {
    const title = `${name} ${dtype} in pages of ${pageSize}`;
    const cache = { kind: "paged", pageSize, tokens: 130 } as const;
    await onGpu(source, { dtype, dims, cache }, async (model) => {
      const found = await idsOf(model);
      check(`${title}, ids of contiguous caches`, found === expected, found.slice(0, 60));
      check(`${title}, an entry outside the pool`, await refuses(model), "E_RT_INDEX");
      const again = await idsOf(model);
      check(`${title}, after a refusal`, again === expected, again.slice(0, 60));
    });
  }
}

async function refuses(model: Model): Promise<boolean> {
  const { pages, perSequence } = pageLayoutOf(model)!;
  const state = model.createState();
  const codes: unknown[] = [];
  for (const entry of [pages, 2 ** 31 - 1, -1, -(2 ** 31)]) {
    const block_table = [[entry, ...Array<number>(perSequence - 1).fill(-1)]];
    try {
      await model.run(
        { input_ids: [[1, 2]], lengths: [0], block_table },
        { entry: "prefill", state },
      );
      codes.push(null);
    } catch (error) {
      codes.push(error instanceof Error && "code" in error ? error.code : error);
    }
  }
  state.close();
  return codes.every((code) => code === "E_RT_INDEX");
}
