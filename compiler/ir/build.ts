/**
 * Constructors of nodes, one per operator: the only way that frontends and passes make them. Each
 * computes dtype and shape by the operator's rule and throws a FarrierError that says where.
 */
import { FarrierError } from "../errors.js";
import { add, ceilDiv, constValue, div, int, mul, one, sub, zero } from "../scalar/build.js";
import { writeElements } from "../scalar/elements.js";
import type { Expr } from "../scalar/expr.js";
import type { ScalarFunction } from "../scalar/function.js";
import type { DType } from "./dtype.js";
import type { GraphBuilder, Node, Shape } from "./graph.js";
import type { ConstantSource, OpAttrs, OpName, ReduceKind, ScatterReduction } from "./ops.js";
import { printExpr } from "./print-expr.js";
import { sumOf } from "./rules-base.js";
import { signatureOf } from "./rules.js";
import {
  axisOf,
  broadcastShapes,
  dimExpr,
  elements,
  printShape,
  sameShape,
  shapeOf,
  type Dim,
} from "./shape.js";

const places = new WeakMap<GraphBuilder, string[]>();

/** Runs `body`; errors of nodes that it makes say `where` (a node of the source model). */
export function at<T>(g: GraphBuilder, where: string, body: () => T): T {
  const stack = places.get(g) ?? [];
  places.set(g, stack);
  stack.push(where);
  try {
    return body();
  } finally {
    stack.pop();
  }
}

/** The place that `at` set, or the operator and the names of its inputs. */
function placeOf(g: GraphBuilder, op: string, inputs: readonly Node[]): string {
  const names = inputs.map((input) => g.nameOf(input) ?? input.op);
  return places.get(g)?.at(-1) ?? `${op}(${names.join(", ")})`;
}

interface Free {
  readonly dtype?: DType;
  readonly shape?: Shape;
}

/** Any node, checked: what the named constructors call. */
export function make<O extends OpName>(
  g: GraphBuilder,
  op: O,
  inputs: readonly Node[],
  attrs: OpAttrs[O],
  free: Free = {},
): Node<O> {
  const { dtype, shape } = signatureOf<O>({
    op,
    inputs,
    attrs,
    dtype: free.dtype,
    shape: free.shape,
    // A getter: the text is needed for errors only.
    get where() {
      return placeOf(g, op, inputs);
    },
  });
  return g.node(op, inputs, attrs, dtype, shape);
}

export function input(
  g: GraphBuilder,
  name: string,
  dtype: DType,
  shape: readonly Dim[],
): Node<"input"> {
  const node = make(g, "input", [], { name }, { dtype, shape: shapeOf(shape) });
  g.name(node, name);
  return node;
}

export function constant(
  g: GraphBuilder,
  source: ConstantSource,
  dtype: DType,
  shape: readonly Dim[],
): Node<"constant"> {
  return make(g, "constant", [], { source }, { dtype, shape: shapeOf(shape) });
}

/** The state `name` as this run finds it; `shape` is its capacity. */
export function state(
  g: GraphBuilder,
  name: string,
  dtype: DType,
  shape: readonly Dim[],
): Node<"state"> {
  const node = make(g, "state", [], { name }, { dtype, shape: shapeOf(shape) });
  g.name(node, name);
  return node;
}

/** i64 [shape]: each element is its coordinate along `axis`. */
export function iota(g: GraphBuilder, shape: readonly Dim[], axis = 0): Node<"iota"> {
  return make(g, "iota", [], { axis }, { dtype: "i64", shape: shapeOf(shape) });
}

/** i64 rank 0: the value of a dimension. */
export function dim(g: GraphBuilder, value: Dim): Node<"dim"> {
  return make(g, "dim", [], { value: dimExpr(value) });
}

/** Elementwise, with NumPy broadcasting; inputs of rank 0 stay as they are. */
export function map(g: GraphBuilder, fn: ScalarFunction, inputs: readonly Node[]): Node<"map"> {
  const where = placeOf(g, fn.name, inputs);
  const shape = inputs.reduce(
    (result: Shape, x) => broadcastShapes(result, x.shape, where),
    [] as Shape,
  );
  const aligned = inputs.map((x) => (x.shape.length === 0 ? x : broadcastTo(g, x, shape)));
  return make(g, "map", aligned, { fn });
}

export function cast(g: GraphBuilder, x: Node, dtype: DType): Node {
  return x.dtype === dtype ? x : make(g, "cast", [x], null, { dtype });
}

