/** Llama: rotary positions, RMSNorm, grouped keys and values, a gated MLP. */
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import { readActivation, type Activation } from "../activations.js";
import * as b from "../blocks.js";
import { readCount, readEos, readHeads, readLayers, readVocabulary } from "../common-config.js";
import type { Family, LanguageModel } from "../family.js";
import { readRope, type Rope } from "../rope.js";
import { angles, rotate, type Angles } from "../rotary.js";
import type { Scope } from "../scope.js";

interface Config {
  readonly vocabulary: number;
  readonly positions: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: b.Heads;
  readonly inner: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly tied: boolean;
  readonly rope: Rope;
}

function readConfig(config: ConfigReader): Config {
  const width = readCount(config, "hidden_size");
  const heads = readHeads(config, width);
  const positions = config.optionalInt("max_position_embeddings", { min: 1, max: 1 << 28 }) ?? 2048;
  return {
    vocabulary: readVocabulary(config),
    positions,
    layers: readLayers(config, "num_hidden_layers"),
    width,
    heads,
    inner: readCount(config, "intermediate_size"),
    epsilon: config.optionalNumber("rms_norm_eps", { above: 0 }) ?? 1e-6,
    activation: readActivation(config, "hidden_act", "silu"),
    attentionBias: config.optionalBoolean("attention_bias") ?? false,
    mlpBias: config.optionalBoolean("mlp_bias") ?? false,
    tied: config.optionalBoolean("tie_word_embeddings") ?? false,
    rope: readRope(config, { dims: heads.size, maxPositions: positions }),
  };
}

const embeddings = "model.embed_tokens.weight";

function hidden(s: Scope, c: Config): Node {
  let x = b.embedding(s, b.weight(s, embeddings, [c.vocabulary, c.width]));
  const turned = angles(s, c.rope);
  for (let layer = 0; layer < c.layers; layer++) x = block(s, c, x, layer, turned);
  return x;
}

function block(s: Scope, c: Config, x: Node, layer: number, turned: Angles): Node {
  const at = `model.layers.${layer}`;
  const normal = b.rmsNorm(s, x, `${at}.input_layernorm`, c.epsilon);
  const middle = b.add(s, x, attention(s, c, normal, layer, turned));
  const inner = b.rmsNorm(s, middle, `${at}.post_attention_layernorm`, c.epsilon);
  const [gate, up, down] = ["gate", "up", "down"].map((each) => `${at}.mlp.${each}_proj`);
  const names = { gate: gate!, up: up!, down: down! };
  return b.add(s, middle, b.gatedMlp(s, inner, names, { ...c, bias: c.mlpBias }));
}

function attention(s: Scope, c: Config, x: Node, layer: number, turned: Angles): Node {
  const at = `model.layers.${layer}.self_attn`;
  const { query, keyValue, size } = c.heads;
  const project = (name: string, heads: number): Node => {
    const options = { outputs: heads * size, bias: c.attentionBias };
    return b.splitHeads(s, b.linear(s, x, `${at}.${name}`, options), heads);
  };
  const q = rotate(s, project("q_proj", query), turned);
  const keys = rotate(s, project("k_proj", keyValue), turned);
  const mixed = s.attend(layer, q, { keys, values: project("v_proj", keyValue) }, size ** -0.5);
  const merged = b.mergeHeads(s, mixed);
  return b.linear(s, merged, `${at}.o_proj`, { outputs: c.width, bias: c.attentionBias });
}

function read(reader: ConfigReader): LanguageModel {
  const c = readConfig(reader);
  const changing = "dynamic rotary frequencies depend on the sequence's length there";
  return {
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: c.rope.limit === undefined ? null : changing },
    eosTokenIds: readEos(reader) ?? [2],
    hidden: (s) => hidden(s, c),
    logits: (s, x) => {
      const normal = b.rmsNorm(s, x, "model.norm", c.epsilon);
      return b.head(s, normal, { ...c, name: "lm_head", embeddings });
    },
  };
}

export const llama: Family = {
  modelType: "llama",
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  keys: {
    inert: ["attention_dropout"],
    // More slices sum their products in another order.
    fixed: { pretraining_tp: [1] },
  },
  tensors: {
    prefix: "model.",
    outside: ["lm_head."],
    renamed: [],
    ignored: [/(^|\.)rotary_emb\.inv_freq$/],
  },
  read,
};
