/** Models with functions of their own, for tests of what they may call. */
import {
  node,
  type FunctionSpec,
  type GraphSpec,
  type ModelSpec,
  type NodeSpec,
} from "./encode.testing.js";

/** A call of the function `name`, from x to y. */
export const call = (name: string): NodeSpec => ({ ...node(name, ["x"], ["y"]), domain: "own" });

export const inner = (name: string, nodes: readonly NodeSpec[]): FunctionSpec => ({
  name,
  domain: "own",
  inputs: ["x"],
  outputs: ["y"],
  opsets: { "": 21, own: 1 },
  nodes,
});

export const owning = (functions: readonly FunctionSpec[], graph: GraphSpec): ModelSpec => ({
  opset: { "": 21, own: 1 },
  graph,
  functions,
});

/** Functions of ten calls of the level below. */
export const levels = Array.from({ length: 10 }, (_, level) =>
  inner(
    `f${level}`,
    Array.from({ length: 10 }, (_, i) => ({
      ...node(
        level === 0 ? "Neg" : `f${level - 1}`,
        [i === 0 ? "x" : `v${i}`],
        [i === 9 ? "y" : `v${i + 1}`],
      ),
      ...(level === 0 ? {} : { domain: "own" }),
    })),
  ),
);
