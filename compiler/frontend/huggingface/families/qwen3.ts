/** Qwen3: Llama's layers with an RMSNorm on each head of the queries and keys before rotation. */
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import { readWindow, readWindows } from "../common-config.js";
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
  const heads = { keyValue: 32, size: 128, anySize: true };
  const c = readRotaryDecoder(config, { positions: 32_768, eos: [], heads });
  const bias = config.optionalBoolean("attention_bias") ?? false;
  const windows = readSlidingWindows(config, c.layers);
  return rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) =>
          separateAttention(s, c, normal, layer, {
            bias,
            window: windows[layer.index]!,
            headNorm: (head, name) => b.rmsNorm(s, head, name, c.epsilon),
          }),
        mlp: (normal) => separateMlp(s, c, normal, layer.at),
      }),
  });
}

/** Off unless `use_sliding_window`; then from layer `max_window_layers` on. */
function readSlidingWindows(config: ConfigReader, layers: number): (number | null)[] {
  const given = readWindow(config, 4096);
  const window = (config.optionalBoolean("use_sliding_window") ?? false) ? given : null;
  const full = config.optionalInt("max_window_layers", { min: 0 }) ?? 28;
  return readWindows(config, layers, window, (layer) => layer >= full);
}

export const qwen3: Family = {
  modelType: "qwen3",
  architectures: ["Qwen3ForCausalLM", "Qwen3Model"],
  keys: { inert: ["attention_dropout"], fixed: {} },
  tensors: rotaryTensors,
  read,
};
