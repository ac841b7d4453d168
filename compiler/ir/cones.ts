/** Values that depend on nothing a run brings. */
import { isConst } from "../scalar/build.js";
import { readElements } from "../scalar/elements.js";
import { someExpr, type Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { below, isNode, type Node, type Shape } from "./graph.js";
import { staticElements } from "./literal.js";
import type { OpName } from "./ops.js";
import { opTraits } from "./traits.js";

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

/** Whether indices below movements are constants inside `extents`, one for each place of the last axis. */
function indicesAreInside(indices: Node, extents: readonly Expr[]): boolean {
  let base = indices;
  while (opTraits[base.op].view || base.op === "cast") base = base.inputs[0]!;
  // Positions are inside by their own range, or not at all.
  if (!isNode(base, "constant")) return below([base]).every(({ op }) => op !== "constant");
  const { source } = base.attrs;
  const count = staticElements(base);
  const least = Math.min(...extents.map((extent) => rangeOf(extent).min));
  if (source.kind !== "literal" || count === null) return false;
  const values = readElements(base.dtype, source.data, count);
  return Array.from<number | bigint, number>(values, Number).every((i) => i >= 0 && i < least);
}

/** What only a run can report is not for the weight program, which runs before any. */
function mayFail(node: Node): boolean {
  const [data, indices] = node.inputs;
  if (isNode(node, "scatter")) return true;
  if (isNode(node, "gather")) return !indicesAreInside(indices!, [data!.shape[node.attrs.axis]!]);
  if (!isNode(node, "gather_nd")) return false;
  const { batchDims } = node.attrs;
  const tuple = rangeOf(indices!.shape.at(-1)!).max;
  return !indicesAreInside(indices!, data!.shape.slice(batchDims, batchDims + tuple));
}

/** The nodes of `order` (inputs before users) that are computed when weights are bound. */
export function weightNodes(order: readonly Node[]): ReadonlySet<Node> {
  const known = found.get(order);
  if (known !== undefined) return known;
  const weights = new Set<Node>();
  for (const node of order) {
    // Most nodes of a large model: no need to remember them one by one.
    if (node.op === "constant") {
      weights.add(node);
      continue;
    }
    // A node depends on the same inputs in every graph.
    let own = isWeight.get(node);
    if (own === undefined)
      isWeight.set(
        node,
        (own =
          isMade(node) ||
          (node.inputs.length > 0 &&
            node.inputs.every((input) => weights.has(input)) &&
            !changesWithSymbols(node) &&
            !mayFail(node))),
      );
    if (own) weights.add(node);
  }
  found.set(order, weights);
  return weights;
}

const isWeight = new WeakMap<Node, boolean>();

/** Orders are not changed once they are made. */
const found = new WeakMap<readonly Node[], ReadonlySet<Node>>();