/** One dimension may be -1: what remains. */
export function reshape(g: GraphBuilder, x: Node, dims: readonly Dim[]): Node {
  const shape = inferDim(dims, x, placeOf(g, "reshape", [x]));
  return sameShape(x.shape, shape) ? x : make(g, "reshape", [x], null, { shape });
}

function inferDim(dims: readonly Dim[], x: Node, where: string): Shape {
  const unknown = dims.indexOf(-1);
  if (unknown < 0) return shapeOf(dims);
  const known = elements(shapeOf(dims.filter((_, axis) => axis !== unknown)));
  const total = elements(x.shape);
  const rest = constValue(known) === 0 ? zero : div(total, known);
  if (constValue(known) === 0 || dims.lastIndexOf(-1) !== unknown || mul(rest, known) !== total)
    throw new FarrierError(
      "E_RESHAPE",
      `${printShape(x.shape)} into ${printShape(shapeOf(dims))}: ` +
        `${printExpr(total)} elements, known dimensions make ${printExpr(known)}`,
      { where },
    );
  return dims.map((each, axis) => (axis === unknown ? rest : dimExpr(each)));
}

/** Axes may count from the end. */
export function transpose(g: GraphBuilder, x: Node, perm: readonly number[]): Node {
  const rank = x.shape.length;
  const axes = perm.map((axis) => (axis < 0 ? axis + rank : axis));
  if (axes.length === rank && axes.every((axis, i) => axis === i)) return x;
  return make(g, "transpose", [x], { perm: axes });
}

export function broadcastTo(g: GraphBuilder, x: Node, dims: readonly Dim[]): Node {
  const shape = shapeOf(dims);
  return sameShape(x.shape, shape) ? x : make(g, "broadcast", [x], null, { shape });
}

/** Adds axes of extent 1 before the axes (of the result) that `axes` lists. */
export function unsqueeze(g: GraphBuilder, x: Node, axes: readonly number[]): Node {
  const rank = x.shape.length + axes.length;
  const where = placeOf(g, "unsqueeze", [x]);
  const fresh = new Set(axes.map((axis) => axisOf(axis, rank, where)));
  if (fresh.size !== axes.length)
    throw new FarrierError("E_AXIS", `axes [${axes.join(", ")}] repeat`, { where });
  const rest = [...x.shape];
  const shape = Array.from({ length: rank }, (_, axis) => (fresh.has(axis) ? one : rest.shift()!));
  return reshape(g, x, shape);
}

export interface SliceRange {
  readonly axis: number;
  /** The first element, inside the axis: clamping is the caller's. */
  readonly start: Dim;
  /** One past the last element in the direction of `step`. */
  readonly end: Dim;
  readonly step?: number;
}

/** A range of one axis; negative steps run backwards from `start`. */
export function slice(g: GraphBuilder, x: Node, range: SliceRange): Node {
  const where = placeOf(g, "slice", [x]);
  const axis = axisOf(range.axis, x.shape.length, where);
  const step = range.step ?? 1;
  if (!Number.isInteger(step) || step === 0)
    throw new FarrierError("E_SLICE_STEP", `step ${step} on axis ${axis}`, { where });
  const [start, end] = [dimExpr(range.start), dimExpr(range.end)];
  const length = step > 0 ? sub(end, start) : sub(start, end);
  const extent = ceilDiv(length, int(Math.abs(step)));
  if (step === 1 && start === zero && extent === x.shape[axis]) return x;
  const starts = x.shape.map((_, i) => (i === axis ? start : zero));
  const steps = x.shape.map((_, i) => (i === axis ? step : 1));
  const shape = x.shape.map((each, i) => (i === axis ? extent : each));
  return make(g, "slice", [x], { starts, steps }, { shape });
}

/** Consecutive parts of `sizes` along `axis`. */
export function split(g: GraphBuilder, x: Node, axis: number, sizes: readonly Dim[]): Node[] {
  const where = placeOf(g, "split", [x]);
  const along = axisOf(axis, x.shape.length, where);
  const total = sumOf(shapeOf(sizes));
  if (total !== x.shape[along])
    throw new FarrierError(
      "E_SPLIT",
      `parts of ${printShape(shapeOf(sizes))} sum to ${printExpr(total)}, ` +
        `axis ${along} is ${printExpr(x.shape[along]!)}`,
      { where },
    );
  let start: Expr = zero;
  return sizes.map((size) => {
    const end = add(start, dimExpr(size));
    const part = slice(g, x, { axis: along, start, end });
    start = end;
    return part;
  });
}

