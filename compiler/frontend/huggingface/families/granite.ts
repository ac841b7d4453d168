/** Granite: Llama's layers with a factor each on embeddings, scores, residuals and logits. */
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import type { Family, LanguageModel } from "../family.js";
import {
  readRotaryDecoder,
  rotaryDecoder,
  rotaryTensors,
  separateAttention,
  separateMlp,
  type Layer,
  type RotaryDecoder,
} from "../rotary-decoder.js";
import type { Scope } from "../scope.js";

interface Config extends RotaryDecoder {
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly factors: Readonly<Record<"embedding" | "attention" | "residual" | "logits", number>>;
}

function readConfig(config: ConfigReader): Config {
  const factor = (key: string): number => config.optionalNumber(key, { above: 0 }) ?? 1;
  return {
    ...readRotaryDecoder(config, { positions: 2048, eos: [2] }),
    attentionBias: config.optionalBoolean("attention_bias") ?? false,
    mlpBias: config.optionalBoolean("mlp_bias") ?? false,
    factors: {
      embedding: factor("embedding_multiplier"),
      attention: factor("attention_multiplier"),
      residual: factor("residual_multiplier"),
      logits: factor("logits_scaling"),
    },
  };
}

function block(s: Scope, c: Config, x: Node, layer: Layer): Node {
  const { at } = layer;
  const plus = (before: Node, part: Node): Node =>
    b.add(s, before, b.scaled(s, part, c.factors.residual));
  const normal = b.rmsNorm(s, x, `${at}.input_layernorm`, c.epsilon);
  const options = { bias: c.attentionBias, scale: c.factors.attention };
  const middle = plus(x, separateAttention(s, c, normal, layer, options));
  const inner = b.rmsNorm(s, middle, `${at}.post_attention_layernorm`, c.epsilon);
  return plus(middle, separateMlp(s, c, inner, at, c.mlpBias));
}

function read(config: ConfigReader): LanguageModel {
  const c = readConfig(config);
  return rotaryDecoder(c, {
    block: (s, x, layer) => block(s, c, x, layer),
    embedded: (s, x) => b.scaled(s, x, c.factors.embedding),
    scores: (s, logits) => b.divided(s, logits, c.factors.logits),
  });
}

export const granite: Family = {
  modelType: "granite",
  architectures: ["GraniteForCausalLM", "GraniteModel"],
  keys: { inert: ["attention_dropout"], fixed: {} },
  tensors: rotaryTensors,
  read,
};
