/** Convolutions as one product over the places of the window, and pooling. */
import { matmul } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  constantScalar,
  reshape,
  slice,
  transpose,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import { add, div, int, isConst, mod, mul, one } from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import { maxRank } from "../wire/tensor.js";
import type { Call } from "../call.js";
import { apply, product, scalarLike, widened } from "./common.js";
import { difference, quantized } from "./quantise.js";
import { checkPlaces, slices, windowed, windowOf, type Window } from "./windows.js";

/** Weights [out, in / groups, ...kernel] on [batch, in, ...]. */
function convolved(call: Call, x: Node, weight: Node, window: Window, groups: number): Node {
  const { g } = call;
  const [batch, channels] = [x.shape[0]!, x.shape[1]!];
  const [out, per] = [weight.shape[0]!, weight.shape[1]!];
  const many = int(groups);
  const fits = groups > 0 && isConst(mod(out, many), 0) && mul(per, many) === channels;
  if (!fits)
    throw call.error(
      "E_CONV",
      `weights ${printShape(weight.shape)} in ${groups} groups on ${printShape(x.shape)}`,
    );
  const places = window.kernel.reduce((a, b) => a * b, 1);
  const area = window.counts.reduce((a, b) => a * b, 1);
  const outs = div(out, many);
  if (isConst(per, 1) && places <= mostTerms)
    return reshape(g, summed(call, x, weight, window, outs), [batch, out, ...window.counts]);
  const columns = reshape(g, windowed(call, x, window, 0), [
    batch,
    groups,
    mul(per, int(places)),
    area,
  ]);
  const rows = reshape(g, weight, [1, groups, outs, mul(per, int(places))]);
  return reshape(g, matmul(g, rows, columns), [batch, out, ...window.counts]);
}

/** Places of a window whose products are added up one by one. */
const mostTerms = 64;

/**
 * Where each channel has filters of its own, as [batch, channels, filters, ...counts]. Sums are those
 * of a product: in f32 at least, and rounded once.
 */
function summed(call: Call, x: Node, weight: Node, window: Window, outs: Expr): Node {
  const { g } = call;
  const channels = x.shape[1]!;
  const ones = window.counts.map(() => one);
  return widened(g, x, (wide) => {
    const factors = reshape(g, cast(g, weight, wide.dtype), [1, channels, outs, -1]);
    return slices(call, wide, window, 0)
      .map((part, i) => {
        const factor = slice(g, factors, { axis: 3, start: i, end: i + 1 });
        const each = reshape(g, part, [x.shape[0]!, channels, 1, ...window.counts]);
        return apply(g, "mul", each, reshape(g, factor, [1, channels, outs, ...ones]));
      })
      .reduce((a, b) => apply(g, "add", a, b));
  });
}

/** The window's extents, of weights that have an axis for each of the tensor's. */
function kernelOf(call: Call, x: Node, weight: Node): number[] {
  const { shape } = call.ranked(weight, x.shape.length);
  const kernel = shape.slice(2).map((dim) => call.extent(dim, "a kernel"));
  checkPlaces(call, kernel);
  return kernel;
}

/** [batch, channels, ...], with an axis at least that the window walks along. */
const imageOf = (call: Call): Node => call.ranked(call.input(0), 3, maxRank);

function biased(call: Call, y: Node, bias: Node | undefined): Node {
  if (bias === undefined) return y;
  const shape = y.shape.map((dim, axis) => (axis === 1 ? dim : one));
  return apply(call.g, "add", y, reshape(call.g, bias, shape));
}

export function Conv(call: Call): Node {
  const [x, weight, bias] = [imageOf(call), call.input(1), call.optional(2)];
  const window = windowOf(call, x, kernelOf(call, x, weight));
  return biased(call, convolved(call, x, weight, window, call.attrs.int("group", 1)), bias);
}

