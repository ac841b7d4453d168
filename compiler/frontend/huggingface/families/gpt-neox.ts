/** GPT-NeoX and Pythia: attention and MLP of the same hidden values, a part of each head turns. */
import { concat, reshape, slice, transpose } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import { readActivation, type Activation } from "../activations.js";
import * as b from "../blocks.js";
import {
  readCount,
  readEos,
  readEqualHeads,
  readLayers,
  readVocabulary,
} from "../common-config.js";
import type { Family, LanguageModel } from "../family.js";
import { readRope, type Rope } from "../rope.js";
import { angles, pairedHeads, rotate, type Angles } from "../rotary.js";
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
  readonly parallel: boolean;
  readonly tied: boolean;
  readonly rope: Rope;
}

function readConfig(config: ConfigReader): Config {
  const width = readCount(config, "hidden_size");
  const heads = readEqualHeads(config, width);
  if (heads.size % 2 !== 0)
    throw config.invalid("num_attention_heads", `heads of ${heads.size} elements have no pairs`);
  const positions = readCount(config, "max_position_embeddings");
  return {
    vocabulary: readVocabulary(config),
    positions,
    layers: readLayers(config, "num_hidden_layers"),
    width,
    heads,
    inner: readCount(config, "intermediate_size"),
    epsilon: config.optionalNumber("layer_norm_eps", { above: 0 }) ?? 1e-5,
    activation: readActivation(config, "hidden_act", "gelu"),
    attentionBias: config.optionalBoolean("attention_bias") ?? true,
    parallel: config.optionalBoolean("use_parallel_residual") ?? true,
    tied: config.optionalBoolean("tie_word_embeddings") ?? false,
    rope: readRope(config, {
      dims: heads.size,
      maxPositions: positions,
      thetaKey: "rotary_emb_base",
      part: { key: "rotary_pct", otherwise: 0.25 },
    }),
  };
}

const embeddings = "gpt_neox.embed_in.weight";

function hidden(s: Scope, c: Config): Node {
  let x = b.embedding(s, b.weight(s, embeddings, [c.vocabulary, c.width]));
  const turned = angles(s, c.rope, c.heads.size);
  for (let layer = 0; layer < c.layers; layer++) x = block(s, c, x, layer, turned);
  return x;
}

function block(s: Scope, c: Config, x: Node, layer: number, turned: Angles): Node {
  const at = `gpt_neox.layers.${layer}`;
  const norm = (value: Node, name: string): Node => b.layerNorm(s, value, `${at}.${name}`, c);
  const names = { up: `${at}.mlp.dense_h_to_4h`, down: `${at}.mlp.dense_4h_to_h` };
  const mlp = (value: Node): Node =>
    b.mlp(s, norm(value, "post_attention_layernorm"), names, { ...c, bias: true });
  const attended = attention(s, c, norm(x, "input_layernorm"), layer, turned);
  if (c.parallel) return b.add(s, b.add(s, mlp(x), attended), x);
  const middle = b.add(s, attended, x);
  return b.add(s, mlp(middle), middle);
}

function attention(s: Scope, c: Config, x: Node, layer: number, turned: Angles): Node {
  const at = `gpt_neox.layers.${layer}.attention`;
  const { query, size } = c.heads;
  const qkv = b.stackedLinear(s, x, `${at}.query_key_value`, {
    stack: [query, 3, size],
    bias: c.attentionBias,
    arrange: (stacked) => arranged(s, c, stacked),
  });
  const [q, keys, values] = b.splitQkv(s, qkv, c.heads);
  const mixed = s.attend(
    layer,
    rotate(s, q, turned),
    { keys: rotate(s, keys, turned), values },
    { scale: size ** -0.5 },
  );
  const options = { outputs: c.width, bias: c.attentionBias };
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.dense`, options);
}

/** [heads, 3, size, …] to all heads of queries, then of keys, then of values, with pairs apart. */
function arranged(s: Scope, c: Config, stacked: Node): Node {
  const { query, size } = c.heads;
  const rest = stacked.shape.slice(3);
  const perm = stacked.shape.map((_, axis) => (axis < 2 ? 1 - axis : axis));
  const all = reshape(s.g, transpose(s.g, stacked, perm), [3 * query, size, ...rest]);
  const part = (start: number, end: number): Node => slice(s.g, all, { axis: 0, start, end });
  if (c.rope.inverse.length * 2 === size) return all;
  const paired = pairedHeads(s, part(0, 2 * query), c.rope);
  return concat(s.g, [paired, part(2 * query, 3 * query)], 0);
}

function read(config: ConfigReader): LanguageModel {
  const c = readConfig(config);
  const changing = "dynamic rotary frequencies depend on the sequence's length there";
  return {
    kind: "language",
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: c.rope.limit === undefined ? null : changing },
    eosTokenIds: readEos(config, [2]),
    hidden: (s) => hidden(s, c),
    logits(s, x) {
      const normal = b.layerNorm(s, x, "gpt_neox.final_layer_norm", c);
      return b.head(s, normal, { ...c, name: "lm_head", embeddings });
    },
  };
}

export const gptNeox: Family = {
  modelType: "gpt_neox",
  architectures: ["GPTNeoXForCausalLM", "GPTNeoXModel"],
  keys: {
    inert: [
      ...["attention_dropout", "attention_probs_dropout_prob"],
      ...["hidden_dropout", "hidden_dropout_prob"],
    ],
    fixed: {},
  },
  tensors: {
    prefix: "gpt_neox.",
    outside: ["lm_head."],
    renamed: [[/^embed_out\./, "lm_head."]],
    // The causal mask and its value; frequencies.
    ignored: [/(^|\.)attention\.(masked_)?bias$/, /(^|\.)rotary_emb\.inv_freq$/],
  },
  read,
};
