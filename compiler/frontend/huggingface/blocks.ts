/**
 * The vocabulary in which families are written. Each block rounds where transformers' eager code
 * rounds: once at the end of a product with its bias and of a LayerNorm, twice in an RMSNorm.
 */
import { matmul } from "../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  constant,
  gather,
  gatherNd,
  map,
  normalize,
  reshape,
  slice,
  split,
  transpose,
} from "../../ir/build.js";
import type { DType } from "../../ir/dtype.js";
import type { Node } from "../../ir/graph.js";
import { constValue, one, sub } from "../../scalar/build.js";
import { writeElements } from "../../scalar/elements.js";
import { primitive } from "../../scalar/primitives.js";
import { builtin } from "../../scalar/table.js";
import type { Activation } from "./activations.js";
import { blockScaled } from "./quantised.js";
import type { RowOptions, Scope } from "./scope.js";
import type { Random } from "./weights.js";

const spread: Random = { scale: 0.02, shift: 0 };
const aroundOne: Random = { scale: 0.02, shift: 1 };

/** Names a value after the module that makes it. */
export function named(s: Scope, name: string, node: Node): Node {
  s.g.name(node, name);
  return node;
}

export const widthOf = (x: Node): number => constValue(x.shape[x.shape.length - 1]!)!;

/** The value in f32, where sums are taken before they are rounded. */
export const wide = (s: Scope, x: Node): Node => cast(s.g, x, "f32");

/** A tensor of the checkpoint in the model's arithmetic, as `model.to(dtype)` has it. */
export function weight(s: Scope, name: string, shape: readonly number[], random = spread): Node {
  const scales = s.weights.scalesOf(name);
  const stored =
    scales === null
      ? s.weights.tensor(name, shape, random)
      : reshape(s.g, blockScaled(s, [name], shape, scales), shape);
  return cast(s.g, stored, s.dtype);
}

/** Numbers that the frontend computed. */
export function literal(
  s: Scope,
  dtype: DType,
  shape: readonly number[],
  values: Float64Array,
): Node {
  return constant(s.g, { kind: "literal", data: writeElements(dtype, values) }, dtype, shape);
}

export const add = (s: Scope, a: Node, b: Node): Node => map(s.g, primitive("add"), [a, b]);
export const multiply = (s: Scope, a: Node, b: Node): Node => map(s.g, primitive("mul"), [a, b]);

/** With a number that keeps its f32 value beside narrower tensors, as Python's numbers do in torch. */
function withNumber(s: Scope, fn: "mul" | "div", x: Node, value: number): Node {
  const number = literal(s, "f32", [], Float64Array.of(value));
  return cast(s.g, map(s.g, primitive(fn), [wide(s, x), number]), s.dtype);
}

export const scaled = (s: Scope, x: Node, factor: number): Node => withNumber(s, "mul", x, factor);
export const divided = (s: Scope, x: Node, divisor: number): Node =>
  withNumber(s, "div", x, divisor);

/** Between minus and plus `cap`: cap · tanh(x / cap). */
export const softCap = (s: Scope, x: Node, cap: number): Node =>
  scaled(s, map(s.g, builtin("tanh"), [divided(s, x, cap)]), cap);

/** An activation function, computed in f32 and rounded once. */
export function activate(s: Scope, activation: Activation, x: Node): Node {
  const { fn, constants } = activation;
  if (fn === null) return x;
  if (constants.length === 0) return map(s.g, fn, [x]);
  const literals = constants.map((each) => literal(s, "f32", [], Float64Array.of(each)));
  return cast(s.g, map(s.g, fn, [wide(s, x), ...literals]), s.dtype);
}

export interface LinearOptions {
  readonly outputs: number;
  readonly bias: boolean;
  /** How the weight is stored: [outputs, inputs], torch's Linear (default), or its transpose. */
  readonly layout?: "out-in" | "in-out";
}

/** x · W + b for x [tokens, inputs]: [tokens, outputs]. */
export function linear(s: Scope, x: Node, name: string, options: LinearOptions): Node {
  const { outputs, bias, layout = "out-in" } = options;
  const shape = [widthOf(x), outputs];
  const stored = weight(s, `${name}.weight`, layout === "in-out" ? shape : shape.reverse());
  const w = layout === "in-out" ? stored : transpose(s.g, stored, [1, 0]);
  return product(s, x, w, bias ? weight(s, `${name}.bias`, [outputs]) : null, name);
}

