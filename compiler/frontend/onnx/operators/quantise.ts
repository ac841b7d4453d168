/** Quantisation: scales and zero points are ordinary values. */
import { dequantize, matmul } from "../../../ir/build-anchor.js";
import { broadcastTo, cast, reshape, slice, unsqueeze } from "../../../ir/build.js";
import { dtypes, isFloat, type DType } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import { ceilDiv, int, isConst, mul, one } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { elemTypeOfDType } from "../wire/elem-type.js";
import { unsaturated } from "./cast.js";
import { apply, reduceKept, scalarLike } from "./common.js";

/** The range of an integer type. */
function boundsOf(dtype: DType): readonly [number, number] {
  const { bits, kind } = dtypes[dtype];
  return kind === "uint" ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** A parameter of the tensor, of each place along `axis`, or of each block, as `x` is shaped. */
function spread(call: Call, parameter: Node, x: Node, axis: number, block: number): Node {
  const { g } = call;
  const { shape } = parameter;
  if (shape.every((dim) => isConst(dim, 1)) && shape.length <= 1) return reshape(g, parameter, []);
  const fail = (): Error =>
    call.error("E_QUANT", `${printShape(shape)} for ${printShape(x.shape)}, axis ${axis}`);
  if (block === 0) {
    if (shape.length !== 1 || shape[0] !== x.shape[axis]) throw fail();
    return reshape(
      g,
      parameter,
      x.shape.map((dim, i) => (i === axis ? dim : one)),
    );
  }
  const blocks = x.shape.map((dim, i) => (i === axis ? ceilDiv(dim, int(block)) : dim));
  if (shape.length !== blocks.length || shape.some((dim, i) => dim !== blocks[i])) throw fail();
  const apart = unsqueeze(g, parameter, [axis + 1]);
  const copies = apart.shape.map((dim, i) => (i === axis + 1 ? int(block) : dim));
  const whole = shape.map((dim, i) => (i === axis ? mul(dim, int(block)) : dim));
  const joined = reshape(g, broadcastTo(g, apart, copies), whole);
  return slice(g, joined, { axis, start: 0, end: x.shape[axis]! });
}

interface Layout {
  readonly axis: number;
  readonly block: number;
}

function layoutOf(call: Call, x: Node, scale: Node): Layout {
  const { attrs, version } = call;
  const block = version >= 21 ? attrs.int("block_size", 0) : 0;
  const axis = version >= 13 ? attrs.int("axis", 1) : 0;
  if (block < 0) throw call.error("E_QUANT", `block_size ${block}`);
  const shared = scale.shape.length <= 1 && scale.shape.every((dim) => isConst(dim, 1));
  return { axis: shared ? 0 : call.axis(axis, x.shape.length), block };
}

function checkPoint(call: Call, point: Node | undefined, dtype: DType): void {
  if (point === undefined || point.dtype === dtype) return;
  throw call.error("E_QUANT", `a zero point of ${point.dtype}, values of ${dtype}`);
}

export function QuantizeLinear(call: Call): Node {
  const { g, attrs, version } = call;
  const [x, scale, point] = [call.input(0), call.input(1), call.optional(2)];
  const layout = layoutOf(call, x, scale);
  const bad = call.host.numbers(scale)?.find((value) => !(value > 0));
  if (bad !== undefined) throw call.error("E_QUANT", `a scale of ${bad}`);
  const named = version >= 21 ? attrs.int("output_dtype", 0) : 0;
  const declared = named === 0 ? undefined : call.constants.dtypeOf(named, call.where);
  const dtype = declared ?? point?.dtype ?? "u8";
  checkPoint(call, point, dtype);
  attrs.ignore("precision");
  const saturates = attrs.flag("saturate", true);
  const type = isFloat(x.dtype) ? x.dtype : scale.dtype;
  const factor = spread(call, scale, x, layout.axis, layout.block);
  const shift = point && spread(call, point, x, layout.axis, layout.block);
  const quotient = rounded(call, apply(g, "div", wide(call, x), wide(call, factor)), type);
  if (!saturates && isFloat(dtype)) return unsaturated(call, quotient, dtype);
  return quantized(call, quotient, shift, dtype);
}

const wide = ({ g }: Call, x: Node): Node => cast(g, x, x.dtype === "f64" ? "f64" : "f32");

/** The quotient that is rounded to a whole number has its own type's digits, and no more. */
const rounded = ({ g }: Call, x: Node, dtype: DType): Node => cast(g, x, dtype);

/** Rounded to nearest even, moved by the zero point and clamped. */
export function quantized(call: Call, x: Node, point: Node | undefined, dtype: DType): Node {
  const { g } = call;
  if (isFloat(dtype)) return cast(g, x, dtype);
  // Whole numbers of 16 bits and more are exact from f32 on.
  const wide = x.dtype === "f64" ? x : cast(g, x, "f32");
  const whole = apply(g, "round", wide);
  const moved = point === undefined ? whole : apply(g, "add", whole, cast(g, point, wide.dtype));
  const [low, high] = boundsOf(dtype);
  const clamped = apply(g, "clip", moved, scalarLike(g, moved, low), scalarLike(g, moved, high));
  return cast(g, cast(g, clamped, "i32"), dtype);
}

export function DequantizeLinear(call: Call): Node {
  const { g, attrs, version } = call;
  const [x, scale, point] = [call.input(0), call.input(1), call.optional(2)];
  const { axis, block } = layoutOf(call, x, scale);
  checkPoint(call, point, x.dtype);
  const code = version >= 23 ? attrs.int("output_dtype", 0) : 0;
  const named = code || elemTypeOfDType(scale.dtype);
  const dtype = call.constants.dtypeOf(named, call.where);
  const zero = point === undefined || call.host.numbers(point)?.every((value) => value === 0);
  if (zero === true && block > 0 && x.shape.length === scale.shape.length)
    return dequantize(g, x, scale, { axis, group: block, dtype });
  const factor = spread(call, scale, x, axis, block);
  if (zero === true && x.shape.length > 0) {
    const each = broadcastTo(g, factor, x.shape);
    return dequantize(g, x, each, { axis, group: 1, dtype });
  }
  const centred =
    point === undefined || isFloat(x.dtype)
      ? cast(g, x, scale.dtype)
      : cast(g, difference(call, x, spread(call, point, x, axis, block)), scale.dtype);
  return cast(g, apply(g, "mul", centred, factor), dtype);
}

/** The difference of small integers, which may need a sign and a bit more. */
export function difference(call: Call, x: Node, point: Node): Node {
  const { g } = call;
  const wide = dtypes[x.dtype].bits >= 32 ? x.dtype : "i32";
  return apply(g, "sub", cast(g, x, wide), cast(g, point, wide));
}

/** To u8, with the scale and zero point of the values' own range. */
export function DynamicQuantizeLinear(call: Call): readonly Node[] {
  const { g } = call;
  const x = call.input(0);
  const zero = scalarLike(g, x, 0);
  const axes = x.shape.map((_, i) => i);
  const extreme = (kind: "max" | "min"): Node =>
    apply(g, kind, reshape(g, reduceKept(g, kind, x, axes), []), zero);
  const [high, low] = [extreme("max"), extreme("min")];
  const scale = apply(g, "div", apply(g, "sub", high, low), scalarLike(g, x, 255));
  const point = quantized(call, apply(g, "div", apply(g, "neg", low), scale), undefined, "u8");
  return [quantized(call, apply(g, "div", x, scale), point, "u8"), scale, point];
}

export function QLinearMatMul(call: Call): Node {
  const { g } = call;
  const [a, b] = [call.input(0), call.input(3)];
  const parameter = (index: number, rows: boolean): Node => {
    const value = call.input(index);
    if (value.shape.every((dim) => isConst(dim, 1))) return reshape(g, value, []);
    return rows && value.shape.length === 1 ? unsqueeze(g, value, [-1]) : value;
  };
  const left = difference(call, a, parameter(2, true));
  const right = difference(call, b, parameter(5, false));
  const sums = cast(g, matmul(g, left, right), "f32");
  const wide = (node: Node): Node => cast(g, node, "f32");
  const factors = apply(g, "mul", wide(parameter(1, true)), wide(parameter(4, false)));
  const scaled = apply(g, "div", apply(g, "mul", sums, factors), wide(parameter(6, true)));
  const point = parameter(7, true);
  return quantized(call, scaled, point, point.dtype);
}
