/** Where the source tensors of a bundle come from, by `--weights`. */
import { FarrierError } from "../errors.js";
import type { DType } from "../ir/dtype.js";
import type { Node } from "../ir/graph.js";
import type { SourceTensor } from "../plan/plan.js";
import type { SourcePolicy, SourceTable } from "./sources.js";
import { SpecialValues } from "./special-values.js";
import type { FileEntry } from "./write.js";

export type WeightsMode =
  | { readonly kind: "embed" }
  | { readonly kind: "reference" }
  | { readonly kind: "random"; readonly seed: number }
  /** The caller's own tensors, of which nothing is made. */
  | { readonly kind: "live" }
  | { readonly kind: "none" };

/** Reads what `--weights` was given. */
export function parseWeightsMode(text: string): WeightsMode {
  const plain = (["embed", "reference", "live", "none"] as const).find((kind) => kind === text);
  if (plain !== undefined) return { kind: plain };
  const seed = /^random:(\d{1,15})$/.exec(text)?.[1];
  if (seed !== undefined) return { kind: "random", seed: Number(seed) };
  throw new FarrierError("E_OPTION", `${JSON.stringify(text)} is not a way to give weights`, {
    where: "--weights",
    hint: "embed, reference, live, random:SEED or none",
  });
}

/** What a bundle needs to know of a model's tensors: a part of `ImportedModel`. */
export interface TensorPlaces {
  readonly tensors: readonly {
    readonly name: string;
    readonly place: {
      readonly file: {
        readonly path: string;
        readonly size: number;
        readRange(offset: number, length: number): Uint8Array;
      };
      readonly offset: number;
      readonly bytes: number;
    } | null;
    readonly random: { readonly scale: number; readonly shift: number };
  }[];
}

export function sourcePolicy(mode: WeightsMode, model: TensorPlaces): SourcePolicy {
  const byName = new Map(model.tensors.map((tensor, index) => [tensor.name, { tensor, index }]));
  return (node): SourceTensor["from"] => {
    const { source } = node.attrs;
    if (source.kind === "literal" || mode.kind === "embed") return { kind: "bundle" };
    if (mode.kind === "none" || mode.kind === "live") return { kind: "none" };
    const known = byName.get(source.tensor);
    if (mode.kind === "random") {
      const { scale, shift } = known?.tensor.random ?? { scale: 0.02, shift: 0 };
      // Each tensor has its own stream: the seed and its number in the model.
      return { kind: "random", seed: mode.seed * 1_000_003 + (known?.index ?? 0), scale, shift };
    }
    const place = known?.tensor.place;
    if (place === null || place === undefined)
      throw new FarrierError("E_WEIGHTS", "the model has no bytes for this tensor", {
        where: source.tensor,
      });
    return { kind: "file", file: place.file.path, offset: place.offset };
  };
}

interface Streamed {
  readonly dtype: DType;
  readonly shape: readonly number[];
  chunks(): Iterable<Uint8Array>;
}

export interface WeightFiles {
  readonly embedded: Map<string, Streamed>;
  readonly references: Map<string, FileEntry | { readonly bytes: number }>;
  /** What was noticed of the weights that have been written. */
  notices(): string[];
}

/** Read at a time while copying. */
const chunkBytes = 16 * 1024 * 1024;

export function weightFiles(sources: SourceTable, model: TensorPlaces): WeightFiles {
  const places = new Map(model.tensors.map((tensor) => [tensor.name, tensor.place]));
  const embedded = new Map<string, Streamed>();
  const references: WeightFiles["references"] = new Map();
  const special = new SpecialValues();
  for (const { spec, node } of sources.entries) {
    if (spec.from.kind === "file") {
      const place = places.get((node.attrs.source as { tensor: string }).tensor)!;
      references.set(spec.from.file, { bytes: place.file.size });
    }
    if (spec.from.kind === "bundle")
      embedded.set(spec.name, {
        dtype: spec.dtype,
        shape: spec.shape,
        chunks: () =>
          // A literal is a number of the graph, where infinity often hides something.
          node.attrs.source.kind === "literal"
            ? bytesOf(node, places)
            : special.watch(spec.name, spec.dtype, bytesOf(node, places)),
      });
  }
  return { embedded, references, notices: () => special.notices() };
}

function* bytesOf(
  node: Node<"constant">,
  places: ReadonlyMap<string, TensorPlaces["tensors"][number]["place"]>,
): Generator<Uint8Array> {
  const { source } = node.attrs;
  if (source.kind === "literal") {
    yield source.data;
    return;
  }
  const place = places.get(source.tensor) ?? null;
  if (place === null)
    throw new FarrierError("E_WEIGHTS", "the model has no bytes for this tensor", {
      where: source.tensor,
    });
  for (let at = 0; at < place.bytes; at += chunkBytes)
    yield place.file.readRange(place.offset + at, Math.min(chunkBytes, place.bytes - at));
}
