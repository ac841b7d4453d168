/** What a pass is. */
import type { Graph, Node } from "../ir/graph.js";

export interface PassContext {
  readonly strict: boolean;
  /** Weights are the caller's own tensors: others may not be made of them. */
  readonly live?: boolean;
  /** Texts of the names of passes to leave out, to compare with. */
  readonly without?: readonly string[];
  /** Bytes of a constant, where they may be read at compile time and are at most `limit` long. */
  bytes(node: Node, limit: number): Uint8Array | null;
}

export interface Pass {
  /** Its equation, or what it does. */
  readonly name: string;
  run(graph: Graph, context: PassContext): Graph;
}
