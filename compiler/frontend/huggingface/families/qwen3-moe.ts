/** Qwen3 with a mixture of experts in place of the MLP of some layers. */
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import { readCount, readWindow } from "../common-config.js";
import { mixture, routed, routerLogits, softmaxScores } from "../expert-blocks.js";
import type { Family, LanguageModel } from "../family.js";
import {
  preNormBlock,
  readRotaryDecoder,
  rotaryDecoder,
  rotaryTensors,
  separateAttention,
  separateMlp,
  type RotaryDecoder,
} from "../rotary-decoder.js";
import type { Node } from "../../../ir/graph.js";
import { cast } from "../../../ir/build.js";
import type { Scope } from "../scope.js";

interface Mixture {
  readonly experts: number;
  readonly count: number;
  readonly inner: number;
  readonly normalised: boolean;
}

function readMixture(config: ConfigReader): Mixture {
  const experts = config.has("num_experts") ? readCount(config, "num_experts") : 128;
  return {
    experts,
    count: config.optionalInt("num_experts_per_tok", { min: 1, max: experts }) ?? 8,
    inner: config.has("moe_intermediate_size") ? readCount(config, "moe_intermediate_size") : 768,
    normalised: config.optionalBoolean("norm_topk_prob") ?? false,
  };
}

/** Which layers are mixtures: each `decoder_sparse_step`-th, unless it is listed as plain. */
function readSparse(config: ConfigReader): (layer: number) => boolean {
  const step = config.optionalInt("decoder_sparse_step", { min: 1 }) ?? 1;
  const plain = new Set(config.optionalInts("mlp_only_layers", { min: 0 }) ?? []);
  return (layer) => !plain.has(layer) && (layer + 1) % step === 0;
}

function expertLayer(s: Scope, c: RotaryDecoder, m: Mixture, x: Node, at: string): Node {
  const { experts, count, inner, normalised } = m;
  const logits = routerLogits(s, x, `${at}.gate`, { experts, exact: false });
  const scores = softmaxScores(s, logits);
  const { chosen, factors } = routed(s, scores, { count, normalise: normalised ? 0 : null });
  const names = (expert: number): b.GatedNames => {
    const own = `${at}.experts.${expert}`;
    return { gate: `${own}.gate_proj`, up: `${own}.up_proj`, down: `${own}.down_proj` };
  };
  const routing = { chosen, factors: cast(s.g, factors, s.dtype) };
  return mixture(s, x, routing, { experts, inner, activation: c.activation, names });
}

function read(config: ConfigReader): LanguageModel {
  const c = readRotaryDecoder(config, {
    positions: 32_768,
    eos: [],
    heads: { keyValue: 4, anySize: true },
  });
  const bias = config.optionalBoolean("attention_bias") ?? false;
  const given = readWindow(config, 4096);
  const window = (config.optionalBoolean("use_sliding_window") ?? false) ? given : null;
  const m = readMixture(config);
  const sparse = readSparse(config);
  return rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) =>
          separateAttention(s, c, normal, layer, {
            bias,
            window,
            headNorm: (head, name) => b.rmsNorm(s, head, name, c.epsilon),
          }),
        mlp: (normal) =>
          sparse(layer.index)
            ? expertLayer(s, c, m, normal, `${layer.at}.mlp`)
            : separateMlp(s, c, normal, layer.at),
      }),
  });
}

export const qwen3Moe: Family = {
  modelType: "qwen3_moe",
  architectures: ["Qwen3MoeForCausalLM", "Qwen3MoeModel"],
  keys: {
    // Every layer has the window or none has.
    inert: [
      ...["attention_dropout", "output_router_logits", "router_aux_loss_coef"],
      "max_window_layers",
    ],
    fixed: {},
  },
  tensors: rotaryTensors,
  read,
};