export function ConvInteger(call: Call): Node {
  const { g } = call;
  const [x, weight] = [imageOf(call), call.input(1)];
  const [point, points] = [call.optional(2), call.optional(3)];
  const centred = (value: Node, zero: Node | undefined, channels: boolean): Node => {
    const wide = cast(g, value, "i32");
    if (zero === undefined) return wide;
    const own = channels && zero.shape.length === 1;
    const shape = own ? wide.shape.map((_, i) => (i === 0 ? zero.shape[0]! : one)) : [];
    return apply(g, "sub", wide, reshape(g, cast(g, zero, "i32"), shape));
  };
  const window = windowOf(call, x, kernelOf(call, x, weight));
  const groups = call.attrs.int("group", 1);
  return convolved(call, centred(x, point, false), centred(weight, points, true), window, groups);
}

export function QLinearConv(call: Call): Node {
  const { g } = call;
  const [x, weight, bias] = [imageOf(call), call.input(3), call.optional(8)];
  const window = windowOf(call, x, kernelOf(call, x, weight));
  const groups = call.attrs.int("group", 1);
  const perOutput = (value: Node, axis: number): Node => {
    if (value.shape.length === 0) return value;
    const [first] = value.shape;
    return reshape(
      g,
      value,
      x.shape.map((_, i) => (i === axis ? first! : one)),
    );
  };
  const left = difference(call, x, reshape(g, call.input(2), []));
  const right = difference(call, weight, perOutput(call.input(5), 0));
  const sums = biased(call, convolved(call, left, right, window, groups), bias);
  const wide = (value: Node): Node => cast(g, value, "f32");
  const factor = apply(
    g,
    "mul",
    wide(reshape(g, call.input(1), [])),
    wide(perOutput(call.input(4), 1)),
  );
  const scaled = apply(
    g,
    "div",
    apply(g, "mul", wide(sums), factor),
    wide(reshape(g, call.input(6), [])),
  );
  const point = reshape(g, call.input(7), []);
  return quantized(call, scaled, point, point.dtype);
}

/** Zeros between the elements, then a convolution with the kernel turned round. */
export function ConvTranspose(call: Call): Node {
  const { attrs } = call;
  const x = imageOf(call);
  const weight = call.input(1);
  const bias = call.optional(2);
  const groups = attrs.int("group", 1);
  const kernel = kernelOf(call, x, weight);
  const sizes = x.shape.slice(2).map((dim) => call.extent(dim, "a spatial axis"));
  const ones = sizes.map(() => 1);
  const zeros = sizes.map(() => 0);
  attrs.ignore("kernel_shape");
  const strides = attrs.ints("strides") ?? ones;
  const dilations = attrs.ints("dilations") ?? ones;
  const extra = attrs.ints("output_padding") ?? zeros;
  const auto = attrs.choice("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"], "NOTSET");
  const same = auto.startsWith("SAME");
  const wanted =
    attrs.ints("output_shape")?.slice(-sizes.length) ??
    (same ? sizes.map((size, i) => size * strides[i]!) : undefined);
  const pads = attrs.ints("pads") ?? [...zeros, ...zeros];
  const lists = [strides, dilations, extra, wanted ?? zeros, pads.slice(0, pads.length / 2)];
  const legal = lists.every((list) => list.length === sizes.length) && pads.length % 2 === 0;
  if (!legal || [groups, ...strides, ...dilations].some((n) => n < 1))
    throw call.error("E_CONV", `strides, dilations or pads for ${sizes.length} spatial axes`);
  const spans = kernel.map((extent, i) => (extent - 1) * dilations[i]! + 1);
  const full = sizes.map((size, i) => (size - 1) * strides[i]! + spans[i]!);
  const cut = full.map((length, i) => {
    if (wanted === undefined) return [pads[i]!, pads[i + sizes.length]! - extra[i]!] as const;
    const total = length + extra[i]! - wanted[i]!;
    const spare = Math.max(0, total);
    const half = auto === "SAME_LOWER" ? Math.ceil(spare / 2) : Math.floor(spare / 2);
    return [half, total - half - extra[i]!] as const;
  });
  // What is cut off a full correlation is padding that is not there; what is cut beyond it, results.
  const before = spans.map((span, i) => span - 1 - cut[i]![0]);
  const after = spans.map((span, i) => span - 1 - cut[i]![1]);
  const spare = (n: number): number => Math.max(0, -n);
  const spread = sizes.map((size, i) => (size - 1) * strides[i]! + 1);
  const counts = full.map((length, i) => length - cut[i]![0] - cut[i]![1]);
  if (counts.some((count) => count < 1))
    throw call.error("E_CONV", `a result of [${counts.join(", ")}]`);
  const window = {
    kernel,
    strides: ones,
    dilations,
    before: before.map((n) => n + spare(n)),
    after: after.map((n) => n + spare(n)),
    sizes: spread,
    counts: counts.map((count, i) => count + spare(before[i]!) + spare(after[i]!)),
  };
  const whole = convolved(
    call,
    spreadOut(call, x, strides),
    turned(call, weight, groups),
    window,
    groups,
  );
  const y = counts.reduce<Node>((part, count, i) => {
    const start = spare(before[i]!);
    return slice(call.g, part, { axis: i + 2, start, end: start + count });
  }, whole);
  return biased(call, y, bias);
}

