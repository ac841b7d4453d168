/**
 * Gemma 2: norms whose scales count from one, before and after attention and MLP; scores and logits
 * kept within a range by a tanh; every other layer with a window; scaled embeddings.
 */
import type { Node } from "../../../ir/graph.js";
import { roundFloat } from "../../../scalar/round.js";
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import { readLimit, readWindow, readWindows } from "../common-config.js";
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
  /** Of the scores. */
  readonly scale: number;
  readonly cap: number | null;
  readonly logitCap: number | null;
  readonly windows: readonly (number | null)[];
}

function readConfig(config: ConfigReader): Config {
  const c = readRotaryDecoder(config, {
    positions: 8192,
    eos: [1],
    heads: { keyValue: 4, size: 256 },
    activation: { key: "hidden_activation", name: "gelu_pytorch_tanh" },
    tied: true,
  });
  const readCap = (key: string, otherwise: number): number | null =>
    readLimit(config, key, otherwise, (from, at) => from.optionalNumber(at, { above: 0 }));
  const window = readWindow(config, 4096);
  return {
    ...c,
    attentionBias: config.optionalBoolean("attention_bias") ?? false,
    scale: (config.optionalNumber("query_pre_attn_scalar", { above: 0 }) ?? 256) ** -0.5,
    cap: readCap("attn_logit_softcapping", 50),
    logitCap: readCap("final_logit_softcapping", 30),
    windows: readWindows(config, c.layers, window, (layer) => layer % 2 === 0),
  };
}

function block(s: Scope, c: Config, x: Node, layer: Layer): Node {
  const norm = (value: Node, name: string): Node =>
    b.offsetRmsNorm(s, value, `${layer.at}.${name}_layernorm`, c.epsilon);
  const attended = separateAttention(s, c, norm(x, "input"), layer, {
    bias: c.attentionBias,
    scale: c.scale,
    cap: c.cap,
    window: c.windows[layer.index]!,
  });
  const middle = b.add(s, x, norm(attended, "post_attention"));
  const inner = separateMlp(s, c, norm(middle, "pre_feedforward"), layer.at);
  return b.add(s, middle, norm(inner, "post_feedforward"));
}

function read(config: ConfigReader): LanguageModel {
  const c = readConfig(config);
  return rotaryDecoder(c, {
    block: (s, x, layer) => block(s, c, x, layer),
    // A tensor there, which has the model's type.
    embedded: (s, x) => b.scaled(s, x, roundFloat(Math.sqrt(c.width), s.dtype)),
    norm: (s, x, name) => b.offsetRmsNorm(s, x, name, c.epsilon),
    scores: (s, logits) => (c.logitCap === null ? logits : b.softCap(s, logits, c.logitCap)),
  });
}

export const gemma2: Family = {
  modelType: "gemma2",
  architectures: ["Gemma2ForCausalLM", "Gemma2Model"],
  keys: {
    // `hidden_act` and `sliding_window_size` stand in published files beside the keys that count.
    inert: ["attention_dropout", "cache_implementation", "hidden_act", "sliding_window_size"],
    fixed: { use_bidirectional_attention: [false] },
  },
  tensors: rotaryTensors,
  read,
};
