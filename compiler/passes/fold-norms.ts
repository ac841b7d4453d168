/** The scale and shift of a normalisation move into the product that follows it. */
import { broadcastTo, cast, map, reduce, reshape } from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { weightNodes } from "../ir/cones.js";
import type { DType } from "../ir/dtype.js";
import { isFloat } from "../ir/dtype.js";
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { exactDtype } from "../ir/precision.js";
import { isConst } from "../scalar/build.js";
import { primitive } from "../scalar/primitives.js";
import { matrixProducts, substituteNodes } from "../rewrite/substitute.js";
import { weightOf } from "./merge-products.js";
import type { Pass } from "./pass.js";

/** A value as base · scale + shift, scale and shift being vectors over the last axis. */
interface Affine {
  readonly base: Node;
  readonly scale: Node | null;
  readonly shift: Node | null;
}

/** The vector [k] that `node` repeats over all leading axes, if it is one. */
function rowVector(node: Node, weights: ReadonlySet<Node>): Node | null {
  let inner = node;
  while (inner.op === "broadcast") inner = inner.inputs[0]!;
  const width = node.shape[node.shape.length - 1];
  const isRow =
    inner.shape.length > 0 &&
    inner.shape[inner.shape.length - 1] === width &&
    inner.shape.slice(0, -1).every((dim) => isConst(dim, 1));
  return weights.has(inner) && isRow ? inner : null;
}

/** Reads a chain of casts, one multiplication and one addition down to a normalisation. */
function affineOf(a: Node, weights: ReadonlySet<Node>): Affine | null {
  let [node, scale, shift]: [Node, Node | null, Node | null] = [a, null, null];
  for (;;) {
    if (isNode(node, "normalize"))
      return scale === null && shift === null ? null : { base: node, scale, shift };
    if (node.op === "cast" && isFloat(node.dtype) && isFloat(node.inputs[0]!.dtype)) {
      node = node.inputs[0]!;
      continue;
    }
    if (node.op === "reshape" && node.shape.at(-1) === node.inputs[0]!.shape.at(-1)) {
      // Rows stay rows: only how they are counted changes.
      node = node.inputs[0]!;
      continue;
    }
    if (!isNode(node, "map") || node.inputs.length !== 2) return null;
    const which = node.inputs.findIndex((input) => rowVector(input, weights) !== null);
    if (which < 0) return null;
    const vector = rowVector(node.inputs[which]!, weights)!;
    const name = node.attrs.fn.name;
    if (name === "mul" && scale === null) scale = vector;
    else if (name === "add" && scale === null && shift === null) shift = vector;
    else return null;
    node = node.inputs[1 - which]!;
  }
}

function folded(
  graph: Graph,
  product: Node<"matmul">,
  weight: Node,
  { base, scale, shift }: Affine,
): Node {
  const g = graph.builder;
  const [k, n] = [weight.shape[0]!, weight.shape[1]!];
  const { dtype } = product;
  const wide: DType = dtype === "f64" ? "f64" : "f32";
  const narrow = (value: Node, like: Node): Node =>
    cast(g, cast(g, value, exactDtype(like)), dtype);
  const column = (vector: Node): Node =>
    broadcastTo(g, reshape(g, cast(g, vector, wide), [k, 1]), [k, n]);
  const wideWeight = cast(g, weight, wide);
  const scaled =
    scale === null ? weight : narrow(map(g, primitive("mul"), [wideWeight, column(scale)]), weight);
  const rows = reshape(g, base, product.inputs[0]!.shape);
  const result = matmul(g, narrow(rows, product.inputs[0]!), scaled);
  if (shift === null) return result;
  const bias = reduce(g, "sum", map(g, primitive("mul"), [wideWeight, column(shift)]), [0], {
    keep: false,
  });
  const sum = map(g, primitive("add"), [cast(g, result, wide), bias]);
  return cast(g, sum, dtype);
}

export const foldNorms: Pass = {
  name: "matmul(n * scale + shift, W) => matmul(n, scale * W) + shift * W",
  run(graph, { strict, live = false }) {
    // The folded weight is rounded where the source model rounds the scaled activation.
    if (strict || live) return graph;
    const weights = weightNodes(topological(graph));
    const replacements = new Map<Node, Node>();
    for (const product of matrixProducts(graph)) {
      const weight = weightOf(product, weights);
      const affine =
        weight === null || weights.has(product) ? null : affineOf(product.inputs[0]!, weights);
      if (weight !== null && affine !== null)
        replacements.set(product, folded(graph, product, weight, affine));
    }
    return substituteNodes(graph, replacements);
  },
};
