/** OPT: learned positions from row 2 on, LayerNorm before or after, an embedding that may be narrow. */
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
import type { Scope } from "../scope.js";

interface Config {
  readonly vocabulary: number;
  readonly positions: number;
  readonly layers: number;
  readonly width: number;
  /** Of the embeddings and of what the head sees. */
  readonly outerWidth: number;
  readonly heads: b.Heads;
  readonly inner: number;
  readonly activation: Activation;
  readonly tied: boolean;
  /** Of all products but those between the widths. */
  readonly bias: boolean;
  readonly norm: b.LayerNormOptions;
  readonly normBefore: boolean;
  readonly finalNorm: boolean;
}

function readConfig(config: ConfigReader): Config {
  const width = readCount(config, "hidden_size");
  const normBefore = config.optionalBoolean("do_layer_norm_before") ?? true;
  const removed = config.optionalBoolean("_remove_final_layer_norm") ?? false;
  return {
    vocabulary: readVocabulary(config),
    positions: readCount(config, "max_position_embeddings"),
    layers: readLayers(config, "num_hidden_layers"),
    width,
    outerWidth: config.optionalInt("word_embed_proj_dim", { min: 1, max: 1 << 24 }) ?? width,
    heads: readEqualHeads(config, width),
    inner: readCount(config, "ffn_dim"),
    activation: readActivation(config, "activation_function", "relu"),
    tied: config.optionalBoolean("tie_word_embeddings") ?? true,
    bias: config.optionalBoolean("enable_bias") ?? true,
    norm: {
      epsilon: 1e-5,
      affine: config.optionalBoolean("layer_norm_elementwise_affine") ?? true,
    },
    normBefore,
    finalNorm: normBefore && !removed,
  };
}

const base = "model.decoder";
const embeddings = `${base}.embed_tokens.weight`;
/** The first rows of the table of positions belong to no position. */
const firstPosition = 2;

function hidden(s: Scope, c: Config): Node {
  const ids = b.embedding(s, b.weight(s, embeddings, [c.vocabulary, c.outerWidth]));
  const shape = [c.positions + firstPosition, c.width];
  const places = b.positionEmbedding(s, b.weight(s, `${base}.embed_positions.weight`, shape), {
    first: firstPosition,
    skipsPadding: true,
  });
  let x = b.add(s, resized(s, c, ids, "project_in"), places);
  for (let layer = 0; layer < c.layers; layer++) x = block(s, c, x, layer);
  return x;
}

/** Between the embeddings' width and the layers'. */
function resized(s: Scope, c: Config, x: Node, name: "project_in" | "project_out"): Node {
  if (c.outerWidth === c.width) return x;
  const outputs = name === "project_in" ? c.width : c.outerWidth;
  return b.linear(s, x, `${base}.${name}`, { outputs, bias: false });
}

function block(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `${base}.layers.${layer}`;
  const names = { up: `${at}.fc1`, down: `${at}.fc2` };
  const middle = residual(s, c, x, `${at}.self_attn_layer_norm`, (y) => attention(s, c, y, layer));
  return residual(s, c, middle, `${at}.final_layer_norm`, (y) => b.mlp(s, y, names, c));
}

/** x + part(norm(x)), or norm(x + part(x)). */
function residual(s: Scope, c: Config, x: Node, norm: string, part: (value: Node) => Node): Node {
  if (c.normBefore) return b.add(s, x, part(b.layerNorm(s, x, norm, c.norm)));
  return b.layerNorm(s, b.add(s, x, part(x)), norm, c.norm);
}

function attention(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `${base}.layers.${layer}.self_attn`;
  const options = { outputs: c.width, bias: c.bias };
  const { query, size } = c.heads;
  const project = (name: string): Node => b.linear(s, x, `${at}.${name}_proj`, options);
  // Scaled and rounded before the product with the keys, as in transformers.
  const q = b.splitHeads(s, b.scaled(s, project("q"), size ** -0.5), query);
  const [keys, values] = ["k", "v"].map((name) => b.splitHeads(s, project(name), query));
  const mixed = s.attend(layer, q, { keys: keys!, values: values! }, { scale: 1 });
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.out_proj`, options);
}

function logits(s: Scope, c: Config, x: Node): Node {
  const normal = c.finalNorm ? b.layerNorm(s, x, `${base}.final_layer_norm`, c.norm) : x;
  const outer = resized(s, c, normal, "project_out");
  return b.head(s, outer, { ...c, name: "lm_head", embeddings });
}

function read(config: ConfigReader): LanguageModel {
  const c = readConfig(config);
  return {
    kind: "language",
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: "the model has no embedding for later positions" },
    eosTokenIds: readEos(config, [2]),
    hidden: (s) => hidden(s, c),
    logits: (s, x) => logits(s, c, x),
  };
}

export const opt: Family = {
  modelType: "opt",
  architectures: ["OPTForCausalLM", "OPTModel"],
  keys: {
    inert: ["dropout", "attention_dropout", "activation_dropout", "layerdrop", "init_std"],
    fixed: {},
  },
  tensors: {
    prefix: `${base}.`,
    outside: ["lm_head."],
    renamed: [
      [/^decoder\./, `${base}.`],
      [/^model\.decoder\.layer_norm\./, `${base}.final_layer_norm.`],
    ],
    ignored: [/(^|\.)decoder\.version$/],
  },
  read,
};