export function concat(g: GraphBuilder, inputs: readonly Node[], axis: number): Node {
  const rank = inputs[0]?.shape.length ?? 0;
  const [only] = inputs;
  const positive = axisOf(axis, Math.max(rank, 1), placeOf(g, "concat", inputs));
  if (inputs.length === 1 && only !== undefined) return only;
  return make(g, "concat", inputs, { axis: positive });
}

/** data with `axis` replaced by the indices' axes; indices count from 0. */
export function gather(g: GraphBuilder, data: Node, indices: Node, axis = 0): Node<"gather"> {
  const positive = axisOf(axis, data.shape.length, placeOf(g, "gather", [data, indices]));
  return make(g, "gather", [data, indices], { axis: positive });
}

export function gatherNd(
  g: GraphBuilder,
  data: Node,
  indices: Node,
  batchDims = 0,
): Node<"gather_nd"> {
  return make(g, "gather_nd", [data, indices], { batchDims });
}

export interface ReduceOptions {
  /** Whether reduced axes stay with extent 1 (default), or go. */
  readonly keep?: boolean;
}

export function reduce(
  g: GraphBuilder,
  kind: ReduceKind,
  x: Node,
  axes: readonly number[],
  options: ReduceOptions = {},
): Node {
  const where = placeOf(g, "reduce", [x]);
  const positive = axes.map((axis) => axisOf(axis, x.shape.length, where)).sort((a, b) => a - b);
  const reduced = positive.length === 0 ? x : make(g, "reduce", [x], { kind, axes: positive });
  if (options.keep !== false) return reduced;
  return reshape(
    g,
    reduced,
    reduced.shape.filter((_, axis) => !positive.includes(axis)),
  );
}

export interface CumsumOptions {
  readonly exclusive?: boolean;
  readonly reverse?: boolean;
}

export function cumsum(
  g: GraphBuilder,
  x: Node,
  axis: number,
  { exclusive = false, reverse = false }: CumsumOptions = {},
): Node<"scan"> {
  return scan(g, "sum", x, axis, { exclusive, reverse });
}

/** Running totals of either kind. */
export function scan(
  g: GraphBuilder,
  kind: "sum" | "prod",
  x: Node,
  axis: number,
  { exclusive = false, reverse = false }: CumsumOptions = {},
): Node<"scan"> {
  const positive = axisOf(axis, x.shape.length, placeOf(g, `running ${kind}`, [x]));
  return make(g, "scan", [x], { kind, axis: positive, exclusive, reverse });
}

/** i64 indices along the axis, the largest (or smallest) first. */
export function topK(
  g: GraphBuilder,
  x: Node,
  axis: number,
  count: number,
  largest = true,
): Node<"top_k"> {
  const positive = axisOf(axis, x.shape.length, placeOf(g, "top_k", [x]));
  return make(g, "top_k", [x], { axis: positive, count, largest });
}

export function scatter(
  g: GraphBuilder,
  data: Node,
  indices: Node,
  updates: Node,
  axis: number,
  reduction: ScatterReduction = "none",
): Node<"scatter"> {
  const positive = axisOf(axis, data.shape.length, placeOf(g, "scatter", [data]));
  return make(g, "scatter", [data, indices, updates], { axis: positive, reduction });
}

export function softmax(g: GraphBuilder, x: Node, axis = -1): Node<"softmax"> {
  const positive = axisOf(axis, x.shape.length, placeOf(g, "softmax", [x]));
  return make(g, "softmax", [x], { axis: positive });
}

export function normalize(
  g: GraphBuilder,
  x: Node,
  kind: "layer" | "rms",
  epsilon: number,
): Node<"normalize"> {
  return make(g, "normalize", [x], { kind, epsilon });
}

/** A constant of values: floats round to nearest even, integers wrap. */
export function literal(
  g: GraphBuilder,
  dtype: DType,
  shape: readonly number[],
  values: ArrayLike<number | bigint | boolean>,
): Node<"constant"> {
  return constant(g, { kind: "literal", data: writeElements(dtype, values) }, dtype, shape);
}

export function constantScalar(
  g: GraphBuilder,
  dtype: DType,
  value: number | bigint | boolean,
): Node<"constant"> {
  return literal(g, dtype, [], [value]);
}
