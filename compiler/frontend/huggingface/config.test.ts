import { describe, expect, it } from "vitest";
import { failure, temporaryDirectory } from "../files/failure.testing.js";
import { ModelDirectory } from "../files/source-file.js";
import { importHuggingFace } from "./import.js";
import { tinyBert, tinyModels } from "./families.testing.js";
import { configOf, importConfig, type Config } from "./models.testing.js";

const [gpt2, llama] = [configOf("gpt2"), configOf("llama")];
const deepseek = configOf("deepseek_v3");
const [mistral, qwen3] = [tinyModels.mistral.config, tinyModels.qwen3.config];
const [gemma2, phi3] = [tinyModels.gemma2.config, tinyModels.phi3.config];
const [opt, neox, bert] = [tinyModels.opt.config, tinyModels.gpt_neox.config, tinyBert.config];

type Row = readonly [what: string, base: Config, edit: Config, code: string, message: RegExp];

const rows: readonly Row[] = [
  // Wrong types and values, by field.
  ["a number in quotes", llama, { hidden_size: "64" }, "E_CONFIG", /hidden_size/],
  ["no layers", gpt2, { n_layer: undefined }, "E_CONFIG", /n_layer/],
  ["no model_type", gpt2, { model_type: undefined }, "E_CONFIG", /model_type/],
  ["heads that do not divide", gpt2, { n_head: 5 }, "E_CONFIG_VALUE", /n_head.*5 heads.*64/],
  ["heads that do not divide", llama, { num_attention_heads: 5 }, "E_CONFIG_VALUE", /5 heads/],
  ["heads of keys", llama, { num_key_value_heads: 3 }, "E_CONFIG_VALUE", /3 heads of keys/],
  ["head_dim 0", llama, { head_dim: 0 }, "E_CONFIG_VALUE", /head_dim/],
  ["an odd head_dim", llama, { head_dim: 15 }, "E_CONFIG_VALUE", /head_dim/],
  ["a billion layers", llama, { num_hidden_layers: 1e9 }, "E_CONFIG_VALUE", /num_hidden_layers/],
  ["a negative epsilon", llama, { rms_norm_eps: -1 }, "E_CONFIG_VALUE", /rms_norm_eps/],
  ["an epsilon of 0", gpt2, { layer_norm_epsilon: 0 }, "E_CONFIG_VALUE", /layer_norm_epsilon/],
  // Models that are not implemented.
  ["an unknown family", gpt2, { model_type: "mamba9" }, "E_ARCH", /"mamba9".*gpt2, llama/],
  [
    "sparse attention, by its family",
    deepseek,
    { model_type: "deepseek_v32", architectures: ["DeepseekV32ForCausalLM"] },
    "E_ARCH",
    /"deepseek_v32".*deepseek_v3/,
  ],
  [
    "sparse attention, by its indexer",
    deepseek,
    { index_topk: 8, index_n_heads: 4, index_head_dim: 32 },
    "E_CONFIG_UNSUPPORTED",
    /index_topk/,
  ],
  [
    "another head",
    llama,
    { architectures: ["LlamaForSequenceClassification"] },
    "E_ARCH",
    /LlamaForSequenceClassification.*LlamaForCausalLM/,
  ],
  [
    "code of its own",
    gpt2,
    { model_type: "my_net", auto_map: { AutoModel: "modeling.My" } },
    "E_REMOTE_CODE",
    /my_net/,
  ],
  [
    "a class of its own",
    llama,
    { architectures: ["MyForCausalLM"], auto_map: { AutoModel: "modeling.My" } },
    "E_REMOTE_CODE",
    /MyForCausalLM/,
  ],
  // What would change the result.
  ["a kind of rope", llama, { rope_parameters: { rope_type: "x" } }, "E_CONFIG_UNSUPPORTED", /"x"/],
  [
    "a key of rope",
    llama,
    { rope_parameters: { rope_type: "default", mrope_section: [1, 2] } },
    "E_CONFIG_UNSUPPORTED",
    /rope_parameters\.mrope_section/,
  ],
  ["a window", llama, { sliding_window: 4096 }, "E_CONFIG_UNSUPPORTED", /sliding_window = 4096/],
  [
    "quantisation",
    llama,
    { quantization_config: { quant_method: "gptq" } },
    "E_CONFIG_UNSUPPORTED",
    /quantization_config/,
  ],
  ["an activation", gpt2, { activation_function: "snake" }, "E_CONFIG_UNSUPPORTED", /gelu_new/],
  ["cross attention", gpt2, { add_cross_attention: true }, "E_CONFIG_UNSUPPORTED", /only false/],
  ["sliced products", llama, { pretraining_tp: 2 }, "E_CONFIG_UNSUPPORTED", /2, only 1/],
  [
    "keys from elsewhere",
    llama,
    { qk_norm: true, foo: 3 },
    "E_CONFIG_UNSUPPORTED",
    /qk_norm = true, foo = 3/,
  ],
  ["arithmetic in f64", llama, { dtype: "float64" }, "E_CONFIG_UNSUPPORTED", /--dtype/],
];

