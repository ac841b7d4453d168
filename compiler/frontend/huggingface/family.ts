/** What a family of models tells the importer: its configuration, its tensors' names, its blocks. */
import type { Node } from "../../ir/graph.js";
import type { ConfigReader } from "../files/config-reader.js";
import type { KeyTable } from "./config-keys.js";
import type { Scope } from "./scope.js";
import type { TensorNames } from "./weights.js";

/** A model that predicts the next id, read from its configuration. */
export interface LanguageModel {
  readonly vocabulary: number;
  readonly positions: {
    /** The longest sequence that the model is made for. */
    readonly limit: number;
    /** Why longer sequences are refused; null where they are merely unusual. */
    readonly beyond: string | null;
  };
  /** After which `generate` stops where no file says so. */
  readonly eosTokenIds: readonly number[];
  /** Hidden values of the entry's ids after the last layer: [tokens, width]. */
  hidden(s: Scope): Node;
  /** The final norm and the head: [rows, vocabulary]. */
  logits(s: Scope, hidden: Node): Node;
}

export interface Family {
  readonly modelType: string;
  /** Classes of transformers whose checkpoints this family reads. */
  readonly architectures: readonly string[];
  readonly keys: KeyTable;
  readonly tensors: TensorNames;
  /** Reads and checks the configuration; every key that it reads is accepted. */
  read(config: ConfigReader): LanguageModel;
}
