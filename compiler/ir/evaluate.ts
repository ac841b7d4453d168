/**
 * The oracle: evaluates a graph with floats in double precision and integers exactly.
 *
 * `exact` takes float dtypes for real numbers (a cast between floats changes nothing); `strict` rounds
 * each node's result once to its dtype, so that it has every rounding of the source model.
 */
import { bug, FarrierError } from "../errors.js";
import { bindSymbols, type Dimensions } from "./bind.js";
import { scanned, scattered, topIndices } from "./evaluate-along.js";
import { attended } from "./evaluate-attention.js";
import { sampled } from "./evaluate-sample.js";
import { grouped, multipliedByExpert, routed } from "./evaluate-experts.js";
import {
  broadcasted,
  cacheWritten,
  pagedWritten,
  concatenated,
  gathered,
  gatheredNd,
  iotaOf,
  sliced,
  transposed,
} from "./evaluate-index.js";
import { converted, mapped, roundInPlace } from "./evaluate-map.js";
import {
  dequantized,
  multiplied,
  normalized,
  reduced,
  rotated,
  softmaxed,
} from "./evaluate-math.js";
import { below, topological, type Graph, type GraphBuilder, type Node } from "./graph.js";
import type { ConstantSource, OpName } from "./ops.js";
import { attentionOperands } from "./rules-anchor.js";
import { countOf, fromBytes, newData, type TensorValue } from "./tensor.js";
import { roundFloat } from "../scalar/round.js";
import { isFloat, type DType } from "./dtype.js";

export type EvaluateMode = "exact" | "strict";

export interface EvaluateGraphOptions {
  /** Default "exact". */
  readonly mode?: EvaluateMode;
  /** Symbols that no input's shape has. */
  readonly symbols?: ReadonlyMap<string, number>;
  /** States before the run, by name; one that is absent is all zeros. */
  readonly states?: ReadonlyMap<string, TensorValue>;
  /** Bytes of constants that are not literals. */
  readonly constants?: (source: ConstantSource) => Uint8Array;
  readonly onNode?: (node: Node, value: TensorValue) => void;
  /** Values that are taken as they are: nothing that only they need is evaluated. */
  readonly given?: ReadonlyMap<Node, TensorValue>;
}

export interface EvaluatedGraph {
  readonly outputs: Map<string, TensorValue>;
  /** States after the run. */
  readonly states: Map<string, TensorValue>;
}

interface Context {
  readonly builder: GraphBuilder;
  readonly options: EvaluateGraphOptions;
  readonly inputs: ReadonlyMap<string, TensorValue>;
  readonly dims: Dimensions;
  readonly rounds: boolean;
}

type Evaluator<O extends OpName> = (
  node: Node<O>,
  inputs: readonly [TensorValue, TensorValue, TensorValue, ...TensorValue[]],
  context: Context,
) => TensorValue;

const placeOf = (node: Node, context: Context): string =>
  context.builder.nameOf(node) ?? `${node.op} #${node.id}`;

/** What each of several steps of a node does to its result. */
const roundOf =
  (dtype: DType, { rounds }: Context): ((value: number) => number) =>
  (value) =>
    rounds && isFloat(dtype) ? roundFloat(value, dtype) : value;

/** The result, rounded to its dtype where the mode says so. It must be fresh. */
function rounded(value: TensorValue, { rounds }: Context): TensorValue {
  if (rounds) roundInPlace(value);
  return value;
}

function constantOf(node: Node<"constant">, _: unknown, context: Context): TensorValue {
  const { source } = node.attrs;
  const { constants } = context.options;
  if (source.kind !== "literal" && constants === undefined)
    throw new FarrierError("E_WEIGHTS", `tensor ${source.tensor} has no values here`);
  const bytes = source.kind === "literal" ? source.data : constants!(source);
  return fromBytes(node.dtype, context.dims.shape(node.shape), bytes);
}

