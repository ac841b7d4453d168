/** What the families of DeepSeek have in common: latent attention and mixtures after some layers. */
import { add } from "./blocks.js";
import * as b from "./blocks.js";
import type { Node } from "../../ir/graph.js";
import type { ConfigReader } from "../files/config-reader.js";
import { readActivation, type Activation } from "./activations.js";
import { mostLayers, readCount, readEos, readLayers, readVocabulary } from "./common-config.js";
import type { KeyTable } from "./config-keys.js";
import { mixture, type Routing } from "./expert-blocks.js";
import type { LanguageModel } from "./family.js";
import {
  latentAttention,
  readLatentHeads,
  type LatentConfig,
  type LatentDefaults,
} from "./latent-attention.js";
import { angles, type Angles } from "./rotary.js";
import type { Scope } from "./scope.js";

export interface MixtureConfig {
  readonly experts: number;
  /** Experts of a token. */
  readonly count: number;
  /** Groups of experts, and how many of them a token chooses from. */
  readonly groups: number;
  readonly kept: number;
  /** Columns of an expert, and of the one that all tokens share; 0 where there is none. */
  readonly inner: number;
  readonly shared: number;
  readonly scale: number;
  readonly normalised: boolean;
  /** Whether a layer is a mixture. */
  readonly has: (layer: number) => boolean;
}

export interface DeepseekConfig extends LatentConfig {
  readonly vocabulary: number;
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly mlpBias: boolean;
  readonly tied: boolean;
  readonly eosTokenIds: readonly number[];
  readonly mixture: MixtureConfig;
}

/** What a family's configuration class says where the file says nothing. */
export interface DeepseekDefaults extends LatentDefaults {
  readonly eos: readonly number[];
  readonly firstMixture: number;
  readonly experts: number;
  readonly shared: number;
  readonly count: number | null;
  /** null where groups limit nothing, whatever the configuration says of them. */
  readonly groups: { readonly count: number; readonly kept: number } | null;
  readonly inner: number;
  readonly scale: number;
  readonly normalised: boolean;
}

export function readDeepseek(config: ConfigReader, defaults: DeepseekDefaults): DeepseekConfig {
  return {
    ...readLatentHeads(config, defaults),
    vocabulary: readVocabulary(config),
    layers: readLayers(config, "num_hidden_layers"),
    width: readCount(config, "hidden_size"),
    inner: readCount(config, "intermediate_size"),
    epsilon: config.optionalNumber("rms_norm_eps", { above: 0 }) ?? 1e-6,
    activation: readActivation(config, "hidden_act", "silu"),
    mlpBias: config.optionalBoolean("mlp_bias") ?? false,
    tied: config.optionalBoolean("tie_word_embeddings") ?? false,
    eosTokenIds: readEos(config, defaults.eos),
    mixture: readMixture(config, defaults),
  };
}

function readMixture(config: ConfigReader, defaults: DeepseekDefaults): MixtureConfig {
  const int = (key: string, otherwise: number, min = 1): number =>
    config.optionalInt(key, { min, max: 1 << 24 }) ?? otherwise;
  const experts = int("n_routed_experts", defaults.experts);
  const [groups, kept] = readGroups(config, experts, defaults.groups);
  const count = config.optionalInt("num_experts_per_tok", { min: 1 }) ?? defaults.count;
  const most = (kept * experts) / groups;
  if (count === null || count > most)
    throw config.invalid("num_experts_per_tok", `${count ?? "nothing"}, from 1 to ${most} of them`);
  const inner = int("moe_intermediate_size", defaults.inner);
  const first = int("first_k_dense_replace", defaults.firstMixture, 0);
  const every = int("moe_layer_freq", 1);
  const absent = config.raw("n_shared_experts") === null;
  return {
    experts,
    count,
    groups,
    kept,
    inner,
    shared: absent ? 0 : inner * int("n_shared_experts", defaults.shared, 0),
    scale: config.optionalNumber("routed_scaling_factor") ?? defaults.scale,
    normalised: config.optionalBoolean("norm_topk_prob") ?? defaults.normalised,
    has: (layer) => layer >= first && layer % every === 0,
  };
}

