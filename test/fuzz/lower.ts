/** Graphs to plans, as `compile` does, with places where a test may spoil what is passed on. */
import { everything, TargetAssembler } from "../../compiler/bundle/assemble.js";
import { SourceTable } from "../../compiler/bundle/sources.js";
import { weightFiles, sourcePolicy, type WeightFiles } from "../../compiler/bundle/weights.js";
import { constantReader } from "../../compiler/constants.js";
import { FarrierError } from "../../compiler/errors.js";
import type { Graph } from "../../compiler/ir/graph.js";
import { Memory, type PlannedKernel } from "../../compiler/kernel/memory.js";
import { partition, type PartitionOptions } from "../../compiler/kernel/partition.js";
import type { Target } from "../../compiler/kernel/target.js";
import { weightSteps } from "../../compiler/kernel/weight-program.js";
import { runPasses } from "../../compiler/passes/index.js";
import { hostExpr } from "../../compiler/plan/host-expr.js";
import type { EntrySpec, TargetPlans } from "../../compiler/plan/plan.js";
import { modelOf, type FuzzCase, type Variant } from "./case.js";

/** What a test may spoil: each gets what the compiler made and answers what is used instead. */
export interface Hooks {
  readonly graph?: (graph: Graph) => Graph;
  readonly kernel?: (kernel: PlannedKernel) => PlannedKernel;
  readonly text?: (text: string) => string;
  readonly plans?: (plans: TargetPlans) => TargetPlans;
}

export interface Lowered {
  readonly entry: EntrySpec;
  readonly plans: TargetPlans;
  /** Kernel texts by symbol. */
  readonly texts: ReadonlyMap<string, string>;
  readonly sources: SourceTable;
  readonly weights: WeightFiles;
  /** After the passes. */
  readonly graph: Graph;
}

/** @throws FarrierError where the compiler refuses the graph, or has a defect */
export function lowerCase(
  found: FuzzCase,
  { strict, fuse }: Variant,
  target: Target,
  hooks: Hooks = {},
): Lowered {
  const model = modelOf(found);
  const scalar = constantReader(model);
  const passed = runPasses(found.graph, { strict, bytes: scalar.bytes });
  const graph = hooks.graph?.(passed) ?? passed;
  const sources = new SourceTable(sourcePolicy({ kind: "embed" }, model));
  const options: PartitionOptions = { target, strict, fuse, scalar: scalar.value, site: () => 1 };
  const memory = new Memory();
  const spoil = hooks.kernel ?? ((kernel: PlannedKernel) => kernel);
  const made = partition(graph, options, memory);
  const steps = [...memory.derived.values()].map((weight) => {
    const each = weightSteps(graph, weight, options);
    return { ...each, kernels: each.kernels.map(spoil) };
  });
  const spoiled = { ...made, kernels: made.kernels.map(spoil) };
  const entries = [{ name: "main", graph, boxes: [{ box: everything, partition: spoiled }] }];
  const assembled = new TargetAssembler({ target, entries, weights: steps }, sources).assemble();
  const texts = [...assembled.files].map(([file, text]): [string, string] => [
    file.replace(/^.*\//, "").replace(/\.\w+$/, ""),
    hooks.text?.(text) ?? text,
  ]);
  return {
    entry: entrySpec(found),
    plans: hooks.plans?.(assembled.plans) ?? assembled.plans,
    texts: new Map(texts),
    sources,
    weights: weightFiles(sources, model),
    graph,
  };
}

const entrySpec = ({ graph }: FuzzCase): EntrySpec => {
  const spec = (name: string, node: Graph["outputs"][number]["node"]): EntrySpec["outputs"][0] => ({
    name,
    dtype: node.dtype,
    shape: node.shape.map((dim) => hostExpr(dim)),
  });
  return {
    name: "main",
    inputs: graph.inputs.map((node) => spec(node.attrs.name, node)),
    outputs: graph.outputs.map(({ name, node }) => spec(name, node)),
  };
};

/** Errors that say that a back end has no kernel for something yet. */
const refusals = new Set([
  ...["E_OP_UNSUPPORTED", "E_TYPE_UNSUPPORTED", "E_CONFIG_UNSUPPORTED", "E_UNSUPPORTED"],
]);

export const isRefusal = (error: unknown): error is FarrierError =>
  error instanceof FarrierError && refusals.has(error.code);
