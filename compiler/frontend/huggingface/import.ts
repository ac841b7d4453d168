/** A Hugging Face directory as graphs: `config.json` says which, the safetensors files hold the weights. */
import { FarrierError } from "../../errors.js";
import { isFloat, type DType } from "../../ir/dtype.js";
import { GraphBuilder } from "../../ir/graph.js";
import { Checkpoint } from "../files/checkpoint.js";
import { ConfigReader } from "../files/config-reader.js";
import type { ModelDirectory } from "../files/source-file.js";
import type { Generation, ImportedModel } from "../model.js";
import { readDtype, readEos } from "./common-config.js";
import { checkKeys, unsupported } from "./config-keys.js";
import { readBlockScales } from "./quantised.js";
import { entriesOf, profileOf, type Span } from "./entries.js";
import type { LanguageModel, Model, OptionalInput } from "./family.js";
import { pagePool, type CacheLayout } from "./pages.js";
import { familyOf } from "./registry.js";
import { tokenizerOf } from "./tokenizer-files.js";
import { Weights } from "./weights.js";

export type { Span } from "./entries.js";
export type { CacheLayout } from "./pages.js";
export type { OptionalInput } from "./family.js";

/** Types of arithmetic and activations. */
export type ComputeType = "f32" | "bf16" | "f16";

const computeTypes: readonly DType[] = ["f32", "bf16", "f16"] satisfies ComputeType[];

export interface HuggingFaceOptions {
  /** What the model stores by default. */
  readonly dtype?: ComputeType;
  /** Ranges of `batch` (by default 1 to 8) and `seq` (1 to the model's limit). */
  readonly dims?: Readonly<Record<string, Span>>;
  /** Of the keys and values of earlier ids; contiguous by default. */
  readonly cache?: CacheLayout;
  /** `none`: only shapes, and `config.json` is all that the directory needs to hold. */
  readonly weights?: "files" | "none";
  /** Inputs of `main` besides `input_ids`, by default the family's; those not named cost nothing. */
  readonly inputs?: readonly OptionalInput[];
}

const generationFile = "generation_config.json";

/** The directory stays open: tensors of the model are read from its files. */
export function importHuggingFace(
  directory: ModelDirectory,
  options: HuggingFaceOptions = {},
): ImportedModel {
  const config = ConfigReader.open(directory);
  const family = familyOf(config);
  const model = family.read(config);
  const storedName = readDtype(config);
  const scales = readBlockScales(config);
  checkKeys(config, family.keys);
  const profile = profileOf(model, options.dims ?? {});
  const { cache: layout = { kind: "contiguous" } } = options;
  if (layout.kind === "paged" && model.kind !== "language")
    throw new FarrierError("E_OPTION", "the model has no caches", { where: "--cache" });
  const checkpoint = options.weights === "none" ? null : Checkpoint.open(directory);
  const stored = storedName ?? mostCommonType(checkpoint) ?? "f32";
  const dtype = options.dtype ?? stored;
  if (!computeTypes.includes(dtype))
    throw unsupported(config, "dtype", `arithmetic in ${dtype}; give --dtype f32, bf16 or f16`);
  const g = new GraphBuilder();
  const ignored = [...family.tensors.ignored, ...(model.left ?? [])];
  const weights = new Weights(g, checkpoint, { ...family.tensors, ignored }, stored, scales);
  const [sequences, capacity] = [profile.batch.max, profile.seq.max];
  const pool = pagePool(layout, { sequences, capacity });
  const scope = { g, weights, dtype, sequences, capacity, pool };
  const { entries, fills } = entriesOf(model, scope, profile, options.inputs);
  weights.finish(directory.path);
  return {
    entries,
    symbols: [profile.batch, profile.seq],
    fills,
    tensors: weights.tensors(),
    dtype,
    notices: noticesOf(config, capacity, model),
    ...(model.kind === "language" && {
      generation: generationOf(directory, model, capacity),
      companions: tokenizerOf(directory),
    }),
  };
}

/** The float type of most of the checkpoint's bytes. */
function mostCommonType(checkpoint: Checkpoint | null): DType | undefined {
  const bytes = new Map<DType, number>();
  for (const ref of checkpoint?.tensors.values() ?? [])
    if (isFloat(ref.dtype)) bytes.set(ref.dtype, (bytes.get(ref.dtype) ?? 0) + ref.bytes);
  return [...bytes].sort(([, a], [, b]) => b - a)[0]?.[0];
}

function generationOf(
  directory: ModelDirectory,
  { eosTokenIds, recomputeAbove = Infinity }: LanguageModel,
  capacity: number,
): Generation {
  return {
    eosTokenIds: generationEos(directory) ?? eosTokenIds,
    ...(capacity > recomputeAbove && { recomputeAbove }),
  };
}

/** Where the file exists it alone decides, as in transformers. */
function generationEos(directory: ModelDirectory): readonly number[] | undefined {
  if (!directory.list().includes(generationFile)) return undefined;
  return readEos(ConfigReader.open(directory, generationFile), []);
}

function noticesOf(config: ConfigReader, capacity: number, model: Model): string[] {
  const notices: string[] = [];
  const { limit } = model.positions;
  if (config.has("auto_map"))
    notices.push(`${config.file}: auto_map names Python code, which is not needed and not run`);
  if (capacity > limit)
    notices.push(`sequences of up to ${capacity} ids: the model was made for ${limit}`);
  return [...notices, ...(model.notices?.(capacity) ?? [])];
}
