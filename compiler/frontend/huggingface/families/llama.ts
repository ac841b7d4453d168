/** Llama: rotary positions, RMSNorm, grouped keys and values, a gated MLP. */
import type { ConfigReader } from "../../files/config-reader.js";
import type { Family, LanguageModel } from "../family.js";
import {
  preNormBlock,
  readRotaryDecoder,
  rotaryDecoder,
  rotaryTensors,
  separateAttention,
  separateMlp,
} from "../rotary-decoder.js";

function read(config: ConfigReader): LanguageModel {
  const c = readRotaryDecoder(config, { positions: 2048, eos: [2] });
  const attentionBias = config.optionalBoolean("attention_bias") ?? false;
  const mlpBias = config.optionalBoolean("mlp_bias") ?? false;
  return rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) => separateAttention(s, c, normal, layer, { bias: attentionBias }),
        mlp: (normal) => separateMlp(s, c, normal, layer.at, mlpBias),
      }),
  });
}

export const llama: Family = {
  modelType: "llama",
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  keys: {
    inert: ["attention_dropout"],
    // More slices sum their products in another order.
    fixed: { pretraining_tp: [1] },
  },
  tensors: rotaryTensors,
  read,
};
