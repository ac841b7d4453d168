/** Weights of the caller's own: kernels read them as they are. */
import path from "node:path";
import { describe, expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { packageRoot } from "../../compiler/version.js";
import { fixture } from "../support.js";

const live = { kind: "live" } as const;
const target = ["cpu", "sm_80", "sm_90", "sm_90a"];
const published = (name: string): string =>
  path.join(packageRoot(), "bench", "gpu", "models", name);

const cases = [
  ...["bert", "gpt2", "llama", "qwen3"].map((name) => [fixture(name, "hf"), "f32"] as const),
  ...["llama", "qwen3"].map((name) => [fixture(name, "hf"), "bf16"] as const),
  ...["bert-base", "gpt2", "llama-3.2-1b"].map((name) => [published(name), "bf16"] as const),
];

describe("live weights", () => {
  it.each(cases)("of %s are read as they are in %s", async (source, dtype) => {
    const lowered = await lower(source, { dtype, target, weights: live });
    const { entries } = lowered.sources;
    for (const { plans } of lowered.targets) {
      // Tables of positions are made; of the model's tensors nothing is.
      const made = plans.weights.flatMap(({ steps = [] }) => steps);
      for (const buffer of made.flatMap(({ buffers }) => buffers))
        if (buffer.kind === "source") expect(entries[buffer.index]!.spec.from.kind).toBe("bundle");
      const stored = new Set(plans.weights.map(({ alias }) => alias));
      for (const [index, { spec }] of entries.entries())
        if (spec.from.kind === "none") expect(stored, spec.name).toContain(index);
    }
  });

  it.each([
    ["mixtral", "bf16", /E_UNSUPPORTED.*mlp\.experts\.0\.w1\.weight and \d+ others/],
    ["bert", "bf16", /E_UNSUPPORTED.*would have to be made of/],
  ] as const)("of %s in %s would have to be joined or narrowed", async (name, dtype, says) => {
    const lowering = lower(fixture(name, "hf"), { dtype, target: ["sm_80"], weights: live });
    await expect(lowering).rejects.toThrow(says);
  });
});

it("makes no copy of a tensor that is stored as a product reads it", async () => {
  const lowered = await lower(fixture("llama", "hf"), { dtype: "bf16", target: ["sm_80"] });
  const stored = lowered.targets[0]!.plans.weights.filter(({ alias }) => alias !== undefined).map(
    ({ name }) => name,
  );
  expect(stored).toContain("model.layers.0.self_attn.o_proj.weight");
  expect(stored).toContain("model.layers.1.mlp.down_proj.weight");
  // Merged, or scaled by the norm before it.
  expect(stored.filter((name) => /q_proj|gate_proj|lm_head/.test(name))).toEqual([]);
});
