/** BERT: an encoder that normalises after each part, with learned positions and types of ids. */
import { map, reshape, slice } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { builtin } from "../../../scalar/table.js";
import type { ConfigReader } from "../../files/config-reader.js";
import { readActivation, type Activation } from "../activations.js";
import * as b from "../blocks.js";
import { readCount, readEqualHeads, readLayers, readVocabulary } from "../common-config.js";
import type { Encoder, Family } from "../family.js";
import type { Scope } from "../scope.js";

interface Config {
  readonly vocabulary: number;
  readonly positions: number;
  readonly types: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: b.Heads;
  readonly inner: number;
  readonly epsilon: number;
  readonly activation: Activation;
}

function readConfig(config: ConfigReader): Config {
  const width = readCount(config, "hidden_size");
  return {
    vocabulary: readVocabulary(config),
    positions: readCount(config, "max_position_embeddings"),
    types: readCount(config, "type_vocab_size"),
    layers: readLayers(config, "num_hidden_layers"),
    width,
    heads: readEqualHeads(config, width),
    inner: readCount(config, "intermediate_size"),
    epsilon: config.optionalNumber("layer_norm_eps", { above: 0 }) ?? 1e-12,
    activation: readActivation(config, "hidden_act", "gelu"),
  };
}

function embedded(s: Scope, c: Config): Node {
  const at = "bert.embeddings";
  const table = (name: string, rows: number): Node =>
    b.weight(s, `${at}.${name}_embeddings.weight`, [rows, c.width]);
  const ids = b.embedding(s, table("word", c.vocabulary));
  const typed = b.add(s, ids, b.typeEmbedding(s, table("token_type", c.types)));
  const placed = b.add(s, typed, b.positionEmbedding(s, table("position", c.positions)));
  return b.layerNorm(s, placed, `${at}.LayerNorm`, c);
}

function block(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `bert.encoder.layer.${layer}`;
  const mixed = attention(s, c, x, layer);
  const attended = b.linear(s, mixed, `${at}.attention.output.dense`, wide(c.width));
  const middle = b.layerNorm(s, b.add(s, attended, x), `${at}.attention.output.LayerNorm`, c);
  const names = { up: `${at}.intermediate.dense`, down: `${at}.output.dense` };
  const inner = b.mlp(s, middle, names, { ...c, bias: true });
  return b.layerNorm(s, b.add(s, inner, middle), `${at}.output.LayerNorm`, c);
}

const wide = (outputs: number): b.LinearOptions => ({ outputs, bias: true });

function attention(s: Scope, c: Config, x: Node, layer: number): Node {
  const at = `bert.encoder.layer.${layer}.attention.self`;
  const [q, keys, values] = ["query", "key", "value"].map((name) =>
    b.splitHeads(s, b.linear(s, x, `${at}.${name}`, wide(c.width)), c.heads.query),
  ) as [Node, Node, Node];
  const scale = c.heads.size ** -0.5;
  return b.mergeHeads(s, s.attend(layer, q, { keys, values }, { scale, bothWays: true }));
}

/** tanh of a product with the hidden value of the first id: [batch, width]. */
function pooled(s: Scope, c: Config, x: Node): Node {
  const first = slice(s.g, x, { axis: 1, start: 0, end: 1 });
  const rows = reshape(s.g, first, [s.batch, c.width]);
  const product = b.linear(s, rows, "bert.pooler.dense", wide(c.width));
  return map(s.g, builtin("tanh"), [product]);
}

function outputs(s: Scope, c: Config): ReturnType<Encoder["outputs"]> {
  let x = embedded(s, c);
  for (let layer = 0; layer < c.layers; layer++) x = block(s, c, x, layer);
  const hidden = { name: "last_hidden_state", node: reshape(s.g, x, [s.batch, s.seq, c.width]) };
  // Models that were trained to fill in words are stored without it.
  const poolerless = ["weight", "bias"].every((each) =>
    s.weights.lacks(`bert.pooler.dense.${each}`),
  );
  if (poolerless) return [hidden];
  return [hidden, { name: "pooler_output", node: pooled(s, c, hidden.node) }];
}

const ownHeads = ["BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"];

function read(config: ConfigReader): Encoder {
  const c = readConfig(config);
  const left = (config.optionalStrings("architectures") ?? []).filter((each) =>
    ownHeads.includes(each),
  );
  return {
    kind: "encoder",
    inputs: ["attention_mask", "token_type_ids"],
    positions: { limit: c.positions, beyond: "the model has no embedding for later positions" },
    notices: () => left.map((each) => `the head of ${each} is left out`),
    outputs: (s) => outputs(s, c),
  };
}

export const bert: Family = {
  modelType: "bert",
  architectures: ["BertModel", ...ownHeads],
  keys: {
    inert: [
      ...["attention_probs_dropout_prob", "hidden_dropout_prob", "tie_word_embeddings"],
      // The pooler's, of files from the first releases.
      ...["directionality", "pooler_fc_size", "pooler_num_attention_heads"],
      ...["pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"],
    ],
    fixed: { is_decoder: [false], position_embedding_type: ["absolute"] },
  },
  tensors: {
    prefix: "bert.",
    outside: ["cls."],
    renamed: [
      [/\.gamma$/, ".weight"],
      [/\.beta$/, ".bias"],
    ],
    ignored: [/^cls\./, /(^|\.)embeddings\.(position|token_type)_ids$/],
  },
  read,
};
