/** GPT-2: learned positions, LayerNorm, one product for q, k and v, weights stored [inputs, outputs]. */
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import { readActivation, type Activation } from "../activations.js";
import * as b from "../blocks.js";
import { readCount, readEos, readLayers, readVocabulary } from "../common-config.js";
import type { Family, LanguageModel } from "../family.js";
import type { Scope } from "../scope.js";

interface Config {
  readonly vocabulary: number;
  readonly positions: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly inner: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly tied: boolean;
  /** Factor on the scores of a layer. */
  readonly scale: (layer: number) => number;
}

function readConfig(config: ConfigReader): Config {
  const width = readCount(config, "n_embd");
  const heads = readCount(config, "n_head");
  if (width % heads !== 0)
    throw config.invalid("n_head", `${heads} heads do not divide n_embd = ${width}`);
  const scaled = config.optionalBoolean("scale_attn_weights") ?? true;
  const byLayer = config.optionalBoolean("scale_attn_by_inverse_layer_idx") ?? false;
  const base = scaled ? (width / heads) ** -0.5 : 1;
  return {
    vocabulary: readVocabulary(config),
    positions: readCount(config, "n_positions"),
    layers: readLayers(config, "n_layer"),
    width,
    heads,
    inner: config.optionalInt("n_inner", { min: 1, max: 1 << 24 }) ?? 4 * width,
    epsilon: config.optionalNumber("layer_norm_epsilon", { above: 0 }) ?? 1e-5,
    activation: readActivation(config, "activation_function", "gelu_new"),
    tied: config.optionalBoolean("tie_word_embeddings") ?? true,
    scale: (layer) => (byLayer ? base / (layer + 1) : base),
  };
}

const embeddings = "transformer.wte.weight";

function hidden(s: Scope, c: Config): Node {
  const ids = b.embedding(s, b.weight(s, embeddings, [c.vocabulary, c.width]));
  const table = b.weight(s, "transformer.wpe.weight", [c.positions, c.width]);
  let x = b.add(s, ids, b.positionEmbedding(s, table));
  for (let layer = 0; layer < c.layers; layer++) x = block(s, c, x, layer);
  return x;
}

function block(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `transformer.h.${layer}`;
  const attended = attention(s, c, b.layerNorm(s, x, `${at}.ln_1`, c), layer);
  const middle = b.add(s, attended, x);
  const names = { up: `${at}.mlp.c_fc`, down: `${at}.mlp.c_proj` };
  const normal = b.layerNorm(s, middle, `${at}.ln_2`, c);
  return b.add(s, middle, b.mlp(s, normal, names, { ...c, bias: true, layout: "in-out" }));
}

function attention(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `transformer.h.${layer}.attn`;
  const options = { bias: true, layout: "in-out" } as const;
  const qkv = b.linear(s, x, `${at}.c_attn`, { ...options, outputs: 3 * c.width });
  const size = c.width / c.heads;
  const heads = { query: c.heads, keyValue: c.heads, size };
  const [q, keys, values] = b.splitQkv(s, qkv, heads);
  const mixed = s.attend(layer, q, { keys, values }, { scale: c.scale(layer) });
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.c_proj`, { ...options, outputs: c.width });
}

function read(reader: ConfigReader): LanguageModel {
  const c = readConfig(reader);
  return {
    kind: "language",
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: "the model has no embedding for later positions" },
    eosTokenIds: readEos(reader, [50_256]),
    hidden: (s) => hidden(s, c),
    logits: (s, x) => {
      const normal = b.layerNorm(s, x, "transformer.ln_f", c);
      return b.head(s, normal, { ...c, name: "lm_head", embeddings });
    },
  };
}

export const gpt2: Family = {
  modelType: "gpt2",
  architectures: ["GPT2LMHeadModel", "GPT2Model"],
  keys: {
    inert: [
      ...["attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx"],
      ...["summary_activation", "summary_first_dropout", "summary_proj_to_labels"],
      ...["summary_type", "summary_use_proj"],
      // Scales and sums in f32, as attention does here anyway.
      "reorder_and_upcast_attn",
    ],
    fixed: {},
  },
  tensors: {
    prefix: "transformer.",
    outside: ["lm_head."],
    renamed: [],
    // The causal mask and its value.
    ignored: [/(^|\.)attn\.(masked_)?bias$/],
  },
  read,
};