const families: readonly Row[] = [
  ["a window of 0", mistral, { sliding_window: 0 }, "E_CONFIG_VALUE", /sliding_window/],
  [
    "windows by layer",
    mistral,
    { layer_types: ["sliding_attention", "full_attention"] },
    "E_CONFIG_UNSUPPORTED",
    /layer_types/,
  ],
  [
    "types of other layers",
    qwen3,
    { layer_types: ["full_attention"] },
    "E_CONFIG_VALUE",
    /1 types of 2 layers/,
  ],
  [
    "an unknown type of layer",
    qwen3,
    { layer_types: ["full_attention", "chunked_attention"] },
    "E_CONFIG_UNSUPPORTED",
    /"chunked_attention"/,
  ],
  ["a window that is off", qwen3, { use_sliding_window: false }, "E_CONFIG_VALUE", /without a w/],
  ["heads that do not divide", gemma2, { num_attention_heads: 6 }, "E_CONFIG_VALUE", /6 heads/],
  ["a cap of 0", gemma2, { attn_logit_softcapping: 0 }, "E_CONFIG_VALUE", /attn_logit_softcapping/],
  [
    "attention both ways",
    gemma2,
    { use_bidirectional_attention: true },
    "E_CONFIG_UNSUPPORTED",
    /only false/,
  ],
  [
    "a part of heads in a family that turns them whole",
    gemma2,
    { partial_rotary_factor: 0.5 },
    "E_CONFIG_UNSUPPORTED",
    /0\.5, expected 1/,
  ],
  [
    "frequencies that Phi-3 has not",
    phi3,
    { rope_parameters: undefined, rope_scaling: { type: "linear", factor: 2 } },
    "E_CONFIG_UNSUPPORTED",
    /"linear".*default, longrope, su, yarn/,
  ],
  [
    "factors for whole heads where half of them turns",
    phi3,
    { rope_parameters: { ...phi3.rope_parameters, long_factor: [1, 2, 3, 4] } },
    "E_CONFIG_VALUE",
    /expected 2 numbers, found 4/,
  ],
  ["a bias", phi3, { attention_bias: true }, "E_CONFIG_UNSUPPORTED", /attention_bias.*only false/],
  ["no part of a head", neox, { rope_parameters: {}, rotary_pct: 0.01 }, "E_CONFIG_VALUE", /none/],
  [
    "a part above one",
    neox,
    { rope_parameters: {}, rotary_pct: 1.5 },
    "E_CONFIG_VALUE",
    /rotary_pct/,
  ],
  ["no ffn_dim", opt, { ffn_dim: undefined }, "E_CONFIG", /ffn_dim/],
  ["a decoder", bert, { is_decoder: true }, "E_CONFIG_UNSUPPORTED", /is_decoder.*only false/],
  [
    "relative positions",
    bert,
    { position_embedding_type: "relative_key" },
    "E_CONFIG_UNSUPPORTED",
    /position_embedding_type/,
  ],
  [
    "a classifier",
    bert,
    { architectures: ["BertForSequenceClassification"] },
    "E_ARCH",
    /BertForSequenceClassification.*BertModel/,
  ],
];

