/** Pooling: what the places of a window meet, as one number. */
import {
  broadcastTo,
  concat,
  constantScalar,
  iota,
  literal,
  reshape,
  scatter,
  slice,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { printShape, sameShape } from "../../../ir/shape.js";
import { int } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { apply, product, reduceKept, scalarLike, widened } from "./common.js";
import { wrapped } from "./index.js";
import { lowest, slices, windowOf } from "./windows.js";

export function MaxPool(call: Call): readonly Node[] {
  const { g, attrs } = call;
  const x = call.input(0);
  const window = windowOf(call, x);
  const columnMajor = attrs.flag("storage_order");
  const parts = slices(call, x, window, lowest(x.dtype));
  const best = parts.reduce((a, b) => apply(g, "max", a, b));
  if (!call.wants(1)) return [best];
  const places = slices(call, positions(call, x, columnMajor), window, 0);
  let [value, place] = [parts[0]!, places[0]!];
  parts.slice(1).forEach((part, i) => {
    const better = apply(g, "gt", part, value);
    place = apply(g, "select", better, places[i + 1]!, place);
    value = apply(g, "max", value, part);
  });
  return [value, place];
}

/** The offset of each element in the whole tensor. */
function positions(call: Call, x: Node, columnMajor: boolean): Node {
  const { g } = call;
  const axes = x.shape.map((_, axis) => axis);
  const spatial = axes.slice(2);
  const order = columnMajor ? [...axes.slice(0, 2), ...spatial.reverse()] : axes;
  let offset: Node = constantScalar(g, "i64", 0);
  for (const axis of order) {
    const size = constantScalar(g, "i64", call.extent(x.shape[axis]!, "an axis"));
    offset = apply(g, "add", apply(g, "mul", offset, size), iota(g, x.shape, axis));
  }
  return offset;
}

export function AveragePool(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const window = windowOf(call, x);
  const includes = attrs.flag("count_include_pad");
  const total = slices(call, x, window, 0).reduce((a, b) => apply(g, "add", a, b));
  const counts = window.sizes.map((size, i): Node => {
    const { before, after, strides, dilations, kernel } = window;
    const [low, high] = includes
      ? [0, before[i]! + size + after[i]!]
      : [before[i]!, before[i]! + size];
    const [stride, dilation, extent] = [strides[i]!, dilations[i]!, kernel[i]!];
    // The first place of the window at `place` or behind it.
    const from = (n: number, place: number): number =>
      Math.min(extent, Math.max(0, Math.ceil((place - n * stride) / dilation)));
    const count = call.listed(window.counts[i]!, "windows along an axis");
    const met = Array.from({ length: count }, (_, n) => from(n, high) - from(n, low));
    const shape = total.shape.map((_, axis) => (axis === i + 2 ? met.length : 1));
    return literal(g, x.dtype, shape, met);
  });
  return apply(
    g,
    "div",
    total,
    counts.reduce((a, b) => apply(g, "mul", a, b)),
  );
}

const spatialAxes = (x: Node): number[] => x.shape.map((_, axis) => axis).slice(2);

export const GlobalAveragePool = (call: Call): Node =>
  reduceKept(call.g, "mean", call.input(0), spatialAxes(call.input(0)));

export const GlobalMaxPool = (call: Call): Node =>
  reduceKept(call.g, "max", call.input(0), spatialAxes(call.input(0)));

/** The p-th root of the sum of p-th powers. */
function powerSum(call: Call, x: Node, p: number, total: (terms: Node) => Node): Node {
  const { g } = call;
  if (p < 1) throw call.attrs.invalid("p", `expected 1 or more, found ${p}`);
  const sizes = apply(g, "abs", x);
  if (p === 1) return total(sizes);
  if (p === 2) return apply(g, "sqrt", total(apply(g, "mul", x, x)));
  const sum = total(apply(g, "pow", sizes, scalarLike(g, x, p)));
  return apply(g, "pow", sum, scalarLike(g, sum, 1 / p));
}

export function LpPool(call: Call): Node {
  const { g, attrs } = call;
  const p = attrs.int("p", 2);
  return widened(g, call.input(0), (wide) => {
    const window = windowOf(call, wide);
    const met = (terms: Node): Node =>
      slices(call, terms, window, 0).reduce((a, b) => apply(g, "add", a, b));
    return powerSum(call, wide, p, met);
  });
}

export function GlobalLpPool(call: Call): Node {
  const { g, attrs } = call;
  const p = attrs.int("p", 2);
  return widened(g, call.input(0), (wide) =>
    powerSum(call, wide, p, (terms) => reduceKept(g, "sum", terms, spatialAxes(wide))),
  );
}

/** Neighbours whose squares are added up one by one. */
const mostTerms = 4096;

/** Each value over a power of the squares of its neighbours among the channels. */
export function LRN(call: Call): Node {
  const { g, attrs } = call;
  const size = attrs.int("size");
  if (size === undefined) throw attrs.missing("size");
  if (size < 1) throw attrs.invalid("size", `${size}`);
  const [alpha, beta] = [attrs.float("alpha", Math.fround(1e-4)), attrs.float("beta", 0.75)];
  const bias = attrs.float("bias", 1);
  const channels = call.input(0).shape[1];
  if (channels === undefined) throw call.error("E_SHAPE", "no channels");
  call.listed(size, "the channels of a sum", mostTerms);
  return widened(g, call.input(0), (x) => {
    const before = Math.floor((size - 1) / 2);
    const zeros = (count: number): Node[] => {
      const shape = x.shape.map((dim, axis) => (axis === 1 ? int(count) : dim));
      return count === 0 ? [] : [broadcastTo(g, scalarLike(g, x, 0), shape)];
    };
    const squares = apply(g, "mul", x, x);
    const padded = concat(g, [...zeros(before), squares, ...zeros(size - 1 - before)], 1);
    const extent = call.extent(channels, "the channels");
    const total = Array.from({ length: size }, (_, start) =>
      slice(g, padded, { axis: 1, start, end: start + extent }),
    ).reduce((a, b) => apply(g, "add", a, b));
    const scaled = apply(g, "mul", total, scalarLike(g, x, alpha / size));
    const base = apply(g, "add", scaled, scalarLike(g, x, bias));
    return apply(g, "div", x, apply(g, "pow", base, scalarLike(g, x, beta)));
  });
}

/** Values back at the places that a pooling took them from, zeros elsewhere. */
export function MaxUnpool(call: Call): Node {
  const { g, attrs } = call;
  const [x, places, given] = [call.input(0), call.input(1), call.optional(2)];
  const kernel = attrs.ints("kernel_shape");
  if (kernel === undefined) throw attrs.missing("kernel_shape");
  const sizes = x.shape.slice(2).map((dim) => call.extent(dim, "a spatial axis"));
  const strides = attrs.ints("strides") ?? sizes.map(() => 1);
  const pads = attrs.ints("pads") ?? [...sizes, ...sizes].map(() => 0);
  if ([kernel.length, strides.length, pads.length / 2].some((n) => n !== sizes.length))
    throw call.error("E_CONV", `kernel, strides or pads for ${sizes.length} spatial axes`);
  if (!sameShape(x.shape, places.shape))
    throw call.error("E_SHAPE", `indices ${printShape(places.shape)} of ${printShape(x.shape)}`);
  const own = sizes.map(
    (size, i) => (size - 1) * strides[i]! + kernel[i]! - pads[i]! - pads[i + sizes.length]!,
  );
  const shape = [x.shape[0]!, x.shape[1]!, ...own.map(int)];
  const length = product(shape);
  const zeros = broadcastTo(g, scalarLike(g, x, 0), [length]);
  const flat = (each: Node): Node => reshape(g, each, [-1]);
  const at = wrapped(call, flat(places), length);
  const result = reshape(g, scatter(g, zeros, at, flat(x), 0, "none"), shape);
  if (given === undefined) return result;
  const wanted = call.integers(given, "the shape").slice(2);
  return wanted.reduce<Node>((part, dim, i) => {
    const missing = call.extent(dim, "a spatial axis") - own[i]!;
    if (missing < 0) throw call.error("E_SHAPE", `axis ${i + 2} of ${own[i]!} cut short`);
    if (missing === 0) return part;
    const rest = part.shape.map((each, axis) => (axis === i + 2 ? int(missing) : each));
    return concat(g, [part, broadcastTo(g, scalarLike(g, x, 0), rest)], i + 2);
  }, result);
}
