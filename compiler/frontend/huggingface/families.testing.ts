/** Tiny models of every family: weights by a formula, and what transformers computes with them. */
import { writeElements } from "../../scalar/elements.js";
import { temporaryDirectory } from "../files/failure.testing.js";
import { inMemory, writeSafetensors } from "../files/write-safetensors.js";
import { importConfig, type Config } from "./models.testing.js";

export interface TinyModel {
  readonly config: Config;
  /** The same model as older files spell it: what is undefined goes. */
  readonly published: Config;
  /** Scores of the first six ids after the last of `tinyIds`, in float64; its norms are in f32. */
  readonly logits: readonly number[];
}

export const tinyIds = [3, 1, 4, 1, 5, 9, 2, 6, 5] as const;

const common: Config = {
  vocab_size: 13,
  hidden_size: 16,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
};
const grouped: Config = {
  ...common,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  rope_parameters: { rope_theta: 10_000, rope_type: "default" },
};
const older: Config = { rope_parameters: undefined, rope_theta: 10_000, rope_scaling: null };

const longrope = { short_factor: [1, 1.1], long_factor: [1.5, 2.5] };

/** Windows, caps and pretrained lengths are shorter than the text. */
export const tinyModels = {
  mistral: {
    config: { ...grouped, model_type: "mistral", sliding_window: 3 },
    published: older,
    logits: [-0.86815799, 1.96455691, 0.69012775, -0.921157578, 1.45266132, -1.66121034],
  },
  qwen3: {
    config: {
      ...grouped,
      ...{ model_type: "qwen3", tie_word_embeddings: true, attention_bias: false },
      ...{ use_sliding_window: true, sliding_window: 4, max_window_layers: 1 },
      layer_types: ["full_attention", "sliding_attention"],
    },
    published: { ...older, layer_types: undefined },
    logits: [-0.523389452, 1.97472563, -0.293039083, -2.13420081, -1.47611139, -1.11131442],
  },
  gemma2: {
    config: {
      ...grouped,
      ...{ model_type: "gemma2", hidden_activation: "gelu_pytorch_tanh" },
      ...{ query_pre_attn_scalar: 9, attn_logit_softcapping: 0.5, final_logit_softcapping: 2 },
      ...{ sliding_window: 3, layer_types: ["sliding_attention", "full_attention"] },
    },
    published: {
      ...older,
      ...{ layer_types: undefined, sliding_window_size: 3, cache_implementation: "hybrid" },
      hidden_act: "gelu_pytorch_tanh",
    },
    logits: [-1.97633618, -1.06606189, 1.2927028, -1.18271168, 1.48981606, 1.96609914],
  },
  phi3: {
    config: {
      ...common,
      ...{ model_type: "phi3", num_key_value_heads: 1, original_max_position_embeddings: 4 },
      rope_parameters: {
        ...{ rope_type: "longrope", rope_theta: 100, partial_rotary_factor: 0.5 },
        ...longrope,
      },
    },
    published: {
      ...{ rope_parameters: undefined, rope_theta: 100, partial_rotary_factor: 0.5 },
      rope_scaling: { type: "su", ...longrope },
    },
    logits: [0.21167561, 0.691554743, 1.01760268, -2.0575149, 1.0438526, -1.33519593],
  },
  granite: {
    config: {
      ...grouped,
      ...{ model_type: "granite", head_dim: undefined, attention_multiplier: 0.3 },
      ...{ embedding_multiplier: 6, residual_multiplier: 0.22, logits_scaling: 3 },
    },
    published: older,
    logits: [-0.111575754, -0.0471157986, 0.413989593, -0.0511656702, 1.01181942, -0.114295204],
  },
  opt: {
    config: {
      ...{ ...common, intermediate_size: undefined, ffn_dim: 12 },
      ...{ model_type: "opt", word_embed_proj_dim: 8, do_layer_norm_before: false },
    },
    published: { activation_dropout: 0, prefix: "</s>", _remove_final_layer_norm: false },
    logits: [1.49295902, -0.28725898, 0.811757628, 0.243842884, -0.553050714, -0.680872291],
  },
  gpt_neox: {
    config: {
      ...common,
      model_type: "gpt_neox",
      rope_parameters: { rope_type: "default", rope_theta: 100, partial_rotary_factor: 0.5 },
    },
    published: { rope_parameters: undefined, rotary_emb_base: 100, rotary_pct: 0.5 },
    logits: [0.996348624, 0.237722406, -0.408394553, -0.341622938, 0.0510311143, 0.495866754],
  },
} as const satisfies Readonly<Record<string, TinyModel>>;

export type TinyFamily = keyof typeof tinyModels;
export const tinyFamilies = Object.keys(tinyModels) as TinyFamily[];

/** An encoder, of several texts and padding. */
export const tinyBert = {
  config: { ...common, model_type: "bert", type_vocab_size: 3, layer_norm_eps: 1e-12 },
  inputs: {
    attention_mask: [1, 1, 1, 1, 1, 1, 1, 0, 0],
    token_type_ids: [0, 0, 1, 1, 2, 2, 0, 1, 2],
  },
  /** The first four values. */
  pooled: [0.467090034, 0.298521114, -0.387755591, -0.933352393],
  /** The first two of the last id. */
  last: [-1.38041064, 0.185451516],
} as const;

/** Numbers from -0.5 to 0.5. */
function numbers(seed: number, count: number): Float64Array {
  let state = seed;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

/**
 * A directory of the model with its weights, to be removed after use: tensor i in the order of their
 * names has the numbers of seed i + 1, and scales of norms are around one.
 */
export function tinyDirectory(
  config: Config,
  spelling: Config = {},
  nameInFile: (name: string) => string = (name) => name,
): ReturnType<typeof temporaryDirectory> {
  const { tensors } = importConfig(config);
  const directory = temporaryDirectory({
    "config.json": JSON.stringify({ ...config, ...spelling }),
  });
  const ordered = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  const written = ordered.map(({ name, shape }, index) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const shift = shape.length === 1 && name.endsWith("weight") ? 1 : 0;
    const values = numbers(index + 1, count).map((value) => value + shift);
    return [nameInFile(name), inMemory("f32", shape, writeElements("f32", values))] as const;
  });
  writeSafetensors(directory.file("model.safetensors"), new Map(written));
  return directory;
}
