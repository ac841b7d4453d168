/**
 * What is computed, whatever the tensors are called: layers are alike, and what was made for one of
 * them serves the others with other tensors in their places.
 */
import { attrsKey, below, isNode, type Node } from "../ir/graph.js";
import { isConst } from "../scalar/build.js";

/** A weight's computation from the tensors of the model. */
export interface Structure {
  /** Equal for nodes whose operators, types, shapes and sharing are, and for no others. */
  readonly key: number;
  /** The nodes below and the weight itself: those of equal structures correspond by place. */
  readonly nodes: readonly Node[];
  /** Those of them that are tensors of the model. */
  readonly sources: readonly Node[];
}

export const typeKey = ({ dtype, shape }: Node): string =>
  `${dtype}[${shape.map(({ id }) => id).join()}]`;

/** Values of single elements, and literals, may stand in the kernels themselves. */
function isReplaceable(node: Node): boolean {
  if (!isNode(node, "constant") || node.attrs.source.kind === "literal") return false;
  return !node.shape.every((dim) => isConst(dim, 1));
}

export class Structures {
  readonly #keys = new Map<string, number>();
  readonly #known = new Map<Node, Structure>();

  of(root: Node): Structure {
    const known = this.#known.get(root);
    if (known !== undefined) return known;
    const nodes = below([root]);
    const numbers = new Map(nodes.map((node, number) => [node, number]));
    const sources = nodes.filter(isReplaceable);
    const parts = nodes.map((node) => {
      if (node.op === "constant") return isReplaceable(node) ? typeKey(node) : `#${node.id}`;
      const inputs = node.inputs.map((input) => numbers.get(input)!);
      return `${node.op}${typeKey(node)}(${inputs.join()})${attrsKey(node.attrs)}`;
    });
    const structure = { key: this.number(parts.join(";")), nodes, sources };
    this.#known.set(root, structure);
    return structure;
  }

  /** A number for a text: equal ones have the same. */
  number(text: string): number {
    const known = this.#keys.get(text);
    if (known !== undefined) return known;
    this.#keys.set(text, this.#keys.size);
    return this.#keys.size - 1;
  }
}
