/** Values that depend on nothing a run brings. */
import { postorder } from "../scalar/expr.js";
import { isNode, type Node } from "./graph.js";

function isMade(node: Node): boolean {
  if (node.op === "constant" || node.op === "iota") return true;
  if (!isNode(node, "dim")) return false;
  let fixed = true;
  postorder([node.attrs.value], (expr) => (fixed &&= expr.op !== "sym"));
  return fixed;
}

/** The nodes of `order` (inputs before users) that are computed when weights are bound. */
export function weightNodes(order: readonly Node[]): Set<Node> {
  const weights = new Set<Node>();
  for (const node of order)
    if (
      isMade(node) ||
      (node.inputs.length > 0 && node.inputs.every((input) => weights.has(input)))
    )
      weights.add(node);
  return weights;
}
