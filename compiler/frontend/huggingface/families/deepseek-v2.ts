/** DeepSeek-V2: latent attention rotated in f32, softmax scores, experts that all share. */
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import { unsupported } from "../config-keys.js";
import { deepseek, deepseekKeys, readDeepseek, type DeepseekConfig } from "../deepseek.js";
import { routed, routerLogits, softmaxScores, type Routing } from "../expert-blocks.js";
import type { Family, LanguageModel } from "../family.js";
import { rotaryTensors } from "../rotary-decoder.js";
import type { Scope } from "../scope.js";

function routing(s: Scope, c: DeepseekConfig, x: Node, at: string): Routing {
  const { experts, count, groups, kept, scale } = c.mixture;
  const logits = routerLogits(s, x, at, { experts, exact: true });
  const scores = softmaxScores(s, logits);
  return routed(s, scores, { count, groups, kept, rank: "largest", normalise: null, scale });
}

const methods = ["greedy", "group_limited_greedy"];

/** Whether groups limit the choice. */
function readMethod(config: ConfigReader): boolean {
  const method = config.optionalString("topk_method") ?? "greedy";
  if (!methods.includes(method))
    throw unsupported(config, "topk_method", `${JSON.stringify(method)}: ${methods.join(", ")}`);
  return method !== "greedy";
}

function read(config: ConfigReader): LanguageModel {
  const limited = readMethod(config);
  const c = readDeepseek(config, {
    eos: [2],
    positions: 2048,
    query: 1536,
    interleaved: true,
    wide: true,
    firstMixture: 0,
    experts: 64,
    shared: 2,
    count: null,
    groups: limited ? { count: 1, kept: 1 } : null,
    inner: 1407,
    scale: 1,
    normalised: false,
  });
  const model = deepseek(config, c, routing);
  if (!c.mixture.normalised) return model;
  // Nor does transformers.
  const notice = "norm_topk_prob: factors of experts are not divided by their sum in this family";
  return { ...model, notices: (capacity) => [...(model.notices?.(capacity) ?? []), notice] };
}

export const deepseekV2: Family = {
  modelType: "deepseek_v2",
  architectures: ["DeepseekV2ForCausalLM", "DeepseekV2Model"],
  keys: {
    inert: deepseekKeys.inert,
    fixed: { ...deepseekKeys.fixed, scoring_func: ["softmax"] },
  },
  tensors: rotaryTensors,
  read,
};
