/** The operators that a model has before they are fused, and the launches that compute each. */
import { topological, type Graph, type Node } from "../ir/graph.js";
import { wordOf } from "./report-words.js";

/** One operator; movements, casts and arithmetic on indices are none. */
export interface OperatorReport {
  readonly op: string;
  /** Numbers of the operators whose results it takes, through movements and casts. */
  readonly inputs: readonly number[];
  /** Numbers of the launches that compute it: several where computing again is cheaper than storing. */
  readonly launches: readonly number[];
}

/**
 * In an order in which operands precede their users.
 * @param computed the nodes that each launch computes
 */
export function operatorReports(
  graph: Graph,
  weights: ReadonlySet<Node>,
  computed: readonly ReadonlySet<Node>[],
): OperatorReport[] {
  const launches = new Map<Node, number[]>();
  computed.forEach((nodes, launch) => {
    for (const node of nodes) {
      const known = launches.get(node);
      if (known === undefined) launches.set(node, [launch]);
      else known.push(launch);
    }
  });
  const operators: OperatorReport[] = [];
  /** The operators that a node's value comes from. */
  const sources = new Map<Node, readonly number[]>();
  for (const node of topological(graph)) {
    const inputs = [...new Set(node.inputs.flatMap((input) => sources.get(input) ?? []))];
    const op = weights.has(node) ? null : wordOf(node);
    sources.set(node, op === null ? inputs : [operators.length]);
    if (op !== null) operators.push({ op, inputs, launches: launches.get(node) ?? [] });
  }
  return operators;
}
