/** A graph with some of its nodes replaced. */
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { make } from "../ir/build.js";

/**
 * Rebuilds `graph` with each node of `replacements` replaced; a replacement may use nodes of the old
 * graph, which are then rebuilt too. Names stay with what replaces their node.
 */
export function substituteNodes(graph: Graph, replacements: ReadonlyMap<Node, Node>): Graph {
  if (replacements.size === 0) return graph;
  const { builder } = graph;
  // Inputs are older than their users: below the oldest of what is replaced nothing changes.
  const oldest = [...replacements.keys()].reduce((least, { id }) => Math.min(least, id), Infinity);
  const stays = (node: Node): boolean =>
    node.id < oldest || (node.inputs.length === 0 && !replacements.has(node));
  const made = new Map<Node, Node>();
  const roots = [...graph.outputs.map((o) => o.node), ...graph.states.map((s) => s.final)];
  const stack = [...roots];
  for (let node = stack[stack.length - 1]; node !== undefined; node = stack[stack.length - 1]) {
    if (made.has(node)) {
      stack.pop();
      continue;
    }
    if (stays(node)) {
      made.set(node, node);
      stack.pop();
      continue;
    }
    const replacement = replacements.get(node);
    const needed = replacement === undefined ? node.inputs : [replacement];
    const missing = needed.filter((input) => !made.has(input) && !stays(input));
    if (missing.length > 0) {
      stack.push(...missing);
      continue;
    }
    stack.pop();
    const result =
      replacement === undefined
        ? rebuilt(graph, node, made)
        : (made.get(replacement) ?? replacement);
    const name = builder.nameOf(node);
    if (name !== undefined) builder.name(result, name);
    made.set(node, result);
  }
  return {
    builder,
    inputs: graph.inputs,
    outputs: graph.outputs.map(({ name, node }) => ({ name, node: made.get(node)! })),
    states: graph.states.map((state) => ({ ...state, final: made.get(state.final)! })),
  };
}

function rebuilt(graph: Graph, node: Node, made: ReadonlyMap<Node, Node>): Node {
  const inputs = node.inputs.map((input) => made.get(input) ?? input);
  if (inputs.every((input, index) => input === node.inputs[index])) return node;
  return make(graph.builder, node.op, inputs, node.attrs, { dtype: node.dtype, shape: node.shape });
}

/** Products with a weight, in order: what passes over linear layers walk. */
export function matrixProducts(graph: Graph): Node<"matmul">[] {
  return topological(graph).filter((node): node is Node<"matmul"> => isNode(node, "matmul"));
}
