/** What every frontend gives the compiler: graphs over one builder, their symbols and their weights. */
import type { DType } from "../ir/dtype.js";
import type { Graph } from "../ir/graph.js";
import type { SymbolInfo } from "../scalar/expr.js";
import type { SourceFile } from "./files/source-file.js";

export type EntryName = "main" | "prefill" | "decode";

/** One way into the model. The graphs of a model share a builder, so that weights are the same nodes. */
export interface ModelEntry {
  readonly name: EntryName;
  readonly graph: Graph;
}

/** A tensor of the model files that a `constant` node reads: `tensor` of its source is this name. */
export interface ModelTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Where its bytes are; null where weights were not asked for. */
  readonly place: {
    readonly file: SourceFile;
    readonly offset: number;
    readonly bytes: number;
  } | null;
  /** What stands for it in `--weights random`: values of this spread around `shift`. */
  readonly random: { readonly scale: number; readonly shift: number };
}

export interface Generation {
  /** Ids after which generation stops. */
  readonly eosTokenIds: readonly number[];
  /** A sequence that grows past so many ids needs its caches computed again, from its first id. */
  readonly recomputeAbove?: number;
}

export interface ImportedModel {
  readonly entries: readonly ModelEntry[];
  readonly symbols: readonly SymbolInfo[];
  /** Inputs that may be left out, and the value of each of their elements then. */
  readonly fills: ReadonlyMap<string, number>;
  /** In the order in which the graphs first need them. */
  readonly tensors: readonly ModelTensor[];
  /** Arithmetic and activations. */
  readonly dtype: DType;
  /** What the user should know and nothing has to be done about. */
  readonly notices: readonly string[];
  readonly generation?: Generation;
  /** Files that a bundle has copies of, by path below it: what turns texts into ids. */
  readonly companions?: ReadonlyMap<string, SourceFile>;
}
