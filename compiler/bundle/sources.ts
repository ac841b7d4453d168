/** The source tensors and states of a bundle, numbered across its targets. */
import { byteSize } from "../ir/dtype.js";
import type { Node } from "../ir/graph.js";
import type { Buffer } from "../kernel/memory.js";
import type { SourceTensor, StateSpec } from "../plan/plan.js";
import { rangeOf } from "../scalar/range.js";

export interface SourceEntry {
  readonly spec: SourceTensor;
  readonly node: Node<"constant">;
}

/** How a constant of the model becomes a source tensor of the bundle. */
export type SourcePolicy = (node: Node<"constant">) => SourceTensor["from"];

export class SourceTable {
  readonly entries: SourceEntry[] = [];
  readonly states: StateSpec[] = [];
  readonly #index = new Map<Node, number>();
  readonly #names = new Set<string>();

  constructor(readonly policy: SourcePolicy) {}

  indexOf(node: Node<"constant">, name: string): number {
    const known = this.#index.get(node);
    if (known !== undefined) return known;
    const index = this.entries.length;
    const shape = node.shape.map((dim) => rangeOf(dim).max);
    const bytes = byteSize(
      node.dtype,
      shape.reduce((x, y) => x * y, 1),
    );
    const { source } = node.attrs;
    const wanted = source.kind === "literal" ? name : source.tensor;
    this.entries.push({
      node,
      spec: {
        name: this.#unique(wanted),
        dtype: node.dtype,
        shape,
        bytes,
        from: this.policy(node),
      },
    });
    this.#index.set(node, index);
    return index;
  }

  #unique(name: string): string {
    let candidate = name;
    for (let i = 1; this.#names.has(candidate); i++) candidate = `${name}#${i}`;
    this.#names.add(candidate);
    return candidate;
  }

  stateIndex(buffer: Buffer): number {
    const known = this.states.findIndex((state) => state.name === buffer.name);
    if (known >= 0) return known;
    this.states.push({
      name: buffer.name,
      dtype: buffer.dtype,
      shape: buffer.shape.map((dim) => rangeOf(dim).max),
      layout: "contiguous",
    });
    return this.states.length - 1;
  }
}
