/** What the operators' functions are written in. */
import {
  cast,
  constantScalar,
  literal,
  map,
  reduce,
  reshape,
  transpose,
} from "../../../ir/build.js";
import { isFloat, isInteger, type DType } from "../../../ir/dtype.js";
import type { GraphBuilder, Node, Shape } from "../../../ir/graph.js";
import type { ReduceKind } from "../../../ir/ops.js";
import { constValue, mul, one } from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import type { PrimitiveName } from "../../../scalar/primitives.js";
import { scalarFunction, type BuiltinName } from "../../../scalar/table.js";
import type { Call, Operator } from "../call.js";

export type FunctionName = PrimitiveName | BuiltinName;

/** A scalar function of nodes; they broadcast. */
export const apply = (g: GraphBuilder, name: FunctionName, ...inputs: readonly Node[]): Node =>
  map(g, scalarFunction(name), inputs);

/** A number in the dtype of `like`. */
export const scalarLike = (g: GraphBuilder, like: Node, value: number): Node =>
  constantScalar(g, like.dtype, value);

/** An operator that is one scalar function of its inputs. */
export const elementwise =
  (name: FunctionName, arity: 1 | 2 | 3 = 1): Operator =>
  (call) =>
    apply(call.g, name, ...Array.from({ length: arity }, (_, i) => call.input(i)));

/**
 * An operator that is a scalar function of its input and of float attributes, which an integer type
 * would cut off.
 * @param takes the types that ONNX defines it on
 */
export const parametric =
  (
    name: FunctionName,
    defaults: Readonly<Record<string, number>>,
    takes: "floats" | "numbers" = "floats",
  ): Operator =>
  (call) => {
    const x = call.input(0);
    if (takes === "floats" && !isFloat(x.dtype))
      throw call.error("E_DTYPE", `${call.node.op} is not defined on ${x.dtype}`);
    const numbers = Object.entries(defaults).map(([key, value]) => call.attrs.float(key, value));
    return apply(call.g, name, x, ...numbers.map((value) => scalarLike(call.g, x, value)));
  };

export const product = (dims: Shape): Expr => dims.reduce((total, dim) => mul(total, dim), one);

/** i64 literals. */
export const indices = (g: GraphBuilder, values: readonly number[]): Node =>
  literal(g, "i64", [values.length], values);

/** Computes in f32 where the type is narrower, so that steps in between do not round. */
export function widened(g: GraphBuilder, x: Node, body: (x: Node) => Node): Node {
  const wide = isFloat(x.dtype) && x.dtype !== "f64" ? "f32" : x.dtype;
  return cast(g, body(cast(g, x, wide)), x.dtype);
}

/** A reduction that keeps its axes, of any type that ONNX reduces. */
export function reduceKept(
  g: GraphBuilder,
  kind: ReduceKind,
  x: Node,
  axes: readonly number[],
): Node {
  if (x.dtype === "bool") return cast(g, reduceKept(g, kind, cast(g, x, "u8"), axes), "bool");
  if (kind !== "mean" || isFloat(x.dtype)) return reduce(g, kind, x, axes);
  const count = axes.reduce((total, axis) => total * (constValue(x.shape[axis]!) ?? NaN), 1);
  return apply(g, "div", reduce(g, "sum", x, axes), scalarLike(g, x, count));
}

/** Swaps the last two axes. */
export function swapLast(g: GraphBuilder, x: Node): Node {
  const axes = x.shape.map((_, axis) => axis);
  return transpose(g, x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
}

/** Adds axes of extent 1 at the front until the rank is `rank`. */
export const padRank = (g: GraphBuilder, x: Node, rank: number): Node =>
  reshape(g, x, [
    ...Array.from({ length: Math.max(0, rank - x.shape.length) }, () => one),
    ...x.shape,
  ]);

/** Axes of an attribute, or of an input from some version on; undefined where there are none. */
export function axesOf(
  call: Call,
  input: number,
  rank: number,
  since: number,
): number[] | undefined {
  const given = call.version >= since ? call.optional(input) : undefined;
  const attribute = call.version < since ? call.attrs.ints("axes") : undefined;
  const axes = given === undefined ? attribute : call.numbers(given, "axes");
  const positive = axes?.map((axis) => call.axis(axis, rank));
  if (new Set(positive).size !== (positive?.length ?? 0))
    throw call.error("E_AXIS", `axes [${axes!.join(", ")}] repeat`);
  return positive;
}

export const isNumber = (dtype: DType): boolean => isFloat(dtype) || isInteger(dtype);
