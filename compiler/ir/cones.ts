/** Values that depend on nothing a run brings. */
import { isConst } from "../scalar/build.js";
import { someExpr, type Expr } from "../scalar/expr.js";
import { isNode, type Node, type Shape } from "./graph.js";
import type { OpName } from "./ops.js";

const varies = (expr: Expr): boolean => someExpr(expr, (each) => each.op === "sym");

function isMade(node: Node): boolean {
  if (node.op === "constant" || node.op === "iota") return true;
  return isNode(node, "dim") && !varies(node.attrs.value);
}

/** Operators whose element at a coordinate is the same whatever the extents are. */
const pointwise: ReadonlySet<OpName> = new Set([
  ...(["map", "cast", "transpose", "broadcast", "gather", "gather_nd"] as const),
  ...(["rotary", "dequantize"] as const),
]);

/** Offsets of elements do not change with the extents: only the outermost varies. */
function hasFixedOffsets(shape: Shape): boolean {
  const outermost = shape.findIndex((dim) => !isConst(dim, 1));
  return shape.every((dim, axis) => axis <= outermost || !varies(dim));
}

/** A symbol decides which value stands at a coordinate: a table for the largest shape is wrong. */
function changesWithSymbols(node: Node): boolean {
  if (pointwise.has(node.op)) return false;
  if (isNode(node, "slice")) return node.attrs.starts.some(varies);
  const shapes = [node.shape, ...node.inputs.map((input) => input.shape)];
  if (node.op === "reshape") return !shapes.every(hasFixedOffsets);
  if (isNode(node, "concat"))
    return node.inputs.slice(0, -1).some((input) => varies(input.shape[node.attrs.axis]!));
  return shapes.some((shape) => shape.some(varies));
}

/** The nodes of `order` (inputs before users) that are computed when weights are bound. */
export function weightNodes(order: readonly Node[]): ReadonlySet<Node> {
  const known = found.get(order);
  if (known !== undefined) return known;
  const weights = new Set<Node>();
  for (const node of order)
    if (
      isMade(node) ||
      (node.inputs.length > 0 &&
        node.inputs.every((input) => weights.has(input)) &&
        !changesWithSymbols(node))
    )
      weights.add(node);
  found.set(order, weights);
  return weights;
}

/** Orders are not changed once they are made. */
const found = new WeakMap<readonly Node[], ReadonlySet<Node>>();
