/** Sizes as values, and tensors made from sizes. */
import {
  broadcastTo,
  cast,
  constant,
  constantScalar,
  iota,
  literal,
  reshape,
} from "../../../ir/build.js";
import { isFloat, type DType } from "../../../ir/dtype.js";
import type { Node, Shape as Dims } from "../../../ir/graph.js";
import { elements } from "../../../ir/shape.js";
import { ceilDiv, constValue, int, isConst, max, sub, zero } from "../../../scalar/build.js";
import { isOp, type Expr } from "../../../scalar/expr.js";
import { rangeOf } from "../../../scalar/range.js";
import type { Call } from "../call.js";
import { dimensions } from "../host-values.js";
import { elemTypeOfDType } from "../wire/elem-type.js";
import { apply } from "./common.js";

export function Shape(call: Call): Node {
  const { shape } = call.input(0);
  const rank = shape.length;
  const clamp = (axis: number): number =>
    Math.min(rank, Math.max(0, axis < 0 ? axis + rank : axis));
  const start = clamp(call.attrs.int("start", 0));
  const end = clamp(call.attrs.int("end", rank));
  const dims = shape.slice(start, Math.max(start, end));
  return dimensions(call.g, dims);
}

export function Size(call: Call): Node {
  return dimensions(call.g, [elements(call.input(0).shape)], 0);
}

/** Constants of every form. */
export function Constant(call: Call): Node {
  const { g, attrs, node } = call;
  const name = node.outputs[0] ?? "";
  const tensor = attrs.tensor("value");
  if (tensor !== undefined) return call.constants.node(tensor, name);
  const float = attrs.float("value_float");
  if (float !== undefined) return constantScalar(g, "f32", float);
  const whole = attrs.bigint("value_int");
  if (whole !== undefined) return constantScalar(g, "i64", whole);
  const floats = attrs.floats("value_floats");
  if (floats !== undefined) return literal(g, "f32", [floats.length], floats);
  const wholes = attrs.bigints("value_ints");
  if (wholes !== undefined) return literal(g, "i64", [wholes.length], wholes);
  const other = ["value_string", "value_strings", "sparse_value"].find((each) => attrs.has(each));
  if (other === undefined) throw attrs.missing("value");
  throw call.error("E_TYPE_UNSUPPORTED", `a constant by "${other}"`);
}

export function ConstantOfShape(call: Call): Node {
  const { g, attrs } = call;
  const shape = call.limit(shapeFrom(call, call.integers(call.input(0), "the shape")));
  const tensor = attrs.tensor("value");
  if (tensor === undefined) return broadcastTo(g, constantScalar(g, "f32", 0), shape);
  const count = tensor.shape.reduce((total, dim) => total * dim, 1);
  if (count !== 1) throw attrs.invalid("value", `expected one element, found ${count}`);
  const { dtype, data } = tensor;
  if (dtype === null) throw call.error("E_TYPE_UNSUPPORTED", `a value of type ${tensor.elemType}`);
  const value = constant(g, { kind: "literal", data: data.bytes().slice() }, dtype, []);
  return broadcastTo(g, value, shape);
}

/** Sizes that must not be negative. */
function shapeFrom(call: Call, dims: readonly Expr[]): Dims {
  const bad = dims.find((dim) => rangeOf(dim).max < 0);
  if (bad !== undefined) throw call.error("E_DIM_NEGATIVE", `a dimension of ${rangeOf(bad).max}`);
  if (dims.some((dim) => isOp(dim, "const") && constValue(dim) === null))
    throw call.error("E_LIMIT_CONST", "a dimension beyond 2^53");
  return dims;
}

/** start, start + delta, … below limit. */
export function Range(call: Call): Node {
  const [start, limit, delta] = [call.input(0), call.input(1), call.input(2)];
  if (isFloat(start.dtype)) return floatRange(call, [start, limit, delta]);
  const { g } = call;
  const [first, end, step] = [start, limit, delta].map((each) =>
    call.integer(each, "a bound of the range"),
  ) as [Expr, Expr, Expr];
  const stride = call.extent(step, "a step");
  if (stride === 0) throw call.error("E_RANGE", "a step of 0");
  const span = stride > 0 ? sub(end, first) : sub(first, end);
  const count = max(zero, ceilDiv(span, int(Math.abs(stride))));
  const steps = iota(g, call.limit([count]));
  const scaled = stride === 1 ? steps : apply(g, "mul", steps, constantScalar(g, "i64", stride));
  const from = dimensions(g, [first], 0);
  const values = isConst(first, 0) ? scaled : apply(g, "add", scaled, from);
  return cast(g, values, start.dtype);
}

function floatRange(call: Call, bounds: readonly Node[]): Node {
  const { g } = call;
  const [first, end, step] = bounds.map((each) => call.number(each, "a bound of the range")) as [
    number,
    number,
    number,
  ];
  if (!(Math.abs(step) > 0)) throw call.error("E_RANGE", `a step of ${step}`);
  const count = Math.max(0, Math.ceil((end - first) / step));
  const { dtype } = bounds[0]!;
  const steps = cast(g, iota(g, call.limit([int(count)])), dtype);
  const [from, stride] = [constantScalar(g, dtype, first), constantScalar(g, dtype, step)];
  return apply(g, "add", apply(g, "mul", steps, stride), from);
}

/** Ones on a diagonal. */
export function EyeLike(call: Call): Node {
  const { g, attrs } = call;
  const { shape, dtype: own } = call.input(0);
  if (shape.length !== 2) throw call.error("E_SHAPE", `rank ${shape.length}, expected 2`);
  const dtype = call.constants.dtypeOf(attrs.int("dtype", elemTypeOfDType(own)), call.where);
  const diagonal = constantScalar(g, "i64", attrs.int("k", 0));
  const wanted = apply(g, "add", iota(g, shape, 0), diagonal);
  return cast(g, apply(g, "eq", wanted, iota(g, shape, 1)), dtype);
}

/** The part of each matrix on one side of a diagonal, zeros elsewhere. */
export function Trilu(call: Call): Node {
  const { g } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const upper = call.attrs.flag("upper", true);
  const given = call.optional(1);
  if (rank < 2) throw call.error("E_SHAPE", `rank ${rank}, expected 2 or more`);
  const plane = x.shape.slice(-2);
  const shift = given === undefined ? constantScalar(g, "i64", 0) : scalarOf(call, given);
  const diagonal = apply(g, "add", iota(g, plane, 0), shift);
  const kept = apply(g, upper ? "le" : "ge", diagonal, iota(g, plane, 1));
  return apply(g, "select", kept, x, zeroOf(call, x.dtype));
}

const scalarOf = (call: Call, x: Node): Node => {
  const value = call.host.elements(x);
  return value?.length === 1 ? dimensions(call.g, value, 0) : reshape(call.g, x, []);
};

const zeroOf = (call: Call, dtype: DType): Node => constantScalar(call.g, dtype, 0);
