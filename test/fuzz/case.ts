/** A graph to test, with everything that running it takes. */
import type { ImportedModel } from "../../compiler/frontend/model.js";
import type { Graph } from "../../compiler/ir/graph.js";
import { topological } from "../../compiler/ir/graph.js";
import { printGraph } from "../../compiler/ir/print.js";
import type { TensorValue } from "../../compiler/ir/tensor.js";
import type { SymbolInfo } from "../../compiler/scalar/expr.js";

/** One run: the values of symbols, and inputs of the shapes that they give. */
export interface Binding {
  readonly symbols: ReadonlyMap<string, number>;
  readonly inputs: ReadonlyMap<string, TensorValue>;
}

export interface FuzzCase {
  readonly seed: number;
  readonly graph: Graph;
  readonly symbols: readonly SymbolInfo[];
  /** Runs, in order: states pass from one to the next. */
  readonly bindings: readonly Binding[];
  /** Inputs hold NaN, infinities, signed zeros or denormals. */
  readonly special: boolean;
}

/** How a graph is compiled. */
export interface Variant {
  readonly strict: boolean;
  readonly fuse: boolean;
}

export const variantName = ({ strict, fuse }: Variant): string =>
  `${strict ? "strict" : "fast"}, ${fuse ? "fused" : "unfused"}`;

/** What passes and frontends call a model. */
export const modelOf = ({ graph, symbols }: FuzzCase): ImportedModel => ({
  entries: [{ name: "main", graph }],
  symbols,
  fills: new Map(),
  tensors: [],
  dtype: graph.outputs[0]!.node.dtype,
  notices: [],
});

/** Operators that compute or move something: what a reducer counts. */
export const sizeOf = (graph: Graph): number =>
  topological(graph).filter((node) => node.inputs.length > 0).length;

export function describeCase(found: FuzzCase): string {
  const bindings = found.bindings.map(({ symbols }) =>
    [...symbols].map(([name, value]) => `${name}=${value}`).join(" "),
  );
  const at = bindings.some((text) => text !== "") ? ` with ${bindings.join("; ")}` : "";
  return `seed ${found.seed}${at}\n${printGraph(found.graph)}`;
}

export const allVariants: readonly Variant[] = [
  { strict: false, fuse: true },
  { strict: true, fuse: true },
  { strict: false, fuse: false },
  { strict: true, fuse: false },
];
