/**
 * Convolution and pooling as slices: for each place of the window, the elements that it meets. What
 * is beyond the tensor is a padding of one value.
 */
import {
  broadcastTo,
  concat,
  constantScalar,
  gather,
  iota,
  slice,
  transpose,
} from "../../../ir/build.js";
import { dtypes, isFloat } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { int } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { apply } from "./common.js";

/** A window's walk along the spatial axes, each from axis 2 on. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly before: readonly number[];
  /** Padding behind that the model asks for. */
  readonly after: readonly number[];
  readonly sizes: readonly number[];
  /** Windows along each axis. */
  readonly counts: readonly number[];
}

/** Places of a window that are written out. */
const mostPlaces = 4096;

/** Refuses windows without a place, and with more than are written out. */
export function checkPlaces(call: Call, kernel: readonly number[]): void {
  if (!kernel.every((extent) => extent > 0))
    throw call.error("E_CONV", `a window of [${kernel.join(", ")}]`);
  if (kernel.reduce((a, b) => a * b, 1) > mostPlaces)
    throw call.unsupported(`a window of more than ${mostPlaces} places`);
}

/** @param kernel the window's extents, if the operator takes them from elsewhere */
export function windowOf(call: Call, x: Node, kernel?: readonly number[]): Window {
  const { attrs } = call;
  const sizes = x.shape.slice(2).map((dim) => call.extent(dim, "a spatial axis"));
  const rank = sizes.length;
  const listed = attrs.ints("kernel_shape") ?? kernel;
  if (listed === undefined) throw attrs.missing("kernel_shape");
  if (kernel?.some((extent, i) => extent !== listed[i]) === true)
    throw call.error(
      "E_CONV",
      `kernel_shape [${listed.join(", ")}], weights [${kernel.join(", ")}]`,
    );
  const ones = sizes.map(() => 1);
  const strides = attrs.ints("strides") ?? ones;
  const dilations = attrs.ints("dilations") ?? ones;
  const pads = attrs.ints("pads") ?? [...ones, ...ones].map(() => 0);
  const auto = attrs.choice("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"], "NOTSET");
  const lengths = [listed.length, strides.length, dilations.length, pads.length / 2];
  const legal =
    [...listed, ...strides, ...dilations].every((n) => n > 0) && pads.every((n) => n >= 0);
  if (rank === 0 || lengths.some((length) => length !== rank) || !legal)
    throw call.error("E_CONV", `window, strides, dilations or pads for ${rank} spatial axes`);
  checkPlaces(call, listed);
  const spans = listed.map((extent, i) => (extent - 1) * dilations[i]! + 1);
  const same = sizes.map((size, i) => {
    const count = Math.ceil(size / strides[i]!);
    return Math.max(0, (count - 1) * strides[i]! + spans[i]! - size);
  });
  const [small, large] = [same.map((n) => Math.floor(n / 2)), same.map((n) => Math.ceil(n / 2))];
  const none = ones.map(() => 0);
  const before = { NOTSET: pads.slice(0, rank), SAME_UPPER: small, SAME_LOWER: large, VALID: none }[
    auto
  ];
  const after = { NOTSET: pads.slice(rank), SAME_UPPER: large, SAME_LOWER: small, VALID: none }[
    auto
  ];
  const ceil = attrs.flag("ceil_mode");
  const counts = sizes.map((size, i) => {
    const [first, stride] = [before[i]!, strides[i]!];
    const room = size + first + after[i]! - spans[i]!;
    if (room < 0) throw call.error("E_CONV", `a window of ${spans[i]} on ${size} elements`);
    const count = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
    // A window must begin inside the tensor or before it.
    return ceil && (count - 1) * stride >= size + first ? count - 1 : count;
  });
  return { kernel: listed, strides, dilations, before, after, sizes, counts };
}

/** Every place of the window, in row-major order, as a coordinate. */
export function placesOf({ kernel }: Pick<Window, "kernel">): number[][] {
  return kernel.reduce<number[][]>(
    (places, extent) =>
      places.flatMap((place) => Array.from({ length: extent }, (_, i) => [...place, i])),
    [[]],
  );
}

/** The tensor with as much padding as the windows reach. */
function padded(call: Call, x: Node, window: Window, filler: Node): Node {
  const { g } = call;
  return window.sizes.reduce((part, size, i) => {
    const axis = i + 2;
    const { before, strides, dilations, kernel, counts } = window;
    const reach = (counts[i]! - 1) * strides[i]! + (kernel[i]! - 1) * dilations[i]! + 1;
    const behind = Math.max(0, reach - before[i]! - size);
    const fill = (count: number): Node[] => {
      const shape = part.shape.map((dim, each) => (each === axis ? int(count) : dim));
      return count > 0 ? [broadcastTo(g, filler, shape)] : [];
    };
    return concat(g, [...fill(before[i]!), part, ...fill(behind)], axis);
  }, x);
}

/**
 * What each window meets: [batch, channels, ...kernel, ...counts]. Along each axis an element is named
 * by its place in the window and the window's own, so that no kernel has to ask which place it is at.
 */
export function windowed(call: Call, x: Node, window: Window, fill: number): Node {
  const { g } = call;
  const { kernel, counts, strides, dilations } = window;
  const whole = padded(call, x, window, constantScalar(g, x.dtype, fill));
  const apart = kernel.reduce<Node>((part, extent, i) => {
    const plane = [extent, counts[i]!];
    const number = (value: number): Node => constantScalar(g, "i64", value);
    const place = apply(g, "mul", iota(g, plane, 0), number(dilations[i]!));
    const start = apply(g, "mul", iota(g, plane, 1), number(strides[i]!));
    return gather(g, part, apply(g, "add", place, start), 2 + 2 * i);
  }, whole);
  const axes = kernel.map((_, i) => 2 + 2 * i);
  return transpose(g, apart, [0, 1, ...axes, ...axes.map((axis) => axis + 1)]);
}

/** For each place of the window, what it meets: [batch, channels, ...counts]. */
export function slices(call: Call, x: Node, window: Window, fill: number | Node): Node[] {
  const { g } = call;
  const filler = typeof fill === "number" ? constantScalar(g, x.dtype, fill) : fill;
  const whole = padded(call, x, window, filler);
  return placesOf(window).map((place) =>
    place.reduce((part, index, i) => {
      const [start, step] = [index * window.dilations[i]!, window.strides[i]!];
      const end = start + (window.counts[i]! - 1) * step + 1;
      return slice(g, part, { axis: i + 2, start, end, step });
    }, whole),
  );
}

/** The least value of a type. */
export function lowest(dtype: Node["dtype"]): number {
  if (isFloat(dtype)) return -Infinity;
  const { bits, kind } = dtypes[dtype];
  return kind === "uint" ? 0 : -(2 ** (bits - 1));
}
