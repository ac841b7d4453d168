/** Small graphs and random tensors for tests. */
import { Dimensions } from "../compiler/ir/bind.js";
import { isFloat, dtypes, type DType } from "../compiler/ir/dtype.js";
import { evaluateGraph, type EvaluateGraphOptions } from "../compiler/ir/evaluate.js";
import type { Graph, GraphBuilder, GraphState, Node } from "../compiler/ir/graph.js";
import { isNode, below } from "../compiler/ir/graph.js";
import { countOf, newData, setInteger, type TensorValue } from "../compiler/ir/tensor.js";
import { roundInPlace } from "../compiler/ir/evaluate-map.js";

/** The graph of `outputs`, with the inputs that they need in order of creation. */
export function graphOf(
  builder: GraphBuilder,
  outputs: Readonly<Record<string, Node>>,
  states: readonly GraphState[] = [],
): Graph {
  const roots = [...Object.values(outputs), ...states.map((state) => state.final)];
  const inputs = below(roots).filter((node): node is Node<"input"> => isNode(node, "input"));
  return {
    builder,
    inputs: inputs.sort((a, b) => a.id - b.id),
    outputs: Object.entries(outputs).map(([name, node]) => ({ name, node })),
    states,
  };
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Floats in (-2, 2), rounded to the dtype; integers from -4 to 3, or 0 to 7. */
export function randomTensor(
  dtype: DType,
  shape: readonly number[],
  next: () => number,
): TensorValue {
  const data = newData(dtype, countOf(shape));
  const value = { dtype, shape, data };
  for (let i = 0; i < data.length; i++) {
    if (dtype === "bool") data[i] = next() < 0.5 ? 0 : 1;
    else if (isFloat(dtype)) data[i] = next() * 4 - 2;
    else setInteger(data, i, BigInt(Math.floor(next() * 8) - signedBy(dtype)), dtype);
  }
  roundInPlace(value);
  return value;
}

const signedBy = (dtype: DType): number => (dtypes[dtype].kind === "int" ? 4 : 0);

/** Tensors for every input, with `symbols` for dimensions. */
export function randomInputs(
  graph: Graph,
  symbols: Readonly<Record<string, number>> = {},
  seed = 1,
): Map<string, TensorValue> {
  const next = random(seed);
  const dims = new Dimensions(new Map(Object.entries(symbols)));
  return new Map(
    graph.inputs.map(({ attrs, dtype, shape }) => [
      attrs.name,
      randomTensor(dtype, dims.shape(shape), next),
    ]),
  );
}

/** The one output of a graph, as an array of numbers. */
export function evaluateOne(
  graph: Graph,
  inputs: Readonly<Record<string, TensorValue>>,
  options: EvaluateGraphOptions = {},
): number[] {
  const { outputs } = evaluateGraph(graph, new Map(Object.entries(inputs)), options);
  return Array.from(outputs.values().next().value!.data, Number);
}
