/** DeepSeek-V3 and R1: latent attention, sigmoid scores, groups of experts, one that all share. */
import { map } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { builtin } from "../../../scalar/table.js";
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import { deepseek, deepseekKeys, readDeepseek, type DeepseekConfig } from "../deepseek.js";
import { routed, routerLogits, type Routing } from "../expert-blocks.js";
import type { Family, LanguageModel } from "../family.js";
import { rotaryTensors } from "../rotary-decoder.js";
import type { Scope } from "../scope.js";

/** Chosen by score and bias together; the bias has no part in the factors. */
function routing(s: Scope, c: DeepseekConfig, x: Node, at: string): Routing {
  const { experts, count, groups, kept, normalised, scale } = c.mixture;
  const logits = routerLogits(s, x, at, { experts, exact: true });
  const scores = map(s.g, builtin("sigmoid"), [logits]);
  const still = { scale: 0, shift: 0 };
  const bias = b.wide(s, s.weights.tensor(`${at}.e_score_correction_bias`, [experts], still));
  return routed(s, scores, {
    choice: b.add(s, scores, bias),
    count,
    groups,
    kept,
    rank: "two",
    normalise: normalised ? 1e-20 : null,
    scale,
  });
}

function read(config: ConfigReader): LanguageModel {
  const c = readDeepseek(config, {
    eos: [1],
    positions: 4096,
    query: 1536,
    interleaved: true,
    wide: false,
    firstMixture: 3,
    experts: 256,
    shared: 1,
    count: 8,
    groups: { count: 8, kept: 4 },
    inner: 2048,
    scale: 2.5,
    normalised: true,
  });
  return deepseek(config, c, routing);
}

export const deepseekV3: Family = {
  modelType: "deepseek_v3",
  architectures: ["DeepseekV3ForCausalLM", "DeepseekV3Model"],
  keys: {
    inert: deepseekKeys.inert,
    fixed: { ...deepseekKeys.fixed, scoring_func: ["sigmoid"], topk_method: ["noaux_tc"] },
  },
  tensors: rotaryTensors,
  read,
};
