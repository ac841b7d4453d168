/** Windows of signals, and Fourier transforms as products with constant matrices. */
import { matmul } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  concat,
  constantScalar,
  gather,
  literal,
  reshape,
  slice,
  transpose,
} from "../../../ir/build.js";
import type { DType } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { int, isConst } from "../../../scalar/build.js";
import type { Call, Operator } from "../call.js";
import { elemTypeOfDType } from "../wire/elem-type.js";
import { apply, indices } from "./common.js";

/** A window that is a sum of cosines of whole periods. */
const cosineWindow =
  (weights: readonly number[]): Operator =>
  (call) => {
    const { attrs } = call;
    const size = call.number(call.input(0), "the length of a window");
    const code = attrs.int("output_datatype", elemTypeOfDType("f32"));
    const dtype = call.constants.dtypeOf(code, call.where);
    const period = attrs.flag("periodic", true) ? size : size - 1;
    if (size < 0) throw call.error("E_DIM_NEGATIVE", `a window of ${size}`);
    const length = call.listed(size, "the length of a window");
    const values = Array.from({ length }, (_, n) =>
      weights.reduce(
        (sum, weight, k) => sum + weight * Math.cos((2 * Math.PI * k * n) / period),
        0,
      ),
    );
    return literal(call.g, dtype, [size], values);
  };

export const HannWindow = cosineWindow([0.5, -0.5]);
export const HammingWindow = cosineWindow([25 / 46, -21 / 46]);
export const BlackmanWindow = cosineWindow([0.42, -0.5, 0.08]);

/** Points of a transform: its matrix has their square. */
const mostPoints = 4096;

/** The number of points, or an error. */
function pointsOf(call: Call, points: number): number {
  if (points > mostPoints)
    throw call.unsupported(`a Fourier transform of more than ${mostPoints} points`);
  return call.listed(points, "the points of a transform");
}

interface Transform {
  readonly points: number;
  /** Frequencies that are computed. */
  readonly count: number;
  readonly inverse: boolean;
}

/** [points, 2] interleaved times this gives [count, 2] interleaved. */
function fourierMatrix(call: Call, dtype: DType, { points, count, inverse }: Transform): Node {
  const values = new Float64Array(4 * points * count);
  let at = 0;
  const scale = inverse ? 1 / points : 1;
  for (let n = 0; n < points; n++)
    for (const part of [0, 1])
      for (let k = 0; k < count; k++) {
        const angle = ((inverse ? 2 : -2) * Math.PI * ((n * k) % points)) / points;
        const [re, im] = [Math.cos(angle) * scale, Math.sin(angle) * scale];
        values.set(part === 0 ? [re, im] : [-im, re], at);
        at += 2;
      }
  return literal(call.g, dtype, [2 * points, 2 * count], values);
}

/** [..., points, 1 or 2] as [..., points, 2]. */
function complex(call: Call, x: Node): Node {
  const last = x.shape.length - 1;
  if (isConst(x.shape[last]!, 2)) return x;
  if (!isConst(x.shape[last]!, 1)) throw call.error("E_SHAPE", "neither real nor complex numbers");
  return concat(
    call.g,
    [x, broadcastTo(call.g, constantScalar(call.g, x.dtype, 0), x.shape)],
    last,
  );
}

/** Over the axis before the last one. */
function transformed(call: Call, x: Node, transform: Transform): Node {
  const { g } = call;
  const whole = complex(call, x);
  const outer = whole.shape.slice(0, -2);
  const rows = reshape(g, whole, [-1, 2 * transform.points]);
  const product = matmul(g, rows, fourierMatrix(call, x.dtype, transform));
  return reshape(g, product, [...outer, transform.count, 2]);
}

/** The axis cut or filled with zeros to a length. */
function resized(call: Call, x: Node, axis: number, length: number): Node {
  const { g } = call;
  const own = call.extent(x.shape[axis]!, "a signal");
  if (own >= length) return slice(g, x, { axis, start: 0, end: length });
  const rest = x.shape.map((dim, i) => (i === axis ? int(length - own) : dim));
  return concat(g, [x, broadcastTo(g, constantScalar(g, x.dtype, 0), rest)], axis);
}

