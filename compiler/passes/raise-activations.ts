/**
 * Activations as exporters spell them out. Spellings differ in order, in grouping and in the last
 * digits of constants, so a group of elementwise operators of one value is recognised by what it
 * computes: it is an activation if it agrees with it everywhere that is tried.
 */
import { map } from "../ir/build.js";
import { isFloat } from "../ir/dtype.js";
import { ElementReader } from "../ir/element.js";
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { constant, param } from "../scalar/build.js";
import { compileExpr } from "../scalar/evaluate.js";
import { builtin, type BuiltinName } from "../scalar/table.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { numberOf } from "./match.js";
import type { Pass, PassContext } from "./pass.js";

/** Those of one argument. */
const candidates: readonly BuiltinName[] = ["gelu_tanh", "gelu_erf", "silu", "mish"];

/** Both signs, near zero, in the bend, and where the tails are flat. */
const samples: readonly number[] = Array.from({ length: 97 }, (_, i) => (i - 48) / 5.3);

/** Exporters write constants in f32: x³ terms and arguments differ by some units of its last place. */
const tolerance = 2e-6;

/** More operators than the longest known spelling has. */
const longest = 14;

const isElementwise = (node: Node): boolean =>
  node.op === "map" || (node.op === "cast" && isFloat(node.dtype));

/** The values that everything between them and `root` is an elementwise function of, nearest first. */
function* sourcesOf(root: Node, context: PassContext): Generator<Node> {
  let frontier = [root];
  for (let expanded = 0; expanded < longest; expanded++) {
    // The newest first: what it depends on is older.
    const next = frontier.reduce((a, b) => (a.id > b.id ? a : b));
    if (!isElementwise(next)) return;
    const inputs = next.inputs.filter((input) => numberOf(input, context) === null);
    frontier = [...new Set([...frontier.filter((node) => node !== next), ...inputs])];
    if (frontier.length === 0) return;
    if (frontier.length === 1 && expanded > 0) yield frontier[0]!;
  }
}

/** `root` as a function of `source` in double precision. */
function functionOf(
  root: Node,
  source: Node,
  context: PassContext,
): ((x: number) => number) | null {
  const x = param("x", "f32");
  const reader = new ElementReader({
    strict: false,
    site: () => 1,
    scalar: (node) => {
      const value = numberOf(node, context);
      return value === null ? null : constant(value, "f32");
    },
    stored: (node) => (node === source ? x : null),
  });
  const evaluate = compileExpr([
    reader.at(
      root,
      root.shape.map(() => constant(0, "i64")),
    ),
  ]);
  return (value) => Number(evaluate({ param: () => value })[0]);
}

function recognised(root: Node, source: Node, context: PassContext): BuiltinName | null {
  if (source.dtype !== root.dtype || source.shape.some((dim, axis) => dim !== root.shape[axis]))
    return null;
  const f = functionOf(root, source, context);
  if (f === null) return null;
  const values = samples.map(f);
  const agrees = (name: BuiltinName): boolean => {
    const fn = builtin(name);
    return samples.every(
      (x, i) => Math.abs(Number(fn.evaluate(x)) - values[i]!) <= tolerance * (1 + Math.abs(x)),
    );
  };
  return candidates.find(agrees) ?? null;
}

function raised(graph: Graph, node: Node, context: PassContext): Node | null {
  // Every spelling ends in a product.
  if (!isNode(node, "map") || node.attrs.fn.name !== "mul" || !isFloat(node.dtype)) return null;
  let found: Node | null = null;
  for (const source of sourcesOf(node, context)) {
    const name = recognised(node, source, context);
    if (name !== null) found = map(graph.builder, builtin(name), [source]);
  }
  return found;
}

export const raiseActivations: Pass = {
  name: "x/2·(1 + erf(x/√2)) => gelu(x), x·sigmoid(x) => silu(x)",
  run(graph, context) {
    // Strict keeps the rounding of each operator of the spelling.
    if (context.strict) return graph;
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      const replacement = raised(graph, node, context);
      if (replacement !== null) replacements.set(node, replacement);
    }
    return substituteNodes(graph, replacements);
  },
};
