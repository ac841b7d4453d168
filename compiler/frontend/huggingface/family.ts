/** What a family of models tells the importer: its configuration, its tensors' names, its blocks. */
import type { Node } from "../../ir/graph.js";
import type { ConfigReader } from "../files/config-reader.js";
import type { KeyTable } from "./config-keys.js";
import type { Scope } from "./scope.js";
import type { TensorNames } from "./weights.js";

/** Inputs of `main` that transformers' models take besides the ids. */
export type OptionalInput = "attention_mask" | "position_ids" | "token_type_ids";

interface AnyModel {
  readonly positions: {
    /** The longest sequence that the model is made for. */
    readonly limit: number;
    /** Why longer sequences are refused; null where they are merely unusual. */
    readonly beyond: string | null;
  };
  /** Tensors of the checkpoint that are no part of it, besides those that no model of the family has. */
  readonly left?: readonly RegExp[];
  /** What there is to know where sequences have up to `capacity` ids. */
  notices?(capacity: number): readonly string[];
}

/** A model that predicts the next id, read from its configuration. */
export interface LanguageModel extends AnyModel {
  readonly kind: "language";
  readonly vocabulary: number;
  /** After which `generate` stops where no file says so. */
  readonly eosTokenIds: readonly number[];
  /** Longer sequences have other keys, and transformers computes those in the cache again. */
  readonly recomputeAbove?: number;
  /** Hidden values of the entry's ids after the last layer: [tokens, width]. */
  hidden(s: Scope): Node;
  /** The final norm and the head: [rows, vocabulary]. */
  logits(s: Scope, hidden: Node): Node;
}

/** A model of whole texts: no caches, one entry. */
export interface Encoder extends AnyModel {
  readonly kind: "encoder";
  /** Inputs that it has unless the caller names others; they may be left out of a run. */
  readonly inputs: readonly OptionalInput[];
  outputs(s: Scope): readonly { readonly name: string; readonly node: Node }[];
}

export type Model = LanguageModel | Encoder;

export interface Family {
  readonly modelType: string;
  /** Classes of transformers whose checkpoints this family reads. */
  readonly architectures: readonly string[];
  readonly keys: KeyTable;
  readonly tensors: TensorNames;
  /** Reads and checks the configuration; every key that it reads is accepted. */
  read(config: ConfigReader): Model;
}
