/**
 * What a graph's outputs have to be: the exact evaluation in double precision, and how far from it a
 * correct kernel may be, taken from the strict evaluation (every rounding of the graph) and from runs
 * with noise of the size of a kernel's own errors in every node.
 */
import { isFloat, type DType } from "../../compiler/ir/dtype.js";
import { evaluateGraph, type EvaluateMode } from "../../compiler/ir/evaluate.js";
import type { Graph, Node } from "../../compiler/ir/graph.js";
import { topological } from "../../compiler/ir/graph.js";
import type { TensorValue } from "../../compiler/ir/tensor.js";
import { random } from "../graphs.js";
import type { FuzzCase, Variant } from "./case.js";
import {
  exactness,
  largest,
  noiseOf,
  perturb,
  unit,
  type Exactness,
  type Values,
} from "./noise.js";

/** Outputs of each run, by name. */
export type Runs = readonly ReadonlyMap<string, TensorValue>[];

export interface Reference {
  readonly exact: Runs;
  readonly strict: Runs;
  /** Runs with the errors that a `fast` kernel may make. */
  readonly loose: Runs[];
  /** Strict runs with the errors that arithmetic makes between the roundings of the graph. */
  readonly tight: Runs[];
  readonly hasSmallFloats: boolean;
  /** Runs in which some value leaves the range in which kernels are compared. */
  readonly wild: ReadonlySet<number>;
}

/** Sizes in later runs, whose values were not looked at when the graph was made, that no type holds well. */
const wildest = (dtype: DType): number => (dtype === "f16" ? 2e3 : dtype === "f64" ? 1e100 : 1e15);

export interface Mismatch {
  readonly output: string;
  readonly run: number;
  readonly what: string;
}

type OnNode = (run: number, node: Node, value: TensorValue) => void;

/** All runs of a case, states passed on. */
function evaluateRuns(
  graph: Graph,
  { bindings }: FuzzCase,
  mode: EvaluateMode,
  onNode: OnNode,
): Runs {
  let states: ReadonlyMap<string, TensorValue> = new Map();
  return bindings.map(({ inputs, symbols }, run) => {
    const made = evaluateGraph(graph, inputs, {
      mode,
      symbols,
      states,
      onNode: (node, value) => onNode(run, node, value),
    });
    states = made.states;
    return made.outputs;
  });
}

class Sampler {
  readonly #inputs: Map<Node, TensorValue>[] = [];
  readonly #exact: Map<Node, Exactness>[] = [];
  readonly exact: Runs;
  readonly wild = new Set<number>();