/** Files as their authors published them, but for sizes. */
const published: readonly (readonly [what: string, base: Config, edit: Config])[] = [
  [
    "Mistral 7B",
    mistral,
    { ...tinyModels.mistral.published, architectures: ["MistralForCausalLM"], use_cache: true },
  ],
  [
    "Qwen3",
    qwen3,
    {
      ...tinyModels.qwen3.published,
      ...{ use_sliding_window: false, sliding_window: null, max_window_layers: 28 },
    },
  ],
  ["Gemma 2", gemma2, { ...tinyModels.gemma2.published, torch_dtype: "float32" }],
  [
    "Phi-4-mini",
    phi3,
    {
      ...tinyModels.phi3.published,
      ...{ full_attn_mod: 1, interpolate_factor: 1, lm_head_bias: false, mlp_bias: false },
      ...{ attention_bias: false, embd_pdrop: 0, resid_pdrop: 0, tie_word_embeddings: true },
      auto_map: { AutoModelForCausalLM: "modeling_phi3.Phi3ForCausalLM" },
    },
  ],
  [
    "OPT",
    opt,
    { ...tinyModels.opt.published, init_std: 0.02, layerdrop: 0, dropout: 0.1, torch_dtype: "f16" },
  ],
  [
    "GPT-NeoX-20B",
    neox,
    {
      ...tinyModels.gpt_neox.published,
      ...{ attention_probs_dropout_prob: 0, hidden_dropout_prob: 0, hidden_act: "gelu_fast" },
    },
  ],
  [
    "BERT",
    bert,
    {
      ...{ architectures: ["BertForMaskedLM"], position_embedding_type: "absolute" },
      ...{ directionality: "bidi", pooler_type: "first_token_transform", pooler_fc_size: 768 },
      ...{ attention_probs_dropout_prob: 0.1, hidden_dropout_prob: 0.1, is_decoder: false },
    },
  ],
];

describe("config.json of further families", () => {
  it.each(families)("%s", (_, base, edit, code, message) => {
    const error = failure(() => importConfig({ ...base, ...edit }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it.each(published)("%s is accepted", (_, base, edit) => {
    expect(importConfig({ ...base, ...edit }).entries.length).toBeGreaterThan(0);
  });

  it("keys that no family has are refused by each", () => {
    for (const base of [mistral, qwen3, gemma2, phi3, opt, neox, bert]) {
      const error = failure(() => importConfig({ ...base, qk_layernorm: true }));
      expect(error.code).toBe("E_CONFIG_UNSUPPORTED");
      expect(error.message).toMatch(/qk_layernorm/);
    }
  });
});

describe("config.json", () => {
  it.each(rows)("%s", (_, base, edit, code, message) => {
    const error = failure(() => importConfig({ ...base, ...edit }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/config\.json/);
  });

  it("absent, and not JSON", () => {
    for (const files of [{}, { "config.json": "{" }]) {
      const directory = temporaryDirectory(files);
      const error = failure(() => importHuggingFace(ModelDirectory.at(directory.path)));
      expect(error.code).toBe("E_CONFIG");
      directory.remove();
    }
  });

  it.each([
    ["training and generation", { attn_pdrop: 0.3, top_k: 7, temperature: 0.5, use_cache: false }],
    ["switches that are off", { some_new_switch: false, another: null, pruned_heads: {} }],
    ["what other tasks use", { id2label: { 0: "A" }, summary_type: "first" }],
    ["attention in f32, as it is here", { reorder_and_upcast_attn: true }],
  ])("is inert: %s", (_, edit) => {
    const plain = importConfig(gpt2);
    const edited = importConfig({ ...gpt2, ...edit });
    const sizes = ({ entries }: typeof plain): number[] =>
      entries.map(({ graph }) => graph.outputs[0]!.node.id);
    expect(sizes(edited)).toEqual(sizes(plain));
  });
});

describe("--dim", () => {
  it.each([
    ["an unknown symbol", { length: [1, 2] }, "E_DIM", /batch and seq/],
    ["a range that falls", { seq: [4, 2] }, "E_DIM", /4\.\.2/],
    ["an empty batch", { batch: [0, 2] }, "E_DIM", /0\.\.2/],
    ["positions that do not exist", { seq: [1, 129] }, "E_CONFIG_UNSUPPORTED", /at most 128/],
  ] as const)("%s", (_, dims, code, message) => {
    const error = failure(() => importConfig(gpt2, { dims }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it("dynamic frequencies end at the model's limit", () => {
    const config = { ...llama, rope_parameters: { rope_type: "dynamic", factor: 2 } };
    expect(importConfig(config).symbols[1]?.max).toBe(128);
    const error = failure(() => importConfig(config, { dims: { seq: [1, 129] } }));
    expect(error.code).toBe("E_CONFIG_UNSUPPORTED");
  });
});
