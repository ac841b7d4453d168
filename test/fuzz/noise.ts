/**
 * How far a correct kernel may be from the exact value of each node: the rounding of its dtype and
 * the error of sums in the order that a kernel takes. Evaluating a graph with noise of that size in
 * every node shows what the whole graph makes of it, whatever its condition: where two values nearly
 * cancel, or lie on the two sides of a comparison, so do those of the perturbed runs.
 */
import { dtypes, isFloat, type DType } from "../../compiler/ir/dtype.js";
import { isNode, type Node } from "../../compiler/ir/graph.js";
import { opTraits } from "../../compiler/ir/traits.js";
import { countOf, type TensorValue } from "../../compiler/ir/tensor.js";
import { roundFloat } from "../../compiler/scalar/round.js";

/** Relative error of one rounding; f64 functions are allowed the 1e-13 of their approximations. */
export function unit(dtype: DType): number {
  return dtype === "f64" ? 2 ** -46 : 2 ** -(dtypes[dtype].mantissa + 1);
}

/** The type in which kernels compute values of a float dtype. */
const arithmetic = (dtype: DType): DType => (dtype === "f64" ? "f64" : "f32");

/** Half of the least positive value: rounding below it is absolute. */
const leastOf = (dtype: DType): number =>
  dtype === "f16" ? 2 ** -25 : dtype === "f64" ? 0 : 2 ** -126;

/** Largest error of a node's elements: of each relatively, and of all absolutely. */
export interface Noise {
  readonly relative: number;
  readonly absolute: number;
  /** Absolute error by row of the last axis, where rows differ. */
  readonly rows?: Float64Array;
}

export type Values = ReadonlyMap<Node, TensorValue>;

/** Errors of a few units: what polynomials and long sums are allowed. */
const units = 8;

const numbers = (x: TensorValue): ArrayLike<number> => x.data as Float64Array;

/** Of the finite elements. */
export function largest(x: TensorValue): number {
  const data = numbers(x);
  let result = 0;
  for (let i = 0; i < data.length; i++) {
    const size = Math.abs(Number(data[i]));
    if (size > result && size < Infinity) result = size;
  }
  return result;
}

function rms(x: TensorValue): number {
  const data = numbers(x);
  let total = 0;
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (Number.isFinite(value)) total += value * value;
  }
  return Math.sqrt(total / Math.max(1, data.length));
}

/** Functions whose result is one of their arguments, or no float at all. */
const choosing = new Set([
  ...["identity", "neg", "abs", "min", "max", "select", "clip", "relu", "sign"],
  ...["floor", "ceil", "round", "trunc", "lt", "le", "gt", "ge", "eq", "ne", "is_nan", "is_inf"],
  "not",
]);
/** Where erf or tanh is all but -1, these are as near as numbers of the size of one are. */
const tailed = new Set(["gelu_erf", "gelu_tanh", "quick_gelu"]);
/** Functions that are exact on integers small enough for the significand. */
const ringlike = new Set(["add", "sub", "mul", "square"]);

/** Whether a node's elements have no error, and are whole numbers. */
export interface Exactness {
  readonly exact: boolean;
  readonly whole: boolean;
}

function isWhole(x: TensorValue): boolean {
  if (!isFloat(x.dtype)) return true;
  const data = numbers(x);
  for (let i = 0; i < data.length; i++) if (!Number.isInteger(data[i]!)) return false;
  return true;
}

function isRepresentable(x: TensorValue): boolean {
  if (!isFloat(x.dtype) || x.dtype === "f64") return true;
  const data = numbers(x);
  for (let i = 0; i < data.length; i++)
    if (!Object.is(roundFloat(data[i]!, x.dtype), data[i]!)) return false;
  return true;
}

const moving = new Set(["gather", "gather_nd", "cache_write", "paged_write"]);

/** Elements of the inputs at other places, and nothing else. */
const isMoved = (node: Node): boolean =>
  opTraits[node.op].view ||
  moving.has(node.op) ||
  (isNode(node, "scatter") && !["add", "mul"].includes(node.attrs.reduction));

/** Sums of products of these whole numbers are exact in any order. */
function sumsAreExact(node: Node, inputs: readonly TensorValue[]): boolean {
  const limit = 2 ** 24;
  const [a, b] = inputs as [TensorValue, TensorValue?];
  if (isNode(node, "matmul") || isNode(node, "expert_matmul"))
    return largest(a) * largest(b!) * a.shape.at(-1)! <= limit;
  if (isNode(node, "scan"))
    return node.attrs.kind === "sum" && largest(a) * a.shape[node.attrs.axis]! <= limit;
  if (!isNode(node, "reduce")) return false;
  const count = node.attrs.axes.reduce((product, axis) => product * a.shape[axis]!, 1);
  if (node.attrs.kind === "sum") return largest(a) * count <= limit;
  return node.attrs.kind === "max" || node.attrs.kind === "min";
}