function readGroups(
  config: ConfigReader,
  experts: number,
  defaults: DeepseekDefaults["groups"],
): readonly [number, number] {
  const count = config.optionalInt("n_group", { min: 1 });
  const kept = config.optionalInt("topk_group", { min: 1 });
  if (defaults === null) return [1, 1];
  const groups = count ?? defaults.count;
  if (experts % groups !== 0)
    throw config.invalid("n_group", `${groups} groups do not divide ${experts} experts`);
  const some = kept ?? Math.min(defaults.kept, groups);
  if (some > groups) throw config.invalid("topk_group", `${some} of ${groups} groups`);
  return [groups, some];
}

export const deepseekKeys: KeyTable = {
  // Sizes of heads follow from their parts; losses and placement are of training.
  inert: [
    ...["attention_dropout", "head_dim", "qk_head_dim", "ep_size", "seq_aux", "aux_loss_alpha"],
    ...["num_nextn_predict_layers", "num_mtp_layers", "output_router_logits"],
    ...["router_aux_loss_coef", "num_experts", "num_local_experts"],
  ],
  // More slices sum their products in another order.
  fixed: { pretraining_tp: [1] },
};

type RoutingOf = (s: Scope, c: DeepseekConfig, x: Node, name: string) => Routing;

const embeddings = "model.embed_tokens.weight";

interface Layer {
  readonly index: number;
  readonly at: string;
  readonly turned: Angles;
}

const gatedNames = (at: string): b.GatedNames => ({
  gate: `${at}.gate_proj`,
  up: `${at}.up_proj`,
  down: `${at}.down_proj`,
});

/** The MLP of a layer: plain, or a mixture beside one that all tokens share. */
function feedForward(s: Scope, c: DeepseekConfig, x: Node, layer: Layer, routing: RoutingOf): Node {
  const at = `${layer.at}.mlp`;
  const plain = { activation: c.activation, bias: c.mlpBias };
  const { has, experts, inner, shared } = c.mixture;
  if (!has(layer.index)) return b.gatedMlp(s, x, gatedNames(at), { ...plain, inner: c.inner });
  const names = (expert: number): b.GatedNames => gatedNames(`${at}.experts.${expert}`);
  const mixed = mixture(s, x, routing(s, c, x, `${at}.gate`), {
    ...{ experts, inner, names },
    activation: c.activation,
  });
  if (shared === 0) return mixed;
  const own = gatedNames(`${at}.shared_experts`);
  return add(s, mixed, b.gatedMlp(s, x, own, { ...plain, inner: shared }));
}

function block(s: Scope, c: DeepseekConfig, x: Node, layer: Layer, routing: RoutingOf): Node {
  const normal = b.rmsNorm(s, x, `${layer.at}.input_layernorm`, c.epsilon);
  const middle = add(s, x, latentAttention(s, c.heads, normal, layer));
  const inner = b.rmsNorm(s, middle, `${layer.at}.post_attention_layernorm`, c.epsilon);
  return add(s, middle, feedForward(s, c, inner, layer, routing));
}

/** The model of a configuration; `routing` is the family's. */
export function deepseek(
  config: ConfigReader,
  c: DeepseekConfig,
  routing: RoutingOf,
): LanguageModel {
  const changing = "dynamic rotary frequencies depend on the sequence's length there";
  const further = config.optionalInt("num_nextn_predict_layers", { min: 0, max: mostLayers }) ?? 0;
  const notice = `num_nextn_predict_layers: ${further} layers that predict further ids are left out`;
  return {
    kind: "language",
    vocabulary: c.vocabulary,
    positions: { limit: c.positions, beyond: c.rope.limit === undefined ? null : changing },
    eosTokenIds: c.eosTokenIds,
    left: Array.from(
      { length: Math.max(1, further) },
      (_, i) => new RegExp(`^(model\\.)?layers\\.${c.layers + i}\\.`),
    ),
    notices: () => (further === 0 ? [] : [notice]),
    hidden(s) {
      let x = b.embedding(s, b.weight(s, embeddings, [c.vocabulary, c.width]));
      const turned = angles(s, c.rope, c.heads.turned, c.heads.wide ? "f32" : s.dtype);
      for (let index = 0; index < c.layers; index++)
        x = block(s, c, x, { index, at: `model.layers.${index}`, turned }, routing);
      return x;
    },
    logits(s, x) {
      const normal = b.rmsNorm(s, x, "model.norm", c.epsilon);
      return b.head(s, normal, { ...c, name: "lm_head", embeddings });
    },
  };
}
