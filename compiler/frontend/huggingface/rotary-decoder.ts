/**
 * The decoder that Llama made common: rotary positions, RMSNorm, grouped keys and values, a gated
 * MLP. Families say what they do otherwise.
 */
import type { Node } from "../../ir/graph.js";
import type { ConfigReader } from "../files/config-reader.js";
import { readActivation, type Activation } from "./activations.js";
import * as b from "./blocks.js";
import {
  readCount,
  readEos,
  readHeads,
  readLayers,
  readVocabulary,
  type HeadDefaults,
} from "./common-config.js";
import type { LanguageModel } from "./family.js";
import { readRope, type Rope, type RopeContext } from "./rope.js";
import { angles, rotate, type Angles } from "./rotary.js";
import type { AttendOptions, Scope } from "./scope.js";
import type { TensorNames } from "./weights.js";

export interface RotaryDecoder {
  readonly vocabulary: number;
  readonly positions: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: b.Heads;
  readonly inner: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly tied: boolean;
  readonly rope: Rope;
  readonly eosTokenIds: readonly number[];
}

/** What a family's configuration class says where the file says nothing. */
export interface RotaryDefaults {
  readonly positions: number;
  readonly eos: readonly number[];
  readonly epsilon?: number;
  readonly heads?: HeadDefaults;
  readonly activation?: { readonly key: string; readonly name: string };
  readonly tied?: boolean;
  readonly rope?: Omit<RopeContext, "dims" | "maxPositions">;
}

export function readRotaryDecoder(config: ConfigReader, defaults: RotaryDefaults): RotaryDecoder {
  const width = readCount(config, "hidden_size");
  const heads = readHeads(config, width, defaults.heads);
  const { key, name } = defaults.activation ?? { key: "hidden_act", name: "silu" };
  const positions =
    config.optionalInt("max_position_embeddings", { min: 1, max: 1 << 28 }) ?? defaults.positions;
  return {
    vocabulary: readVocabulary(config),
    positions,
    layers: readLayers(config, "num_hidden_layers"),
    width,
    heads,
    inner: readCount(config, "intermediate_size"),
    epsilon: config.optionalNumber("rms_norm_eps", { above: 0 }) ?? defaults.epsilon ?? 1e-6,
    activation: readActivation(config, key, name),
    tied: config.optionalBoolean("tie_word_embeddings") ?? defaults.tied ?? false,
    rope: readRope(config, { ...defaults.rope, dims: heads.size, maxPositions: positions }),
    eosTokenIds: readEos(config, defaults.eos),
  };
}

/** One of the layers, while it is built. */
export interface Layer {
  readonly index: number;
  /** The prefix of its tensors. */
  readonly at: string;
  readonly turned: Angles;
}

/** What families may do otherwise; `block` is one layer, from hidden values to hidden values. */
export interface RotaryParts {
  block(s: Scope, x: Node, layer: Layer): Node;
  /** What becomes of the ids' embeddings before the first layer. */
  embedded?(s: Scope, x: Node): Node;
  norm?(s: Scope, x: Node, name: string): Node;
  /** What becomes of the head's scores. */
  scores?(s: Scope, logits: Node): Node;
  notices?(capacity: number): readonly string[];
}

const embeddings = "model.embed_tokens.weight";

/** The model of a configuration and the parts of its family. */
export function rotaryDecoder(c: RotaryDecoder, parts: RotaryParts): LanguageModel {
  const changing = "dynamic rotary frequencies depend on the sequence's length there";
  return {
    kind: "language",
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: c.rope.limit === undefined ? null : changing },
    eosTokenIds: c.eosTokenIds,
    notices: (capacity) => parts.notices?.(capacity) ?? [],
    hidden(s) {
      const table = b.weight(s, embeddings, [c.vocabulary, c.width]);
      const ids = b.embedding(s, table);
      let x = parts.embedded?.(s, ids) ?? ids;
      const turned = angles(s, c.rope, c.heads.size);
      for (let index = 0; index < c.layers; index++)
        x = parts.block(s, x, { index, at: `model.layers.${index}`, turned });
      return x;
    },
    logits(s, x) {
      const name = "model.norm";
      const normal = parts.norm?.(s, x, name) ?? b.rmsNorm(s, x, name, c.epsilon);
      const logits = b.head(s, normal, { ...c, name: "lm_head", embeddings });
      return parts.scores?.(s, logits) ?? logits;
    },
  };
}

/** x + attention(norm(x)), then the same with the MLP. */
export function preNormBlock(
  s: Scope,
  c: RotaryDecoder,
  x: Node,
  at: string,
  parts: { attention(normal: Node): Node; mlp(normal: Node): Node },
): Node {
  const normal = b.rmsNorm(s, x, `${at}.input_layernorm`, c.epsilon);
  const middle = b.add(s, x, parts.attention(normal));
  const inner = b.rmsNorm(s, middle, `${at}.post_attention_layernorm`, c.epsilon);
  return b.add(s, middle, parts.mlp(inner));
}

export interface AttentionOptions extends Partial<AttendOptions> {
  readonly bias: boolean;
  /** Normalises each head of `q` or `k` [batch, seq, heads, size] before it is rotated. */
  readonly headNorm?: (x: Node, name: string) => Node;
}

/** Attention with a weight each for queries, keys and values. */
export function separateAttention(
  s: Scope,
  c: RotaryDecoder,
  x: Node,
  layer: Layer,
  { bias, headNorm, ...attend }: AttentionOptions,
): Node {
  const at = `${layer.at}.self_attn`;
  const { query, keyValue, size } = c.heads;
  const project = (name: string, heads: number, each?: (head: Node) => Node): Node => {
    const columns = b.linear(s, x, `${at}.${name}_proj`, { outputs: heads * size, bias });
    return b.splitHeads(s, columns, heads, each);
  };
  const turned = (name: string, heads: number): Node => {
    const each = headNorm && ((head: Node) => headNorm(head, `${at}.${name}_norm`));
    return rotate(s, project(name, heads, each), layer.turned);
  };
  const [q, keys, values] = [turned("q", query), turned("k", keyValue), project("v", keyValue)];
  const mixed = s.attend(layer.index, q, { keys, values }, { scale: size ** -0.5, ...attend });
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.o_proj`, { outputs: c.width, bias });
}

/** The gated MLP with a weight each for gate and up. */
export function separateMlp(s: Scope, c: RotaryDecoder, x: Node, at: string, bias = false): Node {
  const [gate, up, down] = ["gate", "up", "down"].map((each) => `${at}.mlp.${each}_proj`);
  return b.gatedMlp(s, x, { gate: gate!, up: up!, down: down! }, { ...c, bias });
}

/** How checkpoints of these families name their tensors. */
export const rotaryTensors: TensorNames = {
  prefix: "model.",
  outside: ["lm_head."],
  renamed: [],
  ignored: [/(^|\.)rotary_emb\.inv_freq$/],
};
