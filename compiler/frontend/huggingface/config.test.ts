import { describe, expect, it } from "vitest";
import { failure, temporaryDirectory } from "../files/failure.testing.js";
import { ModelDirectory } from "../files/source-file.js";
import { importHuggingFace } from "./import.js";
import { configOf, importConfig, type Config } from "./models.testing.js";

const [gpt2, llama] = [configOf("gpt2"), configOf("llama")];

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