function stateOf(node: Node<"state">, _: unknown, { options, dims }: Context): TensorValue {
  const shape = dims.shape(node.shape);
  const given = options.states?.get(node.attrs.name);
  if (given !== undefined) return expectLike(given, node, shape, `state ${node.attrs.name}`);
  return { dtype: node.dtype, shape, data: newData(node.dtype, countOf(shape)) };
}

function expectLike(
  value: TensorValue,
  { dtype }: Node,
  shape: readonly number[],
  where: string,
): TensorValue {
  if (value.dtype === dtype && value.shape.join() === shape.join()) return value;
  throw new FarrierError(
    "E_RT_INPUT",
    `expected ${dtype}[${shape.join(", ")}], found ${value.dtype}[${value.shape.join(", ")}]`,
    { where },
  );
}

function inputOf(node: Node<"input">, _: unknown, context: Context): TensorValue {
  const { name } = node.attrs;
  const given = context.inputs.get(name);
  if (given === undefined) throw missingInput(name);
  const value = expectLike(given, node, context.dims.shape(node.shape), `input ${name}`);
  return context.rounds ? rounded({ ...value, data: value.data.slice() }, context) : value;
}

const missingInput = (name: string): FarrierError =>
  new FarrierError("E_RT_INPUT", "is not given", { where: `input ${JSON.stringify(name)}` });

const evaluators: { readonly [O in OpName]: Evaluator<O> } = {
  input: inputOf,
  constant: constantOf,
  state: stateOf,
  iota: (node, _, { dims }) => iotaOf(dims.shape(node.shape), node.attrs.axis),
  dim: (node, _, { dims }) => ({
    dtype: "i64",
    shape: [],
    data: BigInt64Array.of(BigInt(dims.of(node.attrs.value))),
  }),
  map: (node, inputs, c) =>
    rounded(mapped(node.attrs.fn, inputs, node.dtype, c.dims.shape(node.shape)), c),
  cast: (node, [x], c) => converted(x, node.dtype, c.rounds),
  reshape: (node, [x], { dims }) => ({ ...x, shape: dims.shape(node.shape) }),
  transpose: (node, [x]) => transposed(x, node.attrs.perm),
  broadcast: (node, [x], { dims }) => broadcasted(x, dims.shape(node.shape)),
  slice: (node, [x], c) => {
    const starts = node.attrs.starts.map((start) => c.dims.of(start));
    return sliced(x, starts, node.attrs.steps, c.dims.shape(node.shape), placeOf(node, c));
  },
  concat: (node, inputs, { dims }) => concatenated(inputs, node.attrs.axis, dims.shape(node.shape)),
  gather: (node, [data, indices], c) => gathered(data, indices, node.attrs.axis, placeOf(node, c)),
  gather_nd: (node, [data, indices], c) =>
    gatheredNd(data, indices, node.attrs.batchDims, placeOf(node, c)),
  reduce: (node, [x], c) =>
    rounded(reduced(x, node.attrs.kind, node.attrs.axes, c.dims.shape(node.shape)), c),
  scan: ({ attrs }, [x], c) => rounded(scanned(x, attrs), c),
  top_k: ({ attrs }, [x]) => topIndices(x, attrs),
  scatter: (node, [data, indices, updates], c) =>
    scattered(data, indices, updates, node.attrs, placeOf(node, c), roundOf(node.dtype, c)),
  softmax: (node, [x], c) => rounded(softmaxed(x, node.attrs.axis), c),
  normalize: ({ attrs }, [x], c) => rounded(normalized(x, attrs.kind, attrs.epsilon), c),
  matmul: (node, [a, b], c) => rounded(multiplied(a, b, c.dims.shape(node.shape)), c),
  rotary: (node, [x, cos, sin], c) => {
    const angles = [...x.shape.slice(0, -1), x.shape.at(-1)! / 2];
    const [full, fullSin] = [broadcasted(cos, angles), broadcasted(sin, angles)];
    const round = roundOf(node.dtype, c);
    return rounded(rotated(x, full, fullSin, node.attrs.interleaved, round), c);
  },
  attention: (node, inputs, c) => {
    const [q, k, v] = inputs;
    const loads = new Map(inputs.map((x, i) => [`input${i}`, x] as const).slice(attentionOperands));
    const symbol = (name: string): number => c.dims.symbol(name);
    return rounded(attended({ q, k, v, loads, ...node.attrs, symbol }), c);
  },
  cache_write: (node, [state, value, start], c) =>
    cacheWritten(state, value, start, placeOf(node, c)),
  paged_write: (node, [state, value, slots, count], c) =>
    pagedWritten(state, value, { slots, count: count! }, placeOf(node, c)),
  sample: (_, [values, noise, temperature, count, mass]) =>
    sampled(values, noise, { temperature, count: count!, mass: mass! }),
  route: (node, [choice]) => routed(choice, node.attrs),
  expert_groups: (node, [chosen]) => grouped(chosen, node.attrs.experts),
  expert_matmul: (node, [x, weights, chosen], c) =>
    rounded(multipliedByExpert(x, weights, chosen, placeOf(node, c)), c),
  dequantize: (node, [x, scale], c) => {
    const { axis, group } = node.attrs;
    const data = dequantized(x, scale, axis, group);
    return rounded({ dtype: node.dtype, shape: x.shape, data }, c);
  },
};

