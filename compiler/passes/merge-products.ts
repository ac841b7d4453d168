/** Products of one value with several weights become one product: QKV, gate and up. */
import { concat, slice } from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { weightNodes } from "../ir/cones.js";
import { topological, type Graph, type Node } from "../ir/graph.js";
import { add, constValue, zero } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { matrixProducts, substituteNodes } from "../rewrite/substitute.js";
import type { Pass } from "./pass.js";

/** Below the broadcasts over batch axes: the [k, n] weight of a product, or null. */
export function weightOf(product: Node<"matmul">, weights: ReadonlySet<Node>): Node | null {
  let weight = product.inputs[1]!;
  while (weight.op === "broadcast") weight = weight.inputs[0]!;
  return weights.has(weight) && weight.shape.length === 2 && constValue(weight.shape[1]!) !== null
    ? weight
    : null;
}

function mergeGroup(
  graph: Graph,
  products: readonly { product: Node<"matmul">; weight: Node }[],
  into: Map<Node, Node>,
): void {
  const g = graph.builder;
  const [first] = products;
  const axis = first!.product.shape.length - 1;
  const merged = matmul(
    g,
    first!.product.inputs[0]!,
    concat(
      g,
      products.map(({ weight }) => weight),
      1,
    ),
  );
  let start: Expr = zero;
  for (const { product } of products) {
    const end = add(start, product.shape[axis]!);
    into.set(product, slice(g, merged, { axis, start, end }));
    start = end;
  }
}

export const mergeProducts: Pass = {
  name: "matmul(x, A) | matmul(x, B) => slices of matmul(x, concat(A, B))",
  run(graph, { live = false }) {
    if (live) return graph;
    const weights = weightNodes(topological(graph));
    const groups = new Map<string, { product: Node<"matmul">; weight: Node }[]>();
    for (const product of matrixProducts(graph)) {
      const weight = weightOf(product, weights);
      if (weight === null || weights.has(product)) continue;
      const key = `${product.inputs[0]!.id}:${product.dtype}:${weight.dtype}`;
      groups.set(key, [...(groups.get(key) ?? []), { product, weight }]);
    }
    const replacements = new Map<Node, Node>();
    for (const group of groups.values())
      if (group.length > 1) mergeGroup(graph, group, replacements);
    return substituteNodes(graph, replacements);
  },
};
