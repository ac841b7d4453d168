/** Mixtures of experts whose choices come from outside, or can be looked at. */
import { constantReader } from "../../compiler/constants.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { input, reshape } from "../../compiler/ir/build.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import { isNode, topological, type Graph, type Node } from "../../compiler/ir/graph.js";
import type { TensorValue } from "../../compiler/ir/tensor.js";
import { substituteNodes } from "../../compiler/rewrite/substitute.js";

const nameOf = (index: number): string => `routing.${index}`;

const mainOf = ({ entries }: ImportedModel): Graph =>
  entries.find(({ name }) => name === "main")!.graph;

/** In the order of the layers. */
const routesOf = (graph: Graph): Node<"route">[] =>
  topological(graph).filter((node): node is Node<"route"> => isNode(node, "route"));

/** `main` alone: other entries would choose for themselves. */
function withMain(model: ImportedModel, graph: Graph): ImportedModel {
  const { generation, ...rest } = model;
  void generation;
  return { ...rest, entries: [{ name: "main", graph }] };
}

/** The choices of each mixture are inputs `routing.0` …, [batch, seq, experts of a token]. */
export function withRoutingGiven(model: ImportedModel): ImportedModel {
  const graph = mainOf(model);
  const { builder } = graph;
  const [batch, seq] = graph.inputs[0]!.shape;
  const routes = routesOf(graph);
  const given = routes.map(({ dtype, shape }, i) =>
    input(builder, nameOf(i), dtype, [batch!, seq!, shape[1]!]),
  );
  const replacements = new Map<Node, Node>(
    routes.map((node, i) => [node, reshape(builder, given[i]!, node.shape)]),
  );
  const replaced = substituteNodes(graph, replacements);
  return withMain(model, { ...replaced, inputs: [...graph.inputs, ...given] });
}

/** The choices of each mixture are outputs too. */
export function withRoutingShown(model: ImportedModel): ImportedModel {
  const graph = mainOf(model);
  const shown = routesOf(graph).map((node, i) => ({ name: nameOf(i), node }));
  return withMain(model, { ...graph, outputs: [...graph.outputs, ...shown] });
}

/** What each mixture chooses in float64. */
export function evaluatedRouting(
  model: ImportedModel,
  ids: TensorValue,
): ReadonlyMap<string, TensorValue> {
  const graph = mainOf(withRoutingShown(model));
  const { source } = constantReader(model);
  const constants = (from: Parameters<typeof source>[0]): Uint8Array => source(from, Infinity)!;
  const { outputs } = evaluateGraph(graph, new Map([["input_ids", ids]]), { constants });
  return new Map([...outputs].filter(([name]) => name.startsWith("routing.")));
}

/** The share of choices that are those of `expected`, whatever their order. */
export function equalChoices(found: ArrayLike<number>, expected: TensorValue): number {
  const count = expected.shape.at(-1)!;
  const wanted = Array.from<number | bigint, number>(expected.data, Number);
  const rows = Array.from({ length: wanted.length / count }, (_, row) => row * count);
  const equal = rows.reduce((sum, start) => {
    const own = new Set(Array.from({ length: count }, (_, i) => found[start + i]!));
    return sum + wanted.slice(start, start + count).filter((each) => own.has(each)).length;
  }, 0);
  return equal / wanted.length;
}
