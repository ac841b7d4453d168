/**
 * What a block table costs: attention of a decode step over paged caches beside contiguous ones, in
 * one process, every kernel timed by itself: `node dist/bench/gpu/paged.js [TARGET]`. Pages are in no
 * order. Each line says whether logits after a prompt have the bits of contiguous caches.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compile } from "../../compiler/compile.js";
import type { CacheLayout } from "../../compiler/frontend/huggingface/import.js";
import { load, pageLayoutOf, type Model } from "../../runtime/node/index.js";

const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 4,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  vocab_size: 32000,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

const deepseek = {
  architectures: ["DeepseekV2ForCausalLM"],
  model_type: "deepseek_v2",
  hidden_size: 2048,
  intermediate_size: 4096,
  num_hidden_layers: 4,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  kv_lora_rank: 512,
  q_lora_rank: null,
  qk_rope_head_dim: 64,
  qk_nope_head_dim: 128,
  v_head_dim: 128,
  vocab_size: 32000,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-6,
  first_k_dense_replace: 4,
  n_routed_experts: 2,
  num_experts_per_tok: 1,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
  moe_intermediate_size: 64,
};

const models = new Map<string, object>([
  ["8 key heads of 64", llama],
  ["8 key heads of 128", { ...llama, hidden_size: 4096, head_dim: 128 }],
  ["latent of 512 + 64", deepseek],
]);
const layouts: readonly CacheLayout[] = [
  { kind: "contiguous" },
  ...[64, 128, 16, 48].map((pageSize) => ({ kind: "paged", pageSize }) as const),
];
const [batch, capacity] = [16, 8192] as const;
const runs = [
  [1, 8192],
  [16, 1024],
  [16, 8192],
] as const;
const promptLength = 300;
const rounds = 5;

/** Pages of each row, far apart and none twice: the step has no factor in common with the pool. */
function tableOf(model: Model, rows: number): { readonly block_table?: number[][] } {
  const layout = pageLayoutOf(model);
  if (layout === null) return {};
  const { pages, perSequence } = layout;
  const apart = [997, 991, 983].find((prime) => pages % prime !== 0)!;
  return {
    block_table: Array.from({ length: rows }, (_, row) =>
      Array.from({ length: perSequence }, (__, i) => ((row * perSequence + i) * apart) % pages),
    ),
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

async function measure(model: Model, rows: number, context: number) {
  const state = model.createState();
  const table = tableOf(model, rows);
  const each = <T>(of: (row: number) => T): T[] =>
    Array.from({ length: rows }, (_, row) => of(row));
  const prompt = each((row) =>
    Array.from({ length: promptLength }, (_, i) => (row * 977 + i * 31) % 32000),
  );
  const lengths = (length: number): number[] => each(() => length);
  await model.run(
    { input_ids: prompt, lengths: lengths(0), ...table },
    { entry: "prefill", state, outputs: ["next_ids"] },
  );
  const next = { input_ids: each((row) => [row + 5]), ...table };
  const { logits } = await model.run(
    { ...next, lengths: lengths(promptLength) },
    { entry: "decode", state, outputs: ["logits"], graph: true },
  );
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { steps } = await model.profile(
      { ...next, lengths: lengths(context - 1) },
      { entry: "decode", state, repeat: 30 },
    );
    const attention = steps.filter(({ family }) => family === "attention");
    times.push(...attention.map(({ ms }) => ms * 1000));
  }
  state.close();
  return { bits: Buffer.from(logits!.bytes).toString("base64"), microseconds: median(times) };
}

const home = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-paged-"));
const target = process.argv[2] ?? "sm_90";
for (const [name, config] of models) {
  const source = path.join(home, name.replaceAll(" ", "-"));
  fs.mkdirSync(source);
  fs.writeFileSync(path.join(source, "config.json"), JSON.stringify(config));
  const contiguous = new Map<string, { bits: string; microseconds: number }>();
  for (const cache of layouts) {
    const { path: bundle } = await compile(source, {
      target: [target],
      dtype: "bf16",
      weights: { kind: "random", seed: 1 },
      dims: { batch: [1, batch], seq: [1, capacity] },
      cache,
      output: path.join(home, "model.farrier"),
    });
    const model = await load(bundle, { device: "cuda:0" });
    for (const [rows, context] of runs) {
      const found = await measure(model, rows, context);
      const key = `${rows} ${context}`;
      const before = contiguous.get(key) ?? found;
      contiguous.set(key, before);
      const layout = cache.kind === "paged" ? `pages of ${cache.pageSize}` : cache.kind;
      const ratio = (found.microseconds / before.microseconds).toFixed(3);
      const same = found.bits === before.bits ? "same bits" : "OTHER BITS";
      process.stdout.write(
        `${name}, batch ${rows}, context ${context}, ${layout}: ${found.microseconds.toFixed(1)} us, ${ratio} of contiguous, ${same}\n`,
      );
    }
    await model.close();
    fs.rmSync(bundle, { recursive: true });
  }
}
fs.rmSync(home, { recursive: true });
