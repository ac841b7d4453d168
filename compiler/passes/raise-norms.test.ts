import { expect, it } from "vitest";
import { graphOf, randomInputs } from "../../test/graphs.js";
import * as b from "../ir/build.js";
import { evaluateGraph } from "../ir/evaluate.js";
import { GraphBuilder, topological, type Graph, type Node } from "../ir/graph.js";
import { literalBytes } from "../ir/literal.js";
import { scalarFunction } from "../scalar/table.js";
import { runPasses } from "./index.js";

/** x / √(mean(x²) + ε), of x or of x - mean(x), spelled out over `rows` rows. */
function spelled(kind: "rms" | "layer", rows: number): Graph {
  const g = new GraphBuilder();
  const map = (name: Parameters<typeof scalarFunction>[0], ...inputs: Node[]): Node =>
    b.map(g, scalarFunction(name), inputs);
  const wide = (x: Node): Node => b.broadcastTo(g, x, [1, rows, 8]);
  const mean = (x: Node): Node => b.reduce(g, "mean", x, [2]);
  const number = (value: number): Node =>
    b.broadcastTo(g, b.constantScalar(g, "f32", value), [1, rows, 1]);
  const input = b.input(g, "x", "f32", [1, rows, 8]);
  const x = kind === "rms" ? input : map("sub", input, wide(mean(input)));
  const root = map("sqrt", map("add", mean(map("mul", x, x)), number(1e-5)));
  return graphOf(g, { y: map("mul", x, wide(map("div", number(1), root))) });
}

it.each([
  ["rms", 1],
  ["rms", 3],
  ["layer", 1],
  ["layer", 3],
] as const)("raises what spells a norm by %s of %i rows", (kind, rows) => {
  const graph = spelled(kind, rows);
  const bytes = (node: Node): Uint8Array | null => literalBytes(node);
  const raised = runPasses(graph, { strict: false, without: [], bytes }, () => undefined);
  const norms = topological(raised).filter((node) => node.op === "normalize");
  expect(norms.map(({ attrs }) => attrs)).toMatchObject([{ kind }]);
  const inputs = randomInputs(graph);
  const [want, got] = [graph, raised].map(
    (which) => evaluateGraph(which, inputs).outputs.get("y")!.data,
  );
  for (let i = 0; i < want!.length; i++) expect(Number(got![i])).toBeCloseTo(Number(want![i]), 5);
});
