/** How many elements of its operands one element of an operator's result takes. */
import { isNode, type Node } from "../ir/graph.js";
import { largestElements } from "../ir/shape.js";
import { rangeOf } from "../scalar/range.js";

const extent = (node: Node, axis: number): number => rangeOf(node.shape.at(axis)!).max;

/** Of the largest sizes that the symbols allow; what is not a sum along axes takes all of its input. */
export function elementsRead(node: Node): number {
  const [first] = node.inputs;
  if (first === undefined) return 1;
  if (isNode(node, "matmul") || node.op === "expert_matmul") return extent(first, -1);
  if (isNode(node, "softmax")) return extent(first, node.attrs.axis);
  if (isNode(node, "attention")) return extent(node.inputs[1]!, -2);
  if (isNode(node, "normalize")) return extent(first, -1);
  if (isNode(node, "reduce"))
    return node.attrs.axes.reduce((count, axis) => count * extent(first, axis), 1);
  return largestElements(first.shape);
}
