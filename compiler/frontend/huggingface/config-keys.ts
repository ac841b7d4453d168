/**
 * Every key of `config.json` is accepted (a family reads it), inert, fixed to the values that are
 * implemented, or refused: nothing that changes the result is ignored.
 */
import { FarrierError } from "../../errors.js";
import type { ConfigReader, UnreadKey } from "../files/config-reader.js";
import {
  describeJson,
  isJsonArray,
  isJsonObject,
  JsonNumber,
  type JsonValue,
} from "../files/json.js";
import { printable } from "../files/source-file.js";

export type Scalar = string | number | boolean;

/** Keys that a family knows besides those that it reads. */
export interface KeyTable {
  /** They change nothing at inference. */
  readonly inert: readonly string[];
  /** Only these values are implemented; absent and null stand for the first. */
  readonly fixed: Readonly<Record<string, readonly Scalar[]>>;
}

/** Bookkeeping, training, other tasks' heads, and defaults for `generate`, of any model. */
const inertAnywhere: readonly string[] = [
  ...["model_type", "architectures", "auto_map", "transformers_version", "dtype", "torch_dtype"],
  ...["_name_or_path", "name_or_path", "_commit_hash", "tokenizer_class", "task_specific_params"],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"],
  ...["use_cache", "initializer_range", "gradient_checkpointing", "torchscript", "use_bfloat16"],
  ...["attn_implementation", "_attn_implementation", "_attn_implementation_autoset"],
  ...["return_dict", "output_attentions", "output_hidden_states", "output_past", "is_decoder"],
  ...["id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task"],
  ...["classifier_dropout", "chunk_size_feed_forward", "prefix", "tf_legacy_loss"],
  ...["max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups"],
  ...["diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty"],
  ...["length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids"],
  ...["num_return_sequences", "output_scores", "return_dict_in_generate", "suppress_tokens"],
  ...["forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"],
  ...["exponential_decay_length_penalty", "begin_suppress_tokens"],
  ...["unsloth_fixed", "unsloth_version"],
];

const fixedAnywhere: Readonly<Record<string, readonly Scalar[]>> = {
  is_encoder_decoder: [false],
  add_cross_attention: [false],
};

/** The error for configurations that are well formed and not implemented. */
export function unsupported(config: ConfigReader, where: string, what: string): FarrierError {
  return new FarrierError("E_CONFIG_UNSUPPORTED", what, {
    file: config.file,
    where: printable(where),
  });
}

/** Throws for every key that would change the result and that nobody read. */
export function checkKeys(config: ConfigReader, table: KeyTable): void {
  config.markRead("quantization_config", ...inertAnywhere, ...table.inert);
  const fixed = { ...fixedAnywhere, ...table.fixed };
  for (const [key, allowed] of Object.entries(fixed)) {
    const value = config.raw(key) ?? null;
    if (value === null || allowed.some((each) => each === scalarOf(value))) continue;
    const only = allowed.map((each) => JSON.stringify(each)).join(" or ");
    throw unsupported(config, key, `${describeJson(value)}, only ${only} is supported`);
  }
  const left = config.unread().filter(({ json }) => !isNeutral(json));
  if (left.length > 0) throw unknownKeys(config, left);
}

function unknownKeys(config: ConfigReader, left: readonly UnreadKey[]): FarrierError {
  const listed = left.map(({ path, value }) => `${printable(path)} = ${value}`).join(", ");
  return unsupported(
    config,
    left[0]!.path,
    `this family has no such ${left.length === 1 ? "key" : "keys"}: ${listed}`,
  );
}

const scalarOf = (value: JsonValue): unknown => (value instanceof JsonNumber ? value.value : value);

/** A switch that is off, or a list of nothing. */
function isNeutral(value: JsonValue): boolean {
  if (value === null || value === false) return true;
  return (isJsonArray(value) && value.length === 0) || (isJsonObject(value) && value.size === 0);
}