/** x · W + b for W [inputs, outputs], rounded once. */
function product(s: Scope, x: Node, w: Node, bias: Node | null, name: string): Node {
  if (bias === null) return named(s, name, matmul(s.g, x, w));
  const sum = add(s, matmul(s.g, wide(s, x), wide(s, w)), wide(s, bias));
  return named(s, name, cast(s.g, sum, s.dtype));
}

export interface StackedOptions {
  /** Extents of the stacked weight before its inputs: their product is the outputs'. */
  readonly stack: readonly number[];
  readonly bias: boolean;
  /** Rearranges the weight [...stack, inputs], and the bias [...stack]. */
  readonly arrange: (stacked: Node) => Node;
}

/** A product with a weight that is several weights, put into another order when it is bound. */
export function stackedLinear(s: Scope, x: Node, name: string, options: StackedOptions): Node {
  const { stack, bias, arrange } = options;
  const [inputs, outputs] = [widthOf(x), stack.reduce((a, b) => a * b, 1)];
  const stored = weight(s, `${name}.weight`, [outputs, inputs]);
  const arranged = arrange(reshape(s.g, stored, [...stack, inputs]));
  const w = transpose(s.g, reshape(s.g, arranged, [outputs, inputs]), [1, 0]);
  if (!bias) return product(s, x, w, null, name);
  const b = reshape(s.g, weight(s, `${name}.bias`, [outputs]), stack);
  return product(s, x, w, reshape(s.g, arrange(b), [outputs]), name);
}

export interface LayerNormOptions {
  readonly epsilon: number;
  /** Whether it has a scale and a shift (default). */
  readonly affine?: boolean;
}

/** Statistics, scale and shift in f32. */
export function layerNorm(s: Scope, x: Node, name: string, options: LayerNormOptions): Node {
  const normal = normalize(s.g, wide(s, x), "layer", options.epsilon);
  if (options.affine === false) return named(s, name, cast(s.g, normal, s.dtype));
  const scale = wide(s, weight(s, `${name}.weight`, [widthOf(x)], aroundOne));
  const shift = wide(s, weight(s, `${name}.bias`, [widthOf(x)]));
  return named(s, name, cast(s.g, add(s, multiply(s, normal, scale), shift), s.dtype));
}

/** Statistics in f32, rounded before the scale. */
export function rmsNorm(s: Scope, x: Node, name: string, epsilon: number): Node {
  const normal = cast(s.g, normalize(s.g, wide(s, x), "rms", epsilon), s.dtype);
  return named(s, name, multiply(s, normal, weight(s, `${name}.weight`, [widthOf(x)], aroundOne)));
}

/** The stored scale counts from one; statistics and scale in f32. */
export function offsetRmsNorm(s: Scope, x: Node, name: string, epsilon: number): Node {
  const one = literal(s, "f32", [], Float64Array.of(1));
  const scale = add(s, one, wide(s, weight(s, `${name}.weight`, [widthOf(x)])));
  const normal = normalize(s.g, wide(s, x), "rms", epsilon);
  return named(s, name, cast(s.g, multiply(s, normal, scale), s.dtype));
}

/** The rows of `table` that the entry's ids name: [tokens, width]. */
export function embedding(s: Scope, table: Node): Node {
  return gather(s.g, table, reshape(s.g, s.inputs.ids, [s.tokens]));
}

/** The rows of `table` that the ids' types name, the first where there are none: [tokens, width]. */
export function typeEmbedding(s: Scope, table: Node): Node {
  const { types } = s.inputs;
  if (types !== undefined) return gather(s.g, table, reshape(s.g, types, [s.tokens]));
  const first = slice(s.g, table, { axis: 0, start: 0, end: 1 });
  return broadcastTo(s.g, first, [s.tokens, widthOf(table)]);
}

/** The rows of `table` [positions, width] at the ids' positions: [tokens, width]. */
export function positionEmbedding(s: Scope, table: Node, options: RowOptions = {}): Node {
  const width = widthOf(table);
  const rows = broadcastTo(s.g, s.rows(table, options), [s.batch, s.seq, width]);
  return reshape(s.g, rows, [s.tokens, width]);
}

export interface MlpOptions {
  readonly inner: number;
  readonly activation: Activation;
  readonly bias: boolean;
}

