/**
 * Makes a failing graph small: nodes bypassed by an input or zeros, extents shrunk, dtypes simplified,
 * runs dropped. Every step tries many smaller graphs in one batch and goes on with the smallest that
 * fails the same way.
 */
import { FarrierError } from "../../compiler/errors.js";
import { dtypes, isFloat, type DType } from "../../compiler/ir/dtype.js";
import type { Graph } from "../../compiler/ir/graph.js";
import { topological } from "../../compiler/ir/graph.js";
import { constValue } from "../../compiler/scalar/build.js";
import type { BatchOptions, Trial, Verdict } from "./batch.js";
import { runBatch } from "./batch.js";
import { sizeOf, type FuzzCase, type Variant } from "./case.js";
import { rebuild, type Edit } from "./rebuild.js";

export interface Reduced {
  readonly found: FuzzCase;
  readonly variant: Variant;
  readonly verdict: Verdict & { readonly kind: "failed" };
}

/** A failure is the same if it fails in the same way, and says the same but for numbers and names. */
function kindOf({ how, what }: Verdict & { kind: "failed" }): string {
  if (how === "differs") return how;
  if (what.includes("farrier's own C")) return `${how}: C`;
  const text = what.replace(/^[^:]*: /, "");
  return `${how}: ${text.replaceAll(/[#%]?\d+|"[^"]*"|\([^)]*\)/g, "_").slice(0, 48)}`;
}

const elementsOf = (graph: Graph): number =>
  topological(graph).reduce(
    (total, { shape }) => total + shape.reduce((x, dim) => x * (constValue(dim) ?? 3), 1),
    0,
  );

/** Operators first, then leaves, then elements, then what is unusual. */
function costOf({ graph, bindings }: FuzzCase): number {
  const odd = topological(graph).filter(({ dtype }) => !["f32", "i64", "bool"].includes(dtype));
  const leaves = graph.inputs.length + graph.outputs.length + graph.states.length;
  return (
    sizeOf(graph) * 1e6 +
    leaves * 1e5 +
    Math.min(9e4, elementsOf(graph)) +
    odd.length * 20 +
    bindings.length * 10
  );
}

/** Ways to drop a part of the graph: large parts first. */
function* structural(graph: Graph): Generator<Edit> {
  const { outputs } = graph;
  if (outputs.length > 1) {
    for (const output of outputs) yield { outputs: [output.name] };
    for (const output of outputs)
      yield { outputs: outputs.filter((each) => each !== output).map((each) => each.name) };
  }
  const nodes = topological(graph).filter((node) => node.inputs.length > 0);
  for (const node of [...nodes].reverse()) {
    // The value itself as an output: what is after it goes.
    yield { only: node };
    yield { cut: [node] };
    for (const index of node.inputs.keys()) yield { bypass: [[node, index]] };
  }
  for (let span = nodes.length >> 1; span >= 2; span >>= 1)
    for (let from = 0; from < nodes.length; from += span)
      yield { cut: nodes.slice(from, from + span) };
}

const smaller = (extent: number): number[] =>
  [...new Set([1, 2, 3, extent >> 1, extent - 1])].filter((x) => x >= 1 && x < extent);

function* simpler(found: FuzzCase): Generator<Edit> {
  const { graph, symbols, bindings } = found;
  const nodes = topological(graph);
  const extents = new Set(nodes.flatMap(({ shape }) => shape.map(constValue)));
  for (const extent of extents)
    if (extent !== null && extent > 1)
      for (const to of smaller(extent)) yield { extents: new Map([[extent, to]]) };
  const pairs = [...extents].filter((x): x is number => x !== null && x > 2);
  if (pairs.length > 1) yield { extents: new Map(pairs.map((x) => [x, 2])) };
  for (const { name } of symbols)
    for (const to of [1, 2, 3, 5]) yield { symbols: new Map([[name, to]]) };
  const floats = new Set(nodes.map(({ dtype }) => dtype).filter(isFloat));
  for (const dtype of floats) if (dtype !== "f32") yield { dtypes: new Map([[dtype, "f32"]]) };
  const wide = nodes.map(({ dtype }) => dtype).filter((d) => dtypes[d].kind === "int");
  for (const dtype of new Set<DType>(wide))
    if (dtype !== "i64") yield { dtypes: new Map([[dtype, "i64"]]) };
  if (bindings.length > 1) for (const run of bindings.keys()) yield { runs: [run] };
  yield { dropInputs: true };
  yield { ones: true };
}

function edited(found: FuzzCase, edit: Edit): FuzzCase | null {
  try {
    return rebuild(found, edit);
  } catch (error) {
    if (error instanceof FarrierError) return null;
    throw error;
  }
}

/** Most graphs that one step tries. */
const mostTried = 60;

async function step(
  from: Reduced,
  edits: Iterable<Edit>,
  options: BatchOptions,
): Promise<Reduced | null> {
  const { variant, verdict } = from;
  const cost = costOf(from.found);
  const candidates: FuzzCase[] = [];
  for (const edit of edits) {
    const made = edited(from.found, edit);
    if (made !== null && costOf(made) < cost) candidates.push(made);
  }
  candidates.sort((a, b) => costOf(a) - costOf(b));
  for (let at = 0; at < candidates.length; at += mostTried) {
    const trials = candidates
      .slice(at, at + mostTried)
      .map((found): Trial => ({ found, variants: [variant] }));
    const verdicts = await runBatch(trials, options);
    for (const [index, each] of verdicts.entries())
      if (each.kind === "failed" && kindOf(each) === kindOf(verdict))
        return { found: trials[index]!.found, variant, verdict: each };
  }
  return null;
}

export interface ReduceOptions extends BatchOptions {
  /** Milliseconds after which the smallest so far has to do. */
  readonly patience?: number;
}

export async function reduceCase(first: Reduced, options: ReduceOptions): Promise<Reduced> {
  const until = Date.now() + (options.patience ?? 120_000);
  let current = first;
  while (Date.now() < until) {
    const next =
      (await step(current, structural(current.found.graph), options)) ??
      (await step(current, simpler(current.found), options));
    if (next === null) break;
    current = next;
  }
  return current;
}