/** stride - 1 zeros between neighbours. */
function spreadOut(call: Call, x: Node, strides: readonly number[]): Node {
  const { g } = call;
  return strides.reduce((part, stride, i) => {
    if (stride === 1) return part;
    const axis = i + 2;
    const [before, dim, after] = [
      part.shape.slice(0, axis),
      part.shape[axis]!,
      part.shape.slice(axis + 1),
    ];
    const apart = reshape(g, part, [product(before), dim, 1, product(after)]);
    const gaps = [product(before), dim, int(stride - 1), product(after)];
    const zeros = broadcastTo(g, constantScalar(g, x.dtype, 0), gaps);
    const wide = mul(dim, int(stride));
    const joined = reshape(g, concat(g, [apart, zeros], 2), [...before, wide, ...after]);
    const end = mul(dim, int(stride));
    return slice(g, joined, { axis, start: 0, end: add(end, int(1 - stride)) });
  }, x);
}

/** [in, out / groups, ...] backwards, as [out, in / groups, ...]. */
function turned(call: Call, weight: Node, groups: number): Node {
  const { g } = call;
  const backwards = weight.shape.slice(2).reduce<Node>((part, dim, i) => {
    const last = call.extent(dim, "a kernel") - 1;
    return slice(g, part, { axis: i + 2, start: last, end: -1, step: -1 });
  }, weight);
  const [inner, per, ...kernel] = weight.shape;
  const each = div(inner!, int(groups));
  const apart = reshape(g, backwards, [groups, each, per!, ...kernel]);
  const order = [0, 2, 1, ...kernel.map((_, i) => i + 3)];
  return reshape(g, transpose(g, apart, order), [mul(per!, int(groups)), each, ...kernel]);
}

/** Each channel's own filter over what came before, with the last elements as state. */
export function CausalConvWithState(call: Call): readonly Node[] {
  const { g, attrs } = call;
  const [x, weight, bias, past] = [
    call.ranked(call.input(0), 3),
    call.ranked(call.input(1), 3),
    call.optional(2),
    call.optional(3),
  ];
  const activation = attrs.choice("activation", ["none", "silu", "swish"], "none");
  const [batch, channels] = [x.shape[0]!, x.shape[1]!];
  const reach = kernelOf(call, x, weight)[0]! - 1;
  const zeros = broadcastTo(g, scalarLike(g, x, 0), [batch, channels, int(reach)]);
  const whole = concat(g, [past ?? zeros, x], 2);
  const length = call.extent(x.shape[2]!, "a sequence");
  const kernel = [reach + 1];
  const plain = { strides: [1], dilations: [1], before: [0], after: [0] };
  const window = { ...plain, kernel, sizes: [length + reach], counts: [length] };
  const groups = call.extent(channels, "the channels");
  const y = biased(call, convolved(call, whole, weight, window, groups), bias);
  const state = slice(g, whole, { axis: 2, start: length, end: length + reach });
  return [activation === "none" ? y : apply(g, "silu", y), state];
}