export function exactness(
  node: Node,
  value: TensorValue,
  inputs: readonly TensorValue[],
  known: readonly Exactness[],
): Exactness {
  const whole = isWhole(value);
  const given = known.every((each) => each.exact);
  const wholes = known.every((each) => each.whole);
  if (node.inputs.length === 0) return { exact: true, whole };
  if (!given) return { exact: false, whole: false };
  if (isMoved(node)) return { exact: true, whole };
  if (isNode(node, "map")) {
    const { name } = node.attrs.fn;
    const sound = choosing.has(name) || (wholes && whole && ringlike.has(name));
    return { exact: (sound || !isFloat(node.dtype)) && isRepresentable(value), whole };
  }
  if (node.op === "cast") return { exact: isRepresentable(value), whole };
  if (isNode(node, "reduce") && ["max", "min"].includes(node.attrs.kind))
    return { exact: true, whole };
  const summed = wholes && sumsAreExact(node, inputs) && isRepresentable(value);
  return { exact: summed || !isFloat(node.dtype), whole: summed && whole };
}

/** Of a sum of `count` products or terms of about `size`. */
const sumNoise = (u: number, count: number, size: number): number =>
  units * u * Math.sqrt(count) * size * 2;

function normalisedRows(x: TensorValue, kind: "layer" | "rms", epsilon: number, u: number): Noise {
  const width = x.shape.at(-1)!;
  const data = numbers(x);
  const rows = new Float64Array(countOf(x.shape.slice(0, -1)));
  for (let row = 0; row < rows.length; row++) {
    let [sum, squares, top] = [0, 0, 0];
    for (let i = row * width; i < (row + 1) * width; i++) {
      sum += data[i]!;
      squares += data[i]! ** 2;
      top = Math.max(top, Math.abs(data[i]!));
    }
    const mean = kind === "layer" ? sum / width : 0;
    const variance = Math.max(0, squares / width - mean ** 2) + epsilon;
    const factor = 1 / Math.sqrt(Math.max(variance, (u * top) ** 2, 1e-30));
    rows[row] = Math.min(2, units * u * top * factor);
  }
  return { relative: units * u, absolute: 0, rows };
}

/** Errors that computing `node` from these inputs may make; null for none. */
export function noiseOf(
  node: Node,
  inputs: readonly TensorValue[],
  exact: boolean,
  /** Only what the arithmetic of a kernel adds: every rounding of the graph is kept. */
  arithmeticOnly: boolean,
): Noise | null {
  if (exact || !isFloat(node.dtype) || node.inputs.length === 0) return null;
  if (isMoved(node)) return null;
  const u = unit(arithmetic(node.dtype));
  const own = arithmeticOnly ? 0 : unit(node.dtype);
  const base = { relative: own + units * u, absolute: arithmeticOnly ? 0 : leastOf(node.dtype) };
  const plus = (absolute: number): Noise => ({ ...base, absolute: base.absolute + absolute });
  const [a, b, c] = inputs as [TensorValue, TensorValue, TensorValue];
  if (isNode(node, "map") && choosing.has(node.attrs.fn.name)) return arithmeticOnly ? null : base;
  if (isNode(node, "map") && tailed.has(node.attrs.fn.name)) return plus(2 ** -40 * largest(a));
  if (isNode(node, "matmul") || isNode(node, "expert_matmul"))
    return plus(sumNoise(u, a.shape.at(-1)!, Math.min(largest(a), 4 * rms(a)) * 4 * rms(b)));
  if (isNode(node, "reduce")) {
    const count = node.attrs.axes.reduce((product, axis) => product * a.shape[axis]!, 1);
    const { kind } = node.attrs;
    if (kind === "sum") return plus(sumNoise(u, count, 2 * rms(a)));
    if (kind === "mean") return plus(sumNoise(u, count, 2 * rms(a)) / Math.max(1, count));
    return kind === "prod" ? { ...base, relative: own + units * u * count } : base;
  }
  if (isNode(node, "scan")) {
    const count = a.shape[node.attrs.axis]!;
    if (node.attrs.kind === "prod") return { ...base, relative: own + units * u * count };
    return plus(units * u * count * rms(a));
  }
  if (isNode(node, "scatter")) {
    const count = b.shape[node.attrs.axis]!;
    if (node.attrs.reduction === "mul") return { ...base, relative: (own + units * u) * count };
    const size = rms(a) + rms(c);
    return plus(sumNoise(u, count + 1, size) + 2 * own * count * size);
  }
  if (isNode(node, "normalize"))
    return {
      ...normalisedRows(a, node.attrs.kind, node.attrs.epsilon, u),
      relative: base.relative,
    };
  if (isNode(node, "softmax"))
    return { ...base, relative: base.relative + u * units * Math.max(1, largest(a)) };
  if (isNode(node, "rotary")) return plus(units * u * largest(a));
  if (isNode(node, "attention")) {
    const score = Math.abs(node.attrs.scale) * largest(a) * largest(b) * a.shape.at(-1)!;
    const error = units * u * (8 + Math.min(score, 100));
    return plus(error * largest(c) + (own > 0 ? own * largest(c) * 0.5 : 0));
  }
  return base;
}

/** Adds noise to a value that nothing else holds, each element its own. */
export function perturb(value: TensorValue, noise: Noise, next: () => number): void {
  const data = value.data as Float64Array;
  const { relative, absolute, rows } = noise;
  const width = value.shape.at(-1) ?? 1;
  for (let i = 0; i < data.length; i++) {
    const x = data[i]!;
    const size = Math.abs(x) * relative + absolute + (rows?.[Math.floor(i / width)] ?? 0);
    if (size !== 0 && Number.isFinite(x)) data[i] = x + (next() * 2 - 1) * size;
  }
}
