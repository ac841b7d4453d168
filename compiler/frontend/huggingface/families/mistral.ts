/** Mistral: Llama's layers, without biases, each query with a window over the keys before it. */
import type { ConfigReader } from "../../files/config-reader.js";
import { readWindow } from "../common-config.js";
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
  const heads = { keyValue: 8, anySize: true };
  const c = readRotaryDecoder(config, { positions: 4096 * 32, eos: [2], heads });
  const window = readWindow(config, 4096);
  return rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) => separateAttention(s, c, normal, layer, { bias: false, window }),
        mlp: (normal) => separateMlp(s, c, normal, layer.at),
      }),
  });
}

export const mistral: Family = {
  modelType: "mistral",
  architectures: ["MistralForCausalLM", "MistralModel"],
  keys: { inert: ["attention_dropout"], fixed: {} },
  tensors: rotaryTensors,
  read,
};