export function DFT(call: Call): Node {
  const { g, attrs, version } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const given = version >= 20 ? call.optional(2) : undefined;
  const named = version >= 20 ? -2 : attrs.int("axis", 1);
  const axis = call.axis(given === undefined ? named : call.number(given, "the axis"), rank);
  if (axis === rank - 1) throw call.error("E_AXIS", "the last axis holds the parts of a number");
  const [inverse, oneSided] = [attrs.flag("inverse"), attrs.flag("onesided")];
  const length = call.optional(1);
  const own = call.extent(x.shape[axis]!, "a signal");
  const implied = inverse && oneSided ? 2 * (own - 1) : own;
  const points = pointsOf(call, length === undefined ? implied : call.number(length, "the length"));
  const half = Math.floor(points / 2) + 1;
  const order = [
    ...x.shape.map((_, i) => i).filter((i) => i !== axis && i !== rank - 1),
    axis,
    rank - 1,
  ];
  const back = order.map((_, i) => order.indexOf(i));
  const moved = transpose(g, x, order);
  const at = rank - 2;
  if (inverse && oneSided) {
    const full = mirrored(call, resized(call, complex(call, moved), at, half), points);
    const result = transformed(call, full, { points, count: points, inverse });
    return transpose(g, slice(g, result, { axis: rank - 1, start: 0, end: 1 }), back);
  }
  const count = oneSided ? half : points;
  const signal = resized(call, moved, at, points);
  return transpose(g, transformed(call, signal, { points, count, inverse }), back);
}

/** All frequencies of a real signal, from the first half: the others are their conjugates. */
function mirrored(call: Call, x: Node, points: number): Node {
  const { g } = call;
  const [axis, last] = [x.shape.length - 2, x.shape.length - 1];
  const places = Array.from({ length: points }, (_, k) => Math.min(k, points - k));
  const whole = gather(g, x, indices(g, places), axis);
  const signs = places.flatMap((place, k) => [1, place === k ? 1 : -1]);
  const shape = whole.shape.map((_, i) => (i === axis ? points : i === last ? 2 : 1));
  return apply(g, "mul", whole, literal(call.g, x.dtype, shape, signs));
}

/** A transform of each frame of a signal, [batch, length, 1 or 2]. */
export function STFT(call: Call): Node {
  const { g, attrs } = call;
  const [x, window, given] = [call.input(0), call.optional(2), call.optional(3)];
  const signal = x.shape.length === 2 ? reshape(g, x, [...x.shape, 1]) : x;
  if (signal.shape.length !== 3) throw call.error("E_SHAPE", `rank ${x.shape.length}, expected 3`);
  const step = call.number(call.input(1), "the step of frames");
  const length = call.extent(signal.shape[1]!, "a signal");
  const implied = window === undefined ? length : call.extent(window.shape[0]!, "a window");
  const points = pointsOf(
    call,
    given === undefined ? implied : call.number(given, "the length of frames"),
  );
  if (!(step > 0) || points > length)
    throw call.error("E_SHAPE", `frames of ${points} by ${step} in a signal of ${length}`);
  const frames = Math.floor((length - points) / step) + 1;
  const places = Array.from(
    { length: call.listed(frames * points, "elements of frames") },
    (_, i) => Math.floor(i / points) * step + (i % points),
  );
  const [batch, , parts] = signal.shape;
  const cut = gather(g, signal, indices(g, places), 1);
  const apart = reshape(g, cut, [batch!, frames, points, parts!]);
  const weighted =
    window === undefined ? apart : apply(g, "mul", apart, reshape(g, window, [points, 1]));
  const count = attrs.flag("onesided", true) ? Math.floor(points / 2) + 1 : points;
  return transformed(call, weighted, { points, count, inverse: false });
}

/** Triangles of frequencies that the ear tells apart, as [frequencies, triangles]. */
export function MelWeightMatrix(call: Call): Node {
  const { attrs } = call;
  const names = ["the bins", "the transform's length", "the rate", "a frequency", "a frequency"];
  const [bins, points, rate, low, high] = names.map((name, i) =>
    call.number(call.input(i), name),
  ) as [number, number, number, number, number];
  const code = attrs.int("output_datatype", elemTypeOfDType("f32"));
  const dtype = call.constants.dtypeOf(code, call.where);
  const rows = Math.floor(points / 2) + 1;
  if (!(bins >= 0 && rows >= 1)) throw call.error("E_SHAPE", `${bins} bins of ${points} points`);
  call.listed(bins, "the bins");
  const length = call.listed(rows * bins, "weights of frequencies");
  const mel = (hertz: number): number => 2595 * Math.log10(1 + hertz / 700);
  const step = (mel(high) - mel(low)) / (bins + 2);
  const edges = Array.from({ length: bins + 2 }, (_, i) => {
    const hertz = 700 * (10 ** ((i * step + mel(low)) / 2595) - 1);
    return Math.floor(((points + 1) * hertz) / rate);
  });
  const weight = (row: number, bin: number): number => {
    const [left, centre, right] = edges.slice(bin, bin + 3) as [number, number, number];
    if (row === centre) return 1;
    if (row < centre) return row < left ? 0 : (row - left) / (centre - left);
    return row > right ? 0 : (right - row) / (right - centre);
  };
  const values = Array.from({ length }, (_, i) => weight(Math.floor(i / bins), i % bins));
  return literal(call.g, dtype, [rows, bins], values);
}
