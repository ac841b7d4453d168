/** Every value of a graph is defined once, before it is used. */
import { FarrierError } from "../../errors.js";
import { nodeLabel, quoted } from "./labels.js";
import type { OnnxNode } from "./wire/types.js";

/** A graph or the body of a function. */
export interface NamedGraph {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly string[];
  readonly initializers: readonly string[];
  readonly outputs: readonly string[];
}

/** @param outer whether a name is of an enclosing graph */
export function checkNames(graph: NamedGraph, outer: (name: string) => boolean): void {
  const known = sourcesOf(graph);
  const producers = producersOf(graph, known);
  for (const node of graph.nodes) {
    node.inputs.forEach((name, index) => {
      if (name === "" || known.has(name)) return;
      const where = nodeLabel(node);
      if (producers.has(name)) throw disorder(graph.nodes, producers, node, name);
      if (outer(name)) return;
      const what = `input ${index}, ${quoted(name)}, is defined nowhere`;
      throw new FarrierError("E_VALUE_UNDEFINED", what, { where });
    });
    for (const name of node.outputs) if (name !== "") known.add(name);
  }
  checkOutputs(graph, (name) => known.has(name) || outer(name));
}

function sourcesOf(graph: NamedGraph): Set<string> {
  const known = new Set<string>();
  for (const name of graph.initializers) {
    if (known.has(name))
      throw new FarrierError("E_INIT_DUPLICATE", `two initializers are called ${quoted(name)}`);
    known.add(name);
  }
  const inputs = new Set<string>();
  for (const name of graph.inputs) {
    if (inputs.has(name))
      throw new FarrierError("E_VALUE_REDEFINED", `two inputs are called ${quoted(name)}`);
    inputs.add(name);
    known.add(name);
  }
  return known;
}

function producersOf(graph: NamedGraph, sources: ReadonlySet<string>): Map<string, OnnxNode> {
  const producers = new Map<string, OnnxNode>();
  for (const node of graph.nodes)
    for (const name of node.outputs) {
      if (name === "") continue;
      const other = producers.get(name);
      if (other !== undefined || sources.has(name)) {
        const first = other === undefined ? "an input or initializer" : nodeLabel(other);
        const what = `${quoted(name)} is defined by ${first} already`;
        throw new FarrierError("E_VALUE_REDEFINED", what, { where: nodeLabel(node) });
      }
      producers.set(name, node);
    }
  return producers;
}

function checkOutputs(graph: NamedGraph, defined: (name: string) => boolean): void {
  const seen = new Set<string>();
  for (const name of graph.outputs) {
    if (!defined(name))
      throw new FarrierError("E_OUTPUT_UNDEFINED", "no node produces it", {
        where: `output ${quoted(name)}`,
      });
    if (seen.has(name))
      throw new FarrierError("E_VALUE_REDEFINED", `two outputs are called ${quoted(name)}`);
    seen.add(name);
  }
}

/** A value that is used before its producer: a cycle, or only the wrong order. */
function disorder(
  nodes: readonly OnnxNode[],
  producers: ReadonlyMap<string, OnnxNode>,
  node: OnnxNode,
  name: string,
): FarrierError {
  const cycle = findCycle(nodes, producers);
  const where = nodeLabel(cycle?.[0] ?? node);
  if (cycle !== null) {
    const path = [...cycle, cycle[0]!].slice(0, longestPath).map(nodeLabel).join(" -> ");
    const rest = cycle.length >= longestPath ? ` and ${cycle.length + 1 - longestPath} more` : "";
    return new FarrierError("E_GRAPH_CYCLE", `depends on itself: ${path}${rest}`, { where });
  }
  const producer = nodeLabel(producers.get(name)!);
  return new FarrierError("E_GRAPH_ORDER", `uses ${quoted(name)} of ${producer}, a later node`, {
    where,
    hint: "sort the nodes topologically",
  });
}

/** Nodes of a cycle that are printed. */
const longestPath = 12;

/** The nodes of some cycle, each before one that uses it. */
function findCycle(
  nodes: readonly OnnxNode[],
  producers: ReadonlyMap<string, OnnxNode>,
): OnnxNode[] | null {
  const done = new Set<OnnxNode>();
  const open = new Set<OnnxNode>();
  for (const root of nodes) {
    const stack: { node: OnnxNode; next: number }[] = done.has(root)
      ? []
      : [{ node: root, next: 0 }];
    open.add(root);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      if (top.next === top.node.inputs.length) {
        stack.pop();
        open.delete(top.node);
        done.add(top.node);
        continue;
      }
      const input = producers.get(top.node.inputs[top.next++]!);
      if (input === undefined || done.has(input)) continue;
      if (open.has(input)) {
        const from = stack.findIndex((each) => each.node === input);
        return fromFirst(
          stack
            .slice(from)
            .map((each) => each.node)
            .reverse(),
        );
      }
      open.add(input);
      stack.push({ node: input, next: 0 });
    }
    open.delete(root);
  }
  return null;
}

/** The same cycle, told from its first node on. */
function fromFirst(cycle: readonly OnnxNode[]): OnnxNode[] {
  const first = cycle.reduce((best, node, i) => (node.index < cycle[best]!.index ? i : best), 0);
  return [...cycle.slice(first), ...cycle.slice(0, first)];
}
