/**
 * Keys and values that are products of one short row for each position, the latent, with a weight:
 * the products move to the queries and to the result, and attention reads the latent itself. By
 * counted operations and bytes at the largest sizes of the profile.
 */
import { attention, matmul } from "../ir/build-anchor.js";
import { broadcastTo, concat, reshape, slice, transpose } from "../ir/build.js";
import { weightNodes } from "../ir/cones.js";
import {
  isNode,
  topological,
  usersOf,
  type Graph,
  type GraphBuilder,
  type Node,
} from "../ir/graph.js";
import { constValue, coord, isConst } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { absorbing, type AbsorbedSizes } from "./absorb-cost.js";
import { dependsOn, moves, placeOf, segmentsOf, type Place, type Segment } from "./absorb-trace.js";
import { continues, rowsNode, rowsOf, weightNode, type Rows } from "./absorb-view.js";
import type { Pass } from "./pass.js";

/** A part of each key (or value) that is a product of rows with a weight. */
interface Product {
  readonly segment: Segment;
  readonly rows: Rows;
  readonly rank: number;
  readonly inner: Expr;
  readonly weight: Place;
}

/** A part of each key that all heads share, as it is. */
interface Shared {
  readonly segment: Segment;
  readonly rows: Rows;
}

type Part = Product | Shared;
const isProduct = (part: Part): part is Product => "weight" in part;

interface Found {
  readonly node: Node<"attention">;
  readonly keys: readonly Part[];
  readonly values: Product;
}

interface Coords {
  readonly batch: Expr;
  readonly head: Expr;
  readonly position: Expr;
}

/** What an element of a product is: rows that depend on no head, times a weight that only heads do. */
function productAt(
  { node, coords }: Place,
  segment: Segment,
  c: Coords,
  weights: ReadonlySet<Node>,
): Product | null {
  if (!isNode(node, "matmul") || weights.has(node)) return null;
  const [a, b] = node.inputs as [Node, Node];
  const rank = constValue(a.shape[a.shape.length - 1]!);
  if (rank === null || weights.has(a) === weights.has(b)) return null;
  const inner = coord("inner", a.shape[a.shape.length - 1]!);
  const outer = coords.slice(0, -2);
  const [row, column] = coords.slice(-2) as [Expr, Expr];
  const left = { node: a, coords: [...outer, row, inner] };
  const right = { node: b, coords: [...outer, inner, column] };
  const [data, weight] = weights.has(b) ? [left, right] : [right, left];
  for (const place of [placeOf(data.node, data.coords), data]) {
    if (place === null || dependsOn(place, c.head) || dependsOn(place, segment.along)) continue;
    const rows = rowsOf(place, inner, rank);
    const matrix = [placeOf(weight.node, weight.coords), weight].find(
      (each) => each !== null && !dependsOn(each, c.batch) && !dependsOn(each, c.position),
    );
    if (rows !== null && matrix !== undefined && matrix !== null)
      return { segment, rows, rank, inner, weight: matrix };
  }
  return null;
}

function partOf(segment: Segment, c: Coords, weights: ReadonlySet<Node>): Part | null {
  const product = productAt(segment.place, segment, c, weights);
  if (product !== null) return product;
  if (dependsOn(segment.place, c.head) || weights.has(segment.place.node)) return null;
  const rows = rowsOf(segment.place, segment.along, segment.length);
  return rows === null ? null : { segment, rows };
}

function foundAt(node: Node<"attention">, weights: ReadonlySet<Node>): Found | null {
  const [, k, v] = node.inputs as [Node, Node, Node];
  const [batch, heads, positions] = k.shape as [Expr, Expr, Expr];
  // With one head there is nothing to share.
  const queryHeads = constValue(node.shape[1]!);
  if (isConst(heads, 1) || constValue(heads) === null || queryHeads === null) return null;
  const c = {
    batch: coord("b", batch),
    head: coord("h", heads),
    position: coord("t", positions),
  };
  const parts = (x: Node): (Part | null)[] =>
    (segmentsOf(x, [c.batch, c.head, c.position]) ?? [null]).map((segment) =>
      segment === null ? null : partOf(segment, c, weights),
    );
  const keys = parts(k);
  const values = parts(v);
  const [value] = values;
  if (keys.includes(null) || values.length > 1 || value === null || value === undefined)
    return null;
  if (!isProduct(value) || !keys.some((part) => isProduct(part!))) return null;
  return { node, keys: keys as Part[], values: value };
}

/** Whether keys and values are made for `node` alone: otherwise their products stay, and cost what they did. */
function isOnlyFor({ node, keys, values }: Found, graph: Graph): boolean {
  const users = usersOf(graph);
  const kept = new Set<Node>(graph.outputs.map((output) => output.node));
  const made = [...keys.filter(isProduct), values].map(({ segment }) => segment.place.node);
  const above = new Set<Node>(made);
  for (const each of above) {
    if (kept.has(each)) return false;
    for (const user of users.get(each) ?? []) {
      if (user === node) continue;
      if (!moves(user)) return false;
      above.add(user);
    }
  }
  return true;
}

