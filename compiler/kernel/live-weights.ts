/** `--weights live`: kernels read the caller's own tensors, and nothing is made of them. */
import { FarrierError } from "../errors.js";
import { weightNodes } from "../ir/cones.js";
import { below, isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { Analysis } from "./analysis.js";
import type { PlannedKernel } from "./memory.js";

interface Options {
  /** The graph computes weights: constants are its inputs. */
  readonly weightProgram?: boolean;
  readonly live?: boolean;
}

/** The graph's facts, with what is computed when weights are bound. */
export function analysisFor(
  graph: Graph,
  { weightProgram = false, live = false }: Options,
): Analysis {
  const order = topological(graph);
  if (weightProgram) return new Analysis(graph, new Set());
  return new Analysis(graph, live ? tables(order) : weightNodes(order));
}

const isTensor = (node: Node): boolean =>
  isNode(node, "constant") && node.attrs.source.kind !== "literal";

/** Those that depend on no tensor of the model: numbers of the graph, functions of positions. */
function tables(order: readonly Node[]): ReadonlySet<Node> {
  const weights = weightNodes(order);
  const found = new Set<Node>();
  for (const node of order)
    if (weights.has(node) && !isTensor(node) && node.inputs.every((input) => found.has(input)))
      found.add(node);
  return found;
}

/** @throws FarrierError E_UNSUPPORTED where each run would make a tensor of weights alone again */
export function refuseMadeWeights(
  graph: Graph,
  kernels: readonly PlannedKernel[],
  nameOf: (node: Node) => string,
): void {
  const weights = weightNodes(topological(graph));
  const made = kernels.flatMap(({ desc, buffers }) =>
    buffers.filter((_, i) => desc.operands[i]!.access !== "read"),
  );
  const first = made.find(({ node, place }) => place === "temp" && weights.has(node!));
  if (first === undefined) return;
  const [tensor, ...others] = below([first.node!]).filter(isTensor).map(nameOf);
  const more = others.length === 0 ? "" : ` and ${others.length} others`;
  throw new FarrierError(
    "E_UNSUPPORTED",
    `${first.name} would have to be made of ${tensor}${more} in every run`,
    { where: "--weights live", hint: "--weights none makes it once, when weights are bound" },
  );
}