function evaluateNode<O extends OpName>(
  node: Node<O>,
  inputs: readonly TensorValue[],
  context: Context,
): TensorValue {
  const evaluator: Evaluator<O> = evaluators[node.op];
  const value = evaluator(node, inputs as Parameters<Evaluator<O>>[1], context);
  const shape = context.dims.shape(node.shape);
  if (value.dtype !== node.dtype || value.shape.join() !== shape.join())
    throw bug(`${placeOf(node, context)} evaluated to another shape than its rule's`);
  return value;
}

export function evaluateGraph(
  graph: Graph,
  inputs: ReadonlyMap<string, TensorValue>,
  options: EvaluateGraphOptions = {},
): EvaluatedGraph {
  const shaped = graph.inputs.map((node) => {
    const { name } = node.attrs;
    const actual = inputs.get(name)?.shape;
    if (actual === undefined) throw missingInput(name);
    return { name, declared: node.shape, actual };
  });
  const dims = bindSymbols(shaped, options.symbols);
  const rounds = options.mode === "strict";
  const context = { builder: graph.builder, options, inputs, dims, rounds };
  const values = evaluateNodes(graph, context);
  return {
    outputs: new Map(graph.outputs.map(({ name, node }) => [name, values.get(node)!])),
    states: new Map(graph.states.map(({ name, final }) => [name, values.get(final)!])),
  };
}

/** Values of the outputs and final states; others are dropped after their last use. */
function evaluateNodes(graph: Graph, context: Context): Map<Node, TensorValue> {
  const { given } = context.options;
  const roots = [...graph.outputs.map(({ node }) => node), ...graph.states.map((s) => s.final)];
  const order = given === undefined ? topological(graph) : below(roots, given);
  const inputsOf = (node: Node): readonly Node[] => (given?.has(node) === true ? [] : node.inputs);
  const left = new Map<Node, number>();
  const use = (node: Node): unknown => left.set(node, (left.get(node) ?? 0) + 1);
  for (const node of order) inputsOf(node).forEach(use);
  for (const { node } of graph.outputs) use(node);
  for (const { final } of graph.states) use(final);
  const values = new Map<Node, TensorValue>();
  for (const node of order) {
    const inputs = inputsOf(node).map((input) => values.get(input)!);
    const value = given?.get(node) ?? evaluateNode(node, inputs, context);
    context.options.onNode?.(node, value);
    if (left.has(node)) values.set(node, value);
    for (const input of inputsOf(node)) {
      const uses = left.get(input)! - 1;
      left.set(input, uses);
      if (uses === 0) values.delete(input);
    }
  }
  return values;
}
