/** What the examples share: greedy decoding with a cache, and times of models in turns. */
import type { Model, Tensor } from "../index.js";

/** Index of the largest logit of the last position. */
export function best(logits: Tensor): number {
  const values = logits.toFloat64();
  const vocabulary = logits.shape[logits.shape.length - 1]!;
  const last = values.subarray(values.length - vocabulary);
  return last.indexOf(last.reduce((a, b) => Math.max(a, b), -Infinity));
}

/** `count` ids after `prompt`, each the likeliest. */
export async function greedy(
  model: Model,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const state = model.createState();
  const made: number[] = [];
  let ids = [...prompt];
  for (let past = 0; made.length < count;) {
    const entry = past === 0 ? "prefill" : "decode";
    const { logits } = await model.run({ input_ids: [ids], lengths: [past] }, { entry, state });
    past += ids.length;
    ids = [best(logits!)];
    made.push(ids[0]!);
  }
  state.close();
  return made;
}

export interface Timing {
  readonly launches: number;
  /** Milliseconds. */
  readonly times: number[];
}

const promptLength = 64;

/** Runs each model in turn, so that whatever else the machine does strikes all alike. */
export async function timesOf(
  models: readonly Model[],
  entry: "prefill" | "decode",
  runs: number,
): Promise<Timing[]> {
  const ids = Array.from({ length: promptLength }, (_, i) => (i * 7919) % 50257);
  const inputs =
    entry === "prefill"
      ? { input_ids: [ids], lengths: [0] }
      : { input_ids: [[ids[0]!]], lengths: [promptLength] };
  const timings = models.map((model) => ({
    launches: model.description.plan.targets[model.target]!.entries[entry]![0]!.steps.length,
    times: [] as number[],
  }));
  const states = models.map((model) => model.createState());
  // The first run of each is not counted: it touches memory for the first time.
  for (let i = -1; i < runs; i++)
    for (const [index, model] of models.entries()) {
      const since = performance.now();
      const graph = model.device.type === "cuda";
      await model.run(inputs, { entry, state: states[index]!, graph });
      if (i >= 0) timings[index]!.times.push(performance.now() - since);
    }
  for (const state of states) state.close();
  return timings;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}
