/** Constants that exporters folded, as the functions of position that they are. */
import { broadcastTo, iota, literal, map } from "../ir/build.js";
import { isFloat, isInteger } from "../ir/dtype.js";
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { rangeOf } from "../scalar/range.js";
import { primitive } from "../scalar/primitives.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { numbersOf } from "./match.js";
import type { Pass, PassContext } from "./pass.js";

const extents = (node: Node): number[] => node.shape.map((dim) => rangeOf(dim).max);

/** start + step · i for a vector of integers in arithmetic progression. */
function progression(graph: Graph, node: Node, values: Float64Array): Node | null {
  if (
    !isInteger(node.dtype) ||
    node.dtype !== "i64" ||
    node.shape.length !== 1 ||
    values.length < 2
  )
    return null;
  const [start, step] = [values[0]!, values[1]! - values[0]!];
  if (!values.every((value, i) => value === start + step * i)) return null;
  const g = graph.builder;
  const positions = iota(g, node.shape);
  const scaled =
    step === 1 ? positions : map(g, primitive("mul"), [positions, literal(g, "i64", [], [step])]);
  return start === 0 ? scaled : map(g, primitive("add"), [scaled, literal(g, "i64", [], [start])]);
}

/** Masks at or below this leave nothing of a score. */
const maskedBelow = -1e30;

/** k <= q ? 0 : masked for a constant […, q, k] that is a causal mask everywhere. */
function causalMask(graph: Graph, node: Node, values: Float64Array): Node | null {
  const shape = extents(node);
  const rank = shape.length;
  const [rows, columns] = [shape[rank - 2]!, shape[rank - 1]!];
  if (!isFloat(node.dtype) || rank < 2 || rows < 2 || rows !== columns) return null;
  const masked = values[1]!;
  const isMask = (value: number, index: number): boolean => {
    const k = index % columns;
    const q = Math.floor(index / columns) % rows;
    return k <= q ? value === 0 : value === masked;
  };
  if (!(masked <= maskedBelow) || !values.every(isMask)) return null;
  const g = graph.builder;
  const visible = map(g, primitive("le"), [
    iota(g, node.shape, rank - 1),
    iota(g, node.shape, rank - 2),
  ]);
  const [open, closed] = [0, masked].map((value) =>
    broadcastTo(g, literal(g, node.dtype, [], [value]), node.shape),
  ) as [Node, Node];
  return map(g, primitive("select"), [visible, open, closed]);
}

function raised(graph: Graph, node: Node, context: PassContext): Node | null {
  if (!isNode(node, "constant") || node.shape.length === 0) return null;
  const wanted = isInteger(node.dtype) ? node.shape.length === 1 : node.shape.length >= 2;
  const shape = extents(node);
  const square = shape[shape.length - 1] === shape[shape.length - 2];
  if (!wanted || (isFloat(node.dtype) && !square)) return null;
  const values = numbersOf(node, context, 1 << 22);
  return values === null
    ? null
    : (progression(graph, node, values) ?? causalMask(graph, node, values));
}

export const raisePositions: Pass = {
  name: "[a, a + s, a + 2s, …] => a + s·iota; constant mask => k <= q ? 0 : -∞",
  run(graph, context) {
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      const replacement = raised(graph, node, context);
      if (replacement !== null) replacements.set(node, replacement);
    }
    return substituteNodes(graph, replacements);
  },
};
