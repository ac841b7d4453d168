/** Prompts of different lengths in one batch on a GPU: each as if it were alone, in f32. */
import path from "node:path";
import { generate } from "../../runtime/node/index.js";
import { check, fixtures, onGpu } from "./checks.js";

const lengths = [1, 7, 16, 17, 40];
const prompts = lengths.map((length, at) =>
  Array.from({ length }, (_, i) => (31 * at + 7 * i) % 250),
);
const dims = { batch: [1, prompts.length], seq: [1, 60] } as const;
const sampling = { maxNewTokens: 20, stop: [] };

export async function mixed(name: string): Promise<void> {
  await onGpu(path.join(fixtures, name, "hf"), { dtype: "f32", dims }, async (model) => {
    const together = await generate(model, prompts, sampling);
    const alone: number[][] = [];
    for (const prompt of prompts) alone.push(...(await generate(model, [prompt], sampling)));
    const equal = together.filter((ids, at) => ids.join() === alone[at]!.join()).length;
    check(
      `${name}, prompts of ${lengths.join(", ")} ids in one batch`,
      equal === prompts.length,
      `${equal} of ${prompts.length} as alone, 20 ids each`,
    );
  });
}
