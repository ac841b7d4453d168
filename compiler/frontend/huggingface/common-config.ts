/** Readers of what many families' configurations have in common. */
import type { DType } from "../../ir/dtype.js";
import type { ConfigReader } from "../files/config-reader.js";
import { isJsonArray } from "../files/json.js";
import type { Heads } from "./blocks.js";

/** Larger than any published model's by orders of magnitude, small enough to multiply. */
const mostElements = 1 << 24;
const mostLayers = 4096;

/** A width, a number of heads, of positions. */
export const readCount = (config: ConfigReader, key: string): number =>
  config.int(key, { min: 1, max: mostElements });

export const readLayers = (config: ConfigReader, key: string): number =>
  config.int(key, { min: 1, max: mostLayers });

export const readVocabulary = (config: ConfigReader): number =>
  config.int("vocab_size", { min: 1, max: 1 << 28 });

/** Heads under the names that nearly all families share; their size is even, for rotation. */
export function readHeads(config: ConfigReader, width: number): Heads {
  const query = readCount(config, "num_attention_heads");
  const keyValue =
    config.optionalInt("num_key_value_heads", { min: 1, max: mostElements }) ?? query;
  if (width % query !== 0)
    throw config.invalid(
      "num_attention_heads",
      `${query} heads do not divide hidden_size = ${width}`,
    );
  if (query % keyValue !== 0)
    throw config.invalid(
      "num_key_value_heads",
      `${keyValue} heads of keys do not divide ${query} heads of queries`,
    );
  const size = config.optionalInt("head_dim", { min: 1, max: mostElements }) ?? width / query;
  if (size % 2 !== 0) throw config.invalid("head_dim", `heads of ${size} elements have no pairs`);
  return { query, keyValue, size };
}

/** One id, a list, or nothing. */
export function readEos(config: ConfigReader): number[] | undefined {
  const key = "eos_token_id";
  if (isJsonArray(config.raw(key))) return config.optionalInts(key);
  const one = config.optionalInt(key);
  return one === undefined ? undefined : [one];
}

const dtypeNames: Readonly<Record<string, DType>> = {
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
  float64: "f64",
};

/** The type in which the model was stored, if the configuration says it in a way that we know. */
export function readDtype(config: ConfigReader): DType | undefined {
  const name = config.optionalString("dtype") ?? config.optionalString("torch_dtype");
  const plain = name?.replace(/^torch\./, "");
  return plain !== undefined && Object.hasOwn(dtypeNames, plain) ? dtypeNames[plain] : undefined;
}
