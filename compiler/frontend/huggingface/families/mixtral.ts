/** Mixtral: Mistral's layers with a mixture of experts in place of the MLP. */
import type { ConfigReader } from "../../files/config-reader.js";
import { readCount, readWindow } from "../common-config.js";
import { mixture, routed, routerLogits, softmaxScores } from "../expert-blocks.js";
import type { Family, LanguageModel } from "../family.js";
import {
  preNormBlock,
  readRotaryDecoder,
  rotaryDecoder,
  rotaryTensors,
  separateAttention,
} from "../rotary-decoder.js";

function read(config: ConfigReader): LanguageModel {
  const heads = { keyValue: 8, anySize: true };
  const rope = { theta: 1e6 };
  const c = readRotaryDecoder(config, {
    positions: 4096 * 32,
    eos: [2],
    epsilon: 1e-5,
    heads,
    rope,
  });
  const window = readWindow(config, null);
  const experts = config.has("num_local_experts") ? readCount(config, "num_local_experts") : 8;
  const count = config.optionalInt("num_experts_per_tok", { min: 1, max: experts }) ?? 2;
  return rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) => separateAttention(s, c, normal, layer, { bias: false, window }),
        mlp(normal) {
          const at = `${layer.at}.mlp`;
          const logits = routerLogits(s, normal, `${at}.gate`, { experts, exact: false });
          const routing = routed(s, softmaxScores(s, logits), { count, normalise: 0 });
          const names = (expert: number): Record<"gate" | "up" | "down", string> => {
            const own = `${at}.experts.${expert}`;
            return { gate: `${own}.w1`, up: `${own}.w3`, down: `${own}.w2` };
          };
          return mixture(s, normal, routing, { ...c, experts, names });
        },
      }),
  });
}

export const mixtral: Family = {
  modelType: "mixtral",
  architectures: ["MixtralForCausalLM", "MixtralModel"],
  keys: {
    inert: [
      ...["attention_dropout", "output_router_logits", "router_aux_loss_coef"],
      "router_jitter_noise",
    ],
    fixed: {},
  },
  tensors: {
    ...rotaryTensors,
    renamed: [[/\.block_sparse_moe\./, ".mlp."]],
  },
  read,
};
