/** What a failed index check of a run says. */
import type { Graph, Node } from "./ir/graph.js";

/** The nearest value on the way to `node` that the model has a name for. */
function nearestName(graph: Graph, node: Node): string | null {
  const queue = [node];
  const seen = new Set(queue);
  for (const value of queue) {
    const name = graph.builder.nameOf(value);
    if (name !== undefined) return name;
    for (const input of value.inputs) {
      if (!seen.has(input)) queue.push(input);
      seen.add(input);
    }
  }
  return null;
}

/** Names the node, what it indexes, and by what: as much of it as has a name. */
export function checkText(graph: Graph, node: Node): string {
  const [table, indices] = node.inputs;
  const own = graph.builder.nameOf(node);
  const into = table === undefined ? null : nearestName(graph, table);
  const by = indices === undefined ? null : nearestName(graph, indices);
  const parts = [
    ...(own === undefined ? [] : [`of ${own}`]),
    ...(into === null ? [] : [`into ${into}`]),
    ...(by === null ? [] : [`given by ${by}`]),
  ];
  const named = parts.length > 0 ? parts.join(", ") : `of ${node.op} %${node.id}`;
  return `index out of range: ${named}`;
}
