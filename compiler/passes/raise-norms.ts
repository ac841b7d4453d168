/** LayerNorm and RMSNorm as exporters spell them out: mean, square, root, quotient. */
import { normalize } from "../ir/build.js";
import { dtypes } from "../ir/dtype.js";
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { eitherOf, numberOf, operandsOf, unbroadcast } from "./match.js";
import type { Pass, PassContext } from "./pass.js";

/** The value that is repeated along each row: of a single row, canonically a scalar. */
function statisticOf(node: Node): Node {
  const inner = unbroadcast(node);
  const scalar = inner.op === "reshape" && inner.shape.length === 0;
  return scalar ? unbroadcast(inner.inputs[0]!) : inner;
}

/** x where `node` is x·x or x². */
function squareOf(node: Node, context: PassContext): Node | null {
  const power = operandsOf(node, "pow");
  if (power !== null && numberOf(power[1]!, context) === 2) return power[0]!;
  const product = operandsOf(node, "mul");
  return product !== null && product[0] === product[1] ? product[0]! : null;
}

/** x where `node` is the mean of x over its last axis. */
function meanOf(node: Node): Node | null {
  const inner = statisticOf(node);
  if (!isNode(inner, "reduce") || inner.attrs.kind !== "mean" || inner.attrs.axes.length !== 1)
    return null;
  const x = inner.inputs[0]!;
  return inner.attrs.axes[0] === x.shape.length - 1 ? x : null;
}

interface Root {
  readonly x: Node;
  readonly epsilon: number;
}

/** x and epsilon where `node` is sqrt(mean(x²) + epsilon). */
function rootMeanSquare(node: Node, context: PassContext): Root | null {
  const root = operandsOf(statisticOf(node), "sqrt");
  if (root === null) return null;
  return eitherOf(operandsOf(root[0]!, "add"), (mean, constant) => {
    const epsilon = numberOf(constant, context);
    const square = meanOf(mean);
    const x = square === null ? null : squareOf(square, context);
    return epsilon === null || x === null ? null : { x, epsilon };
  });
}

/** The same where `node` is one over that root. */
function reciprocalRoot(node: Node, context: PassContext): Root | null {
  const inner = statisticOf(node);
  const reciprocal = operandsOf(inner, "reciprocal");
  if (reciprocal !== null) return rootMeanSquare(reciprocal[0]!, context);
  const quotient = operandsOf(inner, "div");
  if (quotient !== null && numberOf(quotient[0]!, context) === 1)
    return rootMeanSquare(quotient[1]!, context);
  return null;
}

/** x where `node` is x - mean(x). */
function centred(node: Node): Node | null {
  const difference = operandsOf(node, "sub");
  if (difference === null) return null;
  return meanOf(difference[1]!) === difference[0] ? difference[0] : null;
}

function raised(graph: Graph, node: Node, context: PassContext): Node | null {
  const scaled = (x: Node, root: Root | null): Root | null =>
    root !== null && root.x === x ? root : null;
  const product = eitherOf(operandsOf(node, "mul"), (x, factor) =>
    scaled(x, reciprocalRoot(factor, context)),
  );
  const quotient = operandsOf(node, "div");
  const found =
    product ??
    (quotient === null ? null : scaled(quotient[0]!, rootMeanSquare(quotient[1]!, context)));
  if (found === null) return null;
  const source = centred(found.x);
  return source === null
    ? normalize(graph.builder, found.x, "rms", found.epsilon)
    : normalize(graph.builder, source, "layer", found.epsilon);
}

export const raiseNorms: Pass = {
  name: "x / sqrt(mean(x²) + e) => normalize(x)",
  run(graph, context) {
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      // A normalisation rounds once: what is spelled out in 16 bits rounds at every step.
      if (context.strict && dtypes[node.dtype].bits < 32) continue;
      const replacement = raised(graph, node, context);
      if (replacement !== null) replacements.set(node, replacement);
    }
    return substituteNodes(graph, replacements);
  },
};
