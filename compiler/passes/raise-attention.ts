/**
 * Attention spelled as matmul(softmax(f(matmul(q, kᵀ))), v): f becomes the score body. What of the
 * mask is a function of positions is evaluated symbolically, so that a mask test which exporters
 * spell with ranges, running sums and gathers comes out as the predicate it is.
 */
import { attention } from "../ir/build-anchor.js";
import { reshape, transpose } from "../ir/build.js";
import { dtypes } from "../ir/dtype.js";
import { ElementReader, linearize, NotElementwise } from "../ir/element.js";
import { isNode, topological, usersOf, type Graph, type Node } from "../ir/graph.js";
import {
  cast,
  constant,
  coord,
  isConst,
  load,
  mul,
  param,
  rewriteExpr,
  substitute,
} from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import type { OpName } from "../ir/ops.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { numberOf } from "./match.js";
import type { Pass, PassContext } from "./pass.js";

interface Score {
  readonly product: Node<"matmul">;
  readonly body: Expr;
  readonly scale: number;
  readonly loads: readonly Node[];
}

const names = ["b", "h", "q", "k"] as const;
const raw = param("score", "f32");

/** The one product that `node` is an elementwise function of, below casts and maps. */
function productBelow(node: Node): Node<"matmul"> | null {
  const found = new Set<Node<"matmul">>();
  const stack = [node];
  const seen = new Set<Node>();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    if (isNode(next, "matmul")) found.add(next);
    else if (next.op === "map" || next.op === "cast")
      stack.push(...next.inputs.filter((input) => input.shape.length === node.shape.length));
  }
  const [only, ...others] = found;
  return only !== undefined && others.length === 0 ? only : null;
}

/** The body of `scores` [b, h, q, k] over its product; null if it is not one of a kernel's. */
function scoreOf(scores: Node, context: PassContext): Score | null {
  const product = productBelow(scores);
  if (product === null || scores.shape.length !== 4) return null;
  const coords = scores.shape.map((dim, axis) => coord(names[axis]!, dim));
  const loads: Node[] = [];
  const reader = new ElementReader({
    strict: true,
    site: () => 1,
    scalar: (node) => {
      const value = numberOf(node, context);
      return value === null
        ? null
        : constant(
            value,
            node.dtype === "bool"
              ? "bool"
              : node.dtype === "i64" || node.dtype === "i32"
                ? "i64"
                : "f32",
          );
    },
    stored: (node, at) => {
      if (node === product)
        return at.every((c, axis) => c === coords[axis]) ? cast(raw, "f32") : null;
      if (!isStored(node)) return null;
      const known = loads.indexOf(node);
      const index = known >= 0 ? known : loads.push(node) - 1;
      return load(`input${index + 3}`, linearize(at, node.shape), node.dtype);
    },
  });
  try {
    const value = reader.at(scores, coords);
    const { body, scale } = withScale(value);
    const params = new Map(coords.map((c, axis): [Expr, Expr] => [c, param(names[axis]!, "i64")]));
    return { product, body: substitute([body], params)[0]!, scale, loads };
  } catch (error) {
    if (error instanceof NotElementwise) return null;
    throw error;
  }
}

/** Operators whose value is memory for a score body; the rest is computed for each score. */
const inMemory = new Set<OpName>([
  "input",
  "state",
  "matmul",
  "softmax",
  "reduce",
  "normalize",
  "attention",
  "cache_write",
  "paged_write",
]);

const isStored = (node: Node): boolean =>
  inMemory.has(node.op) || (node.op === "constant" && !node.shape.every((dim) => isConst(dim, 1)));

/** Takes a constant factor of every use of the product out of the body. */
function withScale(value: Expr): { body: Expr; scale: number } {
  let scale: number | null = null;
  const [body] = rewriteExpr([value], (node) => {
    const factor = factorOf(node);
    if (factor === null || (scale !== null && scale !== factor)) return null;
    scale = factor;
    return param("scaled", "f32");
  }) as [Expr];
  const mixed = someExpr(body, (node) => node === raw);
  if (scale === null || mixed) return { body: value, scale: 1 };
  return { body: substitute([body], new Map([[param("scaled", "f32"), raw]]))[0]!, scale };
}

function factorOf(node: Expr): number | null {
  const [a, b] = node.args;
  if (node.op === "mul" && a === raw && isOp(b!, "const")) return Number(b.attr.value);
  if (node.op === "mul" && b === raw && isOp(a!, "const")) return Number(a.attr.value);
  if (node.op === "div" && a === raw && isOp(b!, "const")) return 1 / Number(b.attr.value);
  return null;
}

/** The groups below repeat(x, r) spelled as reshape(broadcast(x [b, g, 1, s, d])). */
function ungrouped(graph: Graph, node: Node): Node | null {
  if (!isNode(node, "reshape") || node.shape.length !== 4) return null;
  const repeated = node.inputs[0]!;
  if (!isNode(repeated, "broadcast") || repeated.shape.length !== 5) return null;
  const single = repeated.inputs[0]!;
  const [b, g, one, s, d] = single.shape;
  if (
    single.shape.length !== 5 ||
    !isConst(one!, 1) ||
    mul(repeated.shape[1]!, repeated.shape[2]!) !== node.shape[1]
  )
    return null;
  if (g !== repeated.shape[1] || b !== node.shape[0]) return null;
  return reshape(graph.builder, single, [b!, g!, s!, d!]);
}

function raised(graph: Graph, node: Node, context: PassContext): Node | null {
  if (!isNode(node, "matmul") || node.shape.length !== 4) return null;
  let weights = node.inputs[0]!;
  while (weights.op === "cast") weights = weights.inputs[0]!;
  if (!isNode(weights, "softmax") || weights.attrs.axis !== 3) return null;
  const score = scoreOf(weights.inputs[0]!, context);
  // Scores are computed in f32: wider ones stay products.
  if (score?.body.type !== "f32") return null;
  const [q, transposed] = score.product.inputs as [Node, Node];
  const keys = withoutTranspose(graph, transposed);
  const values = node.inputs[1]!;
  const [groupedKeys, groupedValues] = [ungrouped(graph, keys), ungrouped(graph, values)];
  const grouped = groupedKeys !== null && groupedValues !== null;
  const [k, v] = grouped ? [groupedKeys, groupedValues] : [keys, values];
  // Scores cast to the type of the values: attention has one type.
  if (q.dtype !== v.dtype || k.dtype !== v.dtype) return null;
  return attention(graph.builder, q, k, v, {
    scale: score.scale,
    score: score.body,
    loads: score.loads,
  });
}

function withoutTranspose(graph: Graph, node: Node): Node {
  const perm = [0, 1, 3, 2];
  if (!isNode(node, "transpose")) return transpose(graph.builder, node, perm);
  const combined = perm.map((axis) => node.attrs.perm[axis]!);
  return transpose(graph.builder, node.inputs[0]!, combined);
}

export const raiseAttention: Pass = {
  name: "matmul(softmax(f(matmul(q, kᵀ))), v) => attention(q, k, v, f)",
  run(graph, context) {
    const users = usersOf(graph);
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      // Where someone else wants the weights themselves, they have to be made anyway.
      if (node.op === "matmul" && (users.get(node.inputs[0]!)?.length ?? 0) > 1) continue;
      // Attention rounds neither scores nor weights: what is spelled out in 16 bits does.
      if (context.strict && dtypes[node.dtype].bits < 32) continue;
      const replacement = raised(graph, node, context);
      if (replacement !== null) replacements.set(node, replacement);
    }
    return substituteNodes(graph, replacements);
  },
};
