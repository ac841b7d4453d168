/** Mixtures of experts and latent attention on a CPU: goldens of transformers, absorbed and not. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleReport } from "../../compiler/bundle/report.js";
import { buildNative, lower, writeLowered, type LoweredModel } from "../../compiler/compile.js";
import { importModel } from "../../compiler/import.js";
import { tensor } from "../../compiler/ir/tensor.js";
import type { Isa } from "../../compiler/codegen/c/compile.js";
import { constValue } from "../../compiler/scalar/build.js";
import { rangeOf } from "../../compiler/scalar/range.js";
import type { Model, State, TensorLike } from "../../runtime/node/index.js";
import {
  asInput,
  fixture,
  golden,
  isas,
  loaded,
  numbersOf,
  reference,
  relRms,
  temporaryDirectory,
} from "../support.js";
import { evaluatedRouting, withRoutingGiven } from "./routing.js";

const absorb = "attention(q, c·K, c·V)";
const isa = isas().at(-1)! as Isa;

/** A bundle for the best instruction set alone: the families' own tests have the others. */
async function bundled(lowered: LoweredModel): Promise<string> {
  const output = path.join(temporaryDirectory(), "model.farrier");
  const built = await buildNative([lowered], { native: { isas: [isa] } });
  try {
    return writeLowered(lowered, built, output).path;
  } finally {
    fs.rmSync(built!.directory, { recursive: true, force: true });
  }
}

const lowerFixture = (name: string, without: readonly string[]): Promise<LoweredModel> =>
  lower(fixture(name, "hf"), { dtype: "f32", dims: { batch: [1, 2], seq: [1, 64] }, without });

async function step(
  model: Model,
  state: State,
  ids: number[],
  past: number,
): Promise<Float64Array> {
  const entry = past === 0 ? "prefill" : "decode";
  const { logits } = await model.run({ input_ids: [ids], lengths: [past] }, { entry, state });
  return logits!.toFloat64();
}

async function generate(model: Model, prompt: readonly number[], count: number): Promise<number[]> {
  const state = model.createState();
  const ids: number[] = [];
  let logits = await step(model, state, [...prompt], 0);
  while (ids.length < count) {
    const next = logits.indexOf(Math.max(...logits));
    ids.push(next);
    if (ids.length < count)
      logits = await step(model, state, [next], prompt.length + ids.length - 1);
  }
  return ids;
}

const runs: readonly (readonly [string, readonly string[]])[] = [
  ["mixtral", []],
  ["deepseek_v2", []],
  ["deepseek_v3", []],
  ["published/deepseek_v3", []],
  ["deepseek_v2", [absorb]],
  ["deepseek_v3", [absorb]],
  ["published/deepseek_v3", [absorb]],
];

describe.each(runs)("%s without [%s]", (name, without) => {
  let model: Model;
  let lowered: LoweredModel;
  beforeAll(async () => {
    lowered = await lowerFixture(name, without);
    model = await loaded(await bundled(lowered));
  }, 240_000);
  afterAll(() => model.close());

  it("computes transformers' logits", async () => {
    const tensors = golden(fixture(name, "golden-hf.safetensors"));
    const ids = asInput("input_ids", tensors.get("input_ids")!, "i64");
    const { logits } = await model.run({ input_ids: ids });
    const bound = Math.max(2e-6, 2 * reference(name).rel_rms_of_transformers.f32);
    expect(relRms(logits!, tensors.get("logits")!)).toBeLessThanOrEqual(bound);
  });

  it("generates transformers' ids", async () => {
    const { prompt, greedy } = reference(name);
    expect(await generate(model, prompt, greedy.length)).toEqual(greedy);
  });

  if (name === "mixtral") return;
  const config = JSON.parse(fs.readFileSync(fixture(name, "hf", "config.json"), "utf8")) as Record<
    "kv_lora_rank" | "qk_rope_head_dim" | "qk_nope_head_dim" | "num_hidden_layers",
    number
  > & { readonly num_attention_heads: number };

  it("keeps the latent and one rotated part for each position, whatever attention reads", () => {
    const row = config.kv_lora_rank + config.qk_rope_head_dim;
    const { states } = lowered.graphs.find((each) => each.name === "decode")!.graph;
    expect(states).toHaveLength(config.num_hidden_layers);
    for (const { initial } of states)
      expect(initial.shape.map((dim) => rangeOf(dim).max)).toEqual([2, 1, 64, row]);
  });

  it("says what the pass did, and attention reads what it should", () => {
    const absorbed = without.length === 0;
    const { passes } = bundleReport(lowered);
    const told = passes.filter(({ pass, entry }) => pass.includes(absorb) && entry === "decode");
    expect(told.map(({ changed }) => changed)).toEqual(absorbed ? [true] : []);
    const { partition } = lowered.targets[0]!.partitions.find((each) => each.name === "decode")!;
    const read = partition.kernels.flatMap(({ desc }) =>
      desc.family === "attention" ? [[constValue(desc.extents.g), constValue(desc.extents.d)]] : [],
    );
    const keys = absorbed
      ? [1, config.kv_lora_rank + config.qk_rope_head_dim]
      : [config.num_attention_heads, config.qk_nope_head_dim + config.qk_rope_head_dim];
    expect(read).toEqual(Array<typeof keys>(config.num_hidden_layers).fill(keys));
  });
});

describe("bf16 with float64's choices of experts", () => {
  it.each(["mixtral", "deepseek_v3"])(
    "is within twice transformers' own error: %s",
    async (name) => {
      const files = fixture(name, "hf");
      const tensors = golden(fixture(name, "golden-hf.safetensors"));
      const [ids, expected] = [tensors.get("input_ids")!, tensors.get("logits")!];
      const shape = expected.shape.slice(0, 2);
      const wide = tensor("i64", shape, [...numbersOf(ids)]);
      const chosen = evaluatedRouting(
        importModel(files, { dtype: "f32", needWeights: true }),
        wide,
      );
      const narrow = importModel(files, { dtype: "bf16", needWeights: true });
      const model = await loaded(await bundled(await lower(withRoutingGiven(narrow), {})));
      const given = [...chosen].map(
        ([
          input,
          {
            data,
            shape: [, count],
          },
        ]): [string, TensorLike] => {
          const choices = Array.from<number | bigint, number>(data, Number);
          return [input, { data: choices, shape: [...shape, count!] }];
        },
      );
      const { logits } = await model.run({
        input_ids: asInput("input_ids", ids, "i64"),
        ...Object.fromEntries(given),
      });
      expect(chosen.size).toBeGreaterThan(0);
      expect(relRms(logits!, expected)).toBeLessThanOrEqual(
        2 * reference(name).rel_rms_of_transformers.bf16,
      );
      await model.close();
    },
    240_000,
  );
});