/** Parts in the order in which memory has them, so that one view serves as many as possible. */
function inMemoryOrder(parts: readonly Part[]): Part[][] {
  const sorted = [...parts].sort(
    (a, b) => a.rows.node.id - b.rows.node.id || a.rows.start - b.rows.start,
  );
  const runs: Part[][] = [];
  for (const part of sorted) {
    const run = runs[runs.length - 1];
    if (run !== undefined && continues(run[run.length - 1]!.rows, part.rows)) run.push(part);
    else runs.push([part]);
  }
  return runs;
}

/** [heads, rows of the part, rank] of a product's weight, repeated for the query heads. */
function weightOf(g: GraphBuilder, product: Product, c: Coords, heads: readonly [number, number]) {
  const { weight, segment, rank, inner } = product;
  const [keyHeads, queryHeads] = heads;
  const made = weightNode(g, weight, [
    { coord: c.head, extent: keyHeads },
    { coord: segment.along, extent: segment.length },
    { coord: inner, extent: rank },
  ]);
  if (made === null || keyHeads === queryHeads) return made;
  const repeats = queryHeads / keyHeads;
  const apart = reshape(g, made, [keyHeads, 1, segment.length, rank]);
  const all = broadcastTo(g, apart, [keyHeads, repeats, segment.length, rank]);
  return reshape(g, all, [queryHeads, segment.length, rank]);
}

function absorbed(graph: Graph, found: Found): Node | null {
  const g = graph.builder;
  const { node, keys, values } = found;
  const [q, k, , ...loads] = node.inputs as [Node, Node, Node, ...Node[]];
  const [batch, queryHeads] = q.shape as [Expr, Expr];
  const [, keyHeads, positions] = k.shape as [Expr, Expr, Expr];
  const c = {
    batch: coord("b", batch),
    head: coord("h", keyHeads),
    position: coord("t", positions),
  };
  const heads = [constValue(keyHeads)!, constValue(queryHeads) ?? 0] as const;
  const view = (rows: Rows): Node | null =>
    rowsNode(g, rows, { coord: c.batch, extent: batch }, { coord: c.position, extent: positions });
  const runs = inMemoryOrder(keys);
  const latentKeys = runs.map((run) =>
    view({ ...run[0]!.rows, length: run.reduce((sum, part) => sum + part.rows.length, 0) }),
  );
  const queries = runs.flat().map((part) => queryOf(g, q, part, c, heads));
  const latentValues = view(values.rows);
  const out = weightOf(g, values, c, heads);
  if ([...latentKeys, ...queries, latentValues, out].includes(null)) return null;
  const mixed = attention(
    g,
    concat(g, queries as Node[], 3),
    concat(g, latentKeys as Node[], 3),
    latentValues!,
    { ...node.attrs, loads },
  );
  const [h, e, r] = out!.shape as [Expr, Expr, Expr];
  const turned = broadcastTo(g, transposed(g, out!), [batch, h, r, e]);
  return matmul(g, mixed, turned);
}

const transposed = (g: GraphBuilder, x: Node): Node => transpose(g, x, [0, 2, 1]);

/** The part of the queries that meets `part` of the keys: as it is, or times the part's weight. */
function queryOf(
  g: GraphBuilder,
  q: Node,
  part: Part,
  c: Coords,
  heads: readonly [number, number],
): Node | null {
  const { start, length } = part.segment;
  const own = slice(g, q, { axis: 3, start, end: start + length });
  if (!isProduct(part)) return own;
  const weight = weightOf(g, part, c, heads);
  return weight === null
    ? null
    : matmul(g, own, broadcastTo(g, weight, [q.shape[0]!, ...weight.shape]));
}

function sizesOf({ node, keys, values }: Found): AbsorbedSizes {
  const [q, k] = node.inputs as [Node, Node];
  const products = keys.filter(isProduct);
  const shared = keys.filter((part) => !isProduct(part));
  return {
    shape: { batch: q.shape[0]!, queries: q.shape[2]!, positions: k.shape[2]! },
    queryHeads: constValue(q.shape[1]!) ?? Infinity,
    keyHeads: constValue(k.shape[1]!)!,
    dtype: node.dtype,
    keys: products.map(({ rank, segment }) => ({ rank, width: segment.length })),
    shared: shared.reduce((sum, { segment }) => sum + segment.length, 0),
    values: { rank: values.rank, width: values.segment.length },
    oneMemory: products.some(({ rows }) => rows.node === values.rows.node),
  };
}

export const absorbLatent: Pass = {
  name: "attention(q, c·K, c·V) => attention(q·Kᵀ, c, c)·V",
  run(graph, { strict }) {
    // Products in another order round otherwise.
    if (strict) return graph;
    const weights = weightNodes(topological(graph));
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      if (!isNode(node, "attention")) continue;
      const found = foundAt(node, weights);
      if (found === null || !isOnlyFor(found, graph) || !absorbing(sizesOf(found))) continue;
      const made = absorbed(graph, found);
      if (made !== null) replacements.set(node, made);
    }
    return substituteNodes(graph, replacements);
  },
};
