/** Readers of what many families' configurations have in common. */
import type { DType } from "../../ir/dtype.js";
import type { ConfigReader } from "../files/config-reader.js";
import { isJsonArray } from "../files/json.js";
import type { Heads } from "./blocks.js";
import { unsupported } from "./config-keys.js";

/** Larger than any published model's by orders of magnitude, small enough to multiply. */
const mostElements = 1 << 24;
export const mostLayers = 4096;

/** A width, a number of heads, of positions. */
export const readCount = (config: ConfigReader, key: string): number =>
  config.int(key, { min: 1, max: mostElements });

export const readLayers = (config: ConfigReader, key: string): number =>
  config.int(key, { min: 1, max: mostLayers });

export const readVocabulary = (config: ConfigReader): number =>
  config.int("vocab_size", { min: 1, max: 1 << 28 });

/** What a family's configuration class says where the file says nothing. */
export interface HeadDefaults {
  readonly keyValue?: number;
  readonly size?: number;
  /** Heads may be of any size where the file gives it; else they divide the width. */
  readonly anySize?: boolean;
}

/** Heads under the names that nearly all families share; their size is even, for rotation. */
export function readHeads(config: ConfigReader, width: number, defaults: HeadDefaults = {}): Heads {
  const range = { min: 1, max: mostElements };
  const query = readCount(config, "num_attention_heads");
  const given = config.optionalInt("num_key_value_heads", range);
  const keyValue = given ?? (isAbsent(config, "num_key_value_heads") ? defaults.keyValue : query);
  const size = config.optionalInt("head_dim", range) ?? defaults.size;
  if (width % query !== 0 && (size === undefined || defaults.anySize !== true))
    throw config.invalid(
      "num_attention_heads",
      `${query} heads do not divide hidden_size = ${width}`,
    );
  return checkedHeads(config, {
    query,
    keyValue: keyValue ?? query,
    size: size ?? width / query,
  });
}

/** As many heads of keys and values as of queries, in families that have no others. */
export function readEqualHeads(config: ConfigReader, width: number): Heads {
  const key = "num_attention_heads";
  const query = readCount(config, key);
  if (width % query !== 0)
    throw config.invalid(key, `${query} heads do not divide hidden_size = ${width}`);
  return { query, keyValue: query, size: width / query };
}

function checkedHeads(config: ConfigReader, heads: Heads): Heads {
  const { query, keyValue, size } = heads;
  if (query % keyValue !== 0)
    throw config.invalid(
      "num_key_value_heads",
      `${keyValue} heads of keys do not divide ${query} heads of queries`,
    );
  if (size % 2 !== 0) throw config.invalid("head_dim", `heads of ${size} elements have no pairs`);
  return heads;
}

/** Not there at all: `null` is a value of its own, which stands for "none". */
const isAbsent = (config: ConfigReader, key: string): boolean => !config.keys().includes(key);

/** A limit that `null` lifts, and for which an absent key stands for a value. */
export function readLimit(
  config: ConfigReader,
  key: string,
  otherwise: number | null,
  read: (config: ConfigReader, key: string) => number | undefined,
): number | null {
  const value = read(config, key);
  return value ?? (isAbsent(config, key) ? otherwise : null);
}

/** How many ids a query sees, or null for all. */
export const readWindow = (config: ConfigReader, otherwise: number | null): number | null =>
  readLimit(config, "sliding_window", otherwise, (from, key) =>
    from.optionalInt(key, { min: 1, max: 1 << 28 }),
  );

const layerTypes = ["full_attention", "sliding_attention"];

/** The window of each layer: `layer_types` says which have one, else `slides` does. */
export function readWindows(
  config: ConfigReader,
  layers: number,
  window: number | null,
  slides: (layer: number) => boolean,
): (number | null)[] {
  const named = config.optionalStrings("layer_types");
  if (named === undefined)
    return Array.from({ length: layers }, (_, layer) => (slides(layer) ? window : null));
  if (named.length !== layers)
    throw config.invalid("layer_types", `${named.length} types of ${layers} layers`);
  return named.map((type) => {
    if (!layerTypes.includes(type))
      throw unsupported(config, "layer_types", `${JSON.stringify(type)}: ${layerTypes.join(", ")}`);
    if (type === "full_attention") return null;
    if (window === null) throw config.invalid("sliding_window", "layers slide without a window");
    return window;
  });
}

/** One id, a list, or nothing; an absent key stands for the family's own. */
export function readEos(config: ConfigReader, otherwise: readonly number[]): readonly number[] {
  const key = "eos_token_id";
  if (isArray(config, key)) return config.optionalInts(key) ?? [];
  const one = config.optionalInt(key);
  if (one !== undefined) return [one];
  return isAbsent(config, key) ? otherwise : [];
}

const isArray = (config: ConfigReader, key: string): boolean => isJsonArray(config.raw(key));

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