export interface GatedNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** down(activation(gate(x)) · up(x)) */
export function gatedMlp(s: Scope, x: Node, names: GatedNames, options: MlpOptions): Node {
  const inwards = { outputs: options.inner, bias: options.bias };
  const gate = activate(s, options.activation, linear(s, x, names.gate, inwards));
  const product = multiply(s, gate, linear(s, x, names.up, inwards));
  return linear(s, product, names.down, { outputs: widthOf(x), bias: options.bias });
}

export interface MergedNames {
  /** One weight: the gate's outputs, then those of up. */
  readonly gateUp: string;
  readonly down: string;
}

/** As `gatedMlp`, for two weights that are stored as one. */
export function mergedMlp(s: Scope, x: Node, names: MergedNames, options: MlpOptions): Node {
  const { inner, activation, bias } = options;
  const both = linear(s, x, names.gateUp, { outputs: 2 * inner, bias });
  const [gate, up] = split(s.g, both, 1, [inner, inner]) as [Node, Node];
  const value = multiply(s, activate(s, activation, gate), up);
  return linear(s, value, names.down, { outputs: widthOf(x), bias });
}

export interface PlainNames {
  readonly up: string;
  readonly down: string;
}

/** down(activation(up(x))) */
export function mlp(
  s: Scope,
  x: Node,
  names: PlainNames,
  options: MlpOptions & Pick<LinearOptions, "layout">,
): Node {
  const { inner, activation, ...rest } = options;
  const hidden = activate(s, activation, linear(s, x, names.up, { ...rest, outputs: inner }));
  return linear(s, hidden, names.down, { ...rest, outputs: widthOf(x) });
}

export interface Heads {
  /** Of queries; a multiple of those of keys and values. */
  readonly query: number;
  readonly keyValue: number;
  /** Elements of a head. */
  readonly size: number;
}

/** [tokens, heads · size] as [batch, heads, seq, size], each head by way of `each` if given. */
export function splitHeads(
  s: Scope,
  x: Node,
  heads: number,
  each: (head: Node) => Node = (head) => head,
): Node {
  const apart = reshape(s.g, x, [s.batch, s.seq, heads, widthOf(x) / heads]);
  return transpose(s.g, each(apart), [0, 2, 1, 3]);
}

/** Queries, keys and values that are columns of one product: [batch, heads, seq, size] each. */
export function splitQkv(
  s: Scope,
  qkv: Node,
  { query, keyValue, size }: Heads,
): [Node, Node, Node] {
  const counts = [query, keyValue, keyValue];
  const sizes = counts.map((count) => count * size);
  const parts = split(s.g, qkv, 1, sizes);
  return parts.map((part, i) => splitHeads(s, part, counts[i]!)) as [Node, Node, Node];
}

/** [batch, heads, seq, size] as [tokens, heads · size]. */
export function mergeHeads(s: Scope, x: Node): Node {
  return reshape(s.g, transpose(s.g, x, [0, 2, 1, 3]), [s.tokens, -1]);
}

export interface HeadOptions {
  readonly name: string;
  readonly vocabulary: number;
  /** Whether the table of embeddings is the head's weight, and which it is. */
  readonly tied: boolean;
  readonly embeddings: string;
}

/** Scores of every id: [rows, vocabulary]. */
export function head(s: Scope, x: Node, options: HeadOptions): Node {
  const { name, vocabulary, tied, embeddings } = options;
  const own = `${name}.weight`;
  // As transformers: a checkpoint that has both ties them only if they are equal.
  if (!tied || (s.weights.inFiles(own) && !s.weights.same(own, embeddings)))
    return linear(s, x, name, { outputs: vocabulary, bias: false });
  s.weights.leave(own);
  const table = weight(s, embeddings, [vocabulary, widthOf(x)]);
  return named(s, name, matmul(s.g, x, transpose(s.g, table, [1, 0])));
}

/** The hidden value of each sequence's last id, [batch, width]: all that a next id needs. */
export function lastOfEach(s: Scope, x: Node): Node {
  const width = widthOf(x);
  const sequences = reshape(s.g, x, [s.batch, s.seq, width]);
  const place = s.lastStep();
  if (place !== null) return gatherNd(s.g, sequences, reshape(s.g, place, [s.batch, 1]), 1);
  const last = slice(s.g, sequences, { axis: 1, start: sub(s.seq, one), end: s.seq });
  return reshape(s.g, last, [s.batch, width]);
}
