/** Small models made by programs, for tests that need one shape of graph and known weights. */
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { constant, input } from "../../compiler/ir/build.js";
import type { DType } from "../../compiler/ir/dtype.js";
import { evaluateGraph, type EvaluateMode } from "../../compiler/ir/evaluate.js";
import { GraphBuilder, type Node } from "../../compiler/ir/graph.js";
import { tensor, type TensorValue } from "../../compiler/ir/tensor.js";
import { sym } from "../../compiler/scalar/build.js";
import { writeElements } from "../../compiler/scalar/elements.js";

/** Seeded numbers with mean 0 and variance 1 (sums of uniforms). */
export function normals(seed: number, count: number): Float64Array {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float64Array.from({ length: count }, () =>
    Array.from({ length: 12 }, uniform).reduce((a, b) => a + b, -6),
  );
}

export interface Bench {
  readonly g: GraphBuilder;
  /** [rows, width], rows being the symbol of that name. */
  readonly x: (width: number, dtype: DType) => Node;
  readonly weight: (dtype: DType, shape: readonly number[], values: Float64Array) => Node;
}

/** A model with input `x` [rows, width] and output `y`. */
export function modelOf(maxRows: number, body: (bench: Bench) => Node): ImportedModel {
  const g = new GraphBuilder();
  const info = { name: "rows", space: "host", min: 1, max: maxRows, divisor: 1 } as const;
  const inputs: Node<"input">[] = [];
  const bench: Bench = {
    g,
    x(width, dtype) {
      const made = input(g, "x", dtype, [sym(info), width]);
      inputs.push(made);
      return made;
    },
    weight: (dtype, shape, values) =>
      constant(g, { kind: "literal", data: writeElements(dtype, values) }, dtype, shape),
  };
  const y = body(bench);
  const graph = { builder: g, inputs, outputs: [{ name: "y", node: y }], states: [] };
  return {
    entries: [{ name: "main", graph }],
    symbols: [info],
    fills: new Map(),
    tensors: [],
    dtype: y.dtype,
    notices: [],
  };
}

/** The oracle's value of `y`. */
export function evaluated(
  model: ImportedModel,
  x: TensorValue,
  mode: EvaluateMode = "exact",
): Float64Array {
  const { outputs } = evaluateGraph(model.entries[0]!.graph, new Map([["x", x]]), { mode });
  return outputs.get("y")!.data as Float64Array;
}

export const floats = (dtype: DType, shape: readonly number[], values: Float64Array): TensorValue =>
  tensor(dtype, shape, [...values]);