  constructor(
    readonly graph: Graph,
    readonly found: FuzzCase,
  ) {
    this.exact = evaluateRuns(graph, found, "exact", (run, node, value) => {
      const values = (this.#inputs[run] ??= new Map<Node, TensorValue>());
      const known = (this.#exact[run] ??= new Map<Node, Exactness>());
      values.set(node, value);
      if (run > 0 && !found.special && isFloat(node.dtype) && largest(value) > wildest(node.dtype))
        this.wild.add(run);
      const inputs = node.inputs.map((input) => values.get(input)!);
      const facts = node.inputs.map((input) => known.get(input)!);
      known.set(node, exactness(node, value, inputs, facts));
    });
  }

  sample(mode: EvaluateMode, seed: number): Runs {
    const next = random(seed);
    return evaluateRuns(this.graph, this.found, mode, (run, node, value) => {
      const values: Values = this.#inputs[run]!;
      const inputs = node.inputs.map((input) => values.get(input)!);
      const { exact } = this.#exact[run]!.get(node)!;
      const noise = noiseOf(node, inputs, exact, mode === "strict");
      if (noise !== null) perturb(value, noise, next);
    });
  }
}

/** @param samples perturbed runs of each kind: more of them where a mismatch is to be confirmed */
export function referenceOf(found: FuzzCase, samples: number, tight: boolean): Reference {
  const { graph } = found;
  const sampler = new Sampler(graph, found);
  const nothing = (): void => undefined;
  const many = (mode: EvaluateMode, from: number): Runs[] =>
    Array.from({ length: samples }, (_, i) => sampler.sample(mode, found.seed * 131 + from + i));
  const hasSmallFloats = topological(graph).some(
    ({ dtype }) => isFloat(dtype) && unit(dtype) > 2 ** -20,
  );
  return {
    exact: sampler.exact,
    strict: evaluateRuns(graph, found, "strict", nothing),
    loose: many("exact", 1),
    tight: tight && hasSmallFloats ? many("strict", 101) : [],
    hasSmallFloats,
    wild: sampler.wild,
  };
}

const classOf = (x: number): string =>
  Number.isFinite(x) ? "finite" : Number.isNaN(x) ? "NaN" : x > 0 ? "inf" : "-inf";

/** The first output that is not what it has to be, or null. */
export function mismatchOf(reference: Reference, found: Runs, variant: Variant): Mismatch | null {
  for (const [run, outputs] of found.entries()) {
    if (reference.wild.has(run)) continue;
    for (const [output, value] of outputs) {
      const at = (runs: Runs): TensorValue => runs[run]!.get(output)!;
      const samples = [reference.strict, ...reference.loose].map(at);
      const what =
        shapeFault(value, at(reference.exact)) ??
        (isFloat(value.dtype)
          ? floatFault(value, at(reference.exact), samples)
          : exactFault(value, at(reference.exact), samples)) ??
        (variant.strict
          ? roundingFault(value, at(reference.strict), reference.tight.map(at))
          : null);
      if (what !== null) return { output, run, what };
    }
  }
  return null;
}

function shapeFault(value: TensorValue, wanted: TensorValue): string | null {
  const same = value.dtype === wanted.dtype && value.shape.join() === wanted.shape.join();
  return same
    ? null
    : `${value.dtype}[${value.shape.join()}], expected ${wanted.dtype}[${wanted.shape.join()}]`;
}

function exactFault(
  value: TensorValue,
  wanted: TensorValue,
  samples: readonly TensorValue[],
): string | null {
  for (let i = 0; i < wanted.data.length; i++) {
    const settled = samples.every((sample) => sample.data[i] === wanted.data[i]);
    if (settled && value.data[i] !== wanted.data[i])
      return `element ${i} is ${value.data[i]}, expected ${wanted.data[i]}`;
  }
  return null;
}

/** Times the spread of perturbed runs: of the whole tensor, and of one element. */
const [rmsFactor, elementFactor] = [4, 16];

interface Spread {
  readonly each: Float64Array;
  readonly settled: Uint8Array;
  readonly rms: number;
}

function spreadOf(wanted: Float64Array, samples: readonly Float64Array[]): Spread {
  const count = wanted.length;
  const each = new Float64Array(count);
  const settled = new Uint8Array(count).fill(1);
  const totals = samples.map((sample) => {
    let total = 0;
    for (let i = 0; i < count; i++) {
      if (classOf(sample[i]!) !== classOf(wanted[i]!)) settled[i] = 0;
      if (!Number.isFinite(wanted[i]!) || !Number.isFinite(sample[i]!)) continue;
      const error = Math.abs(sample[i]! - wanted[i]!);
      each[i] = Math.max(each[i]!, error);
      total += error * error;
    }
    return total;
  });
  return { each, settled, rms: Math.sqrt(Math.max(0, ...totals) / Math.max(1, count)) };
}

function floatFault(
  value: TensorValue,
  wanted: TensorValue,
  samples: readonly TensorValue[],
): string | null {
  const [found, exact] = [value.data as Float64Array, wanted.data as Float64Array];
  const spread = spreadOf(
    exact,
    samples.map((sample) => sample.data as Float64Array),
  );
  let total = 0;
  for (let i = 0; i < exact.length; i++) {
    const [x, y] = [found[i]!, exact[i]!];
    if (spread.settled[i] === 0) continue;
    if (classOf(x) !== classOf(y)) return `element ${i} is ${x}, expected ${y}`;
    if (!Number.isFinite(y)) continue;
    const error = Math.abs(x - y);
    total += error * error;
    const limit = elementFactor * Math.max(spread.each[i]!, spread.rms) + 1e-300;
    if (error > limit) return `element ${i} is ${x}, expected ${y} ± ${limit.toPrecision(3)}`;
  }
  const error = Math.sqrt(total / Math.max(1, exact.length));
  const limit = rmsFactor * spread.rms + 1e-300;
  return error > limit ? `RMS error ${error.toPrecision(3)}, limit ${limit.toPrecision(3)}` : null;
}

/** In `strict`, results are those of the graph's own roundings, but for rare ties. */
function roundingFault(
  value: TensorValue,
  wanted: TensorValue,
  samples: readonly TensorValue[],
): string | null {
  if (!isFloat(value.dtype) || samples.length === 0 || value.data.length < 64) return null;
  const exact = wanted.data as Float64Array;
  const size = Math.sqrt(
    exact.reduce((sum, x) => sum + (Number.isFinite(x) ? x * x : 0), 0) / exact.length,
  );
  const step = Math.max(unit(value.dtype) / 2, 2 ** -17);
  const differing = (other: TensorValue): number => {
    const data = other.data as Float64Array;
    let count = 0;
    for (let i = 0; i < exact.length; i++)
      if (Math.abs(data[i]! - exact[i]!) > step * Math.max(Math.abs(exact[i]!), size / 16)) count++;
    return count / exact.length;
  };
  const usual = Math.max(...samples.map(differing));
  const limit = 4 * usual + 0.05 + 3 / exact.length;
  const found = differing(value);
  return found > limit
    ? `${(found * 100).toFixed(1)} % of elements miss a rounding, limit ${(limit * 100).toFixed(1)} %`
    : null;
}
