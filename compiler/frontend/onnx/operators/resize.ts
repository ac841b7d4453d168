/** Resizing: along each axis, every element is a weighted sum of a few that are known places. */
import { gather, literal } from "../../../ir/build.js";
import { isFloat } from "../../../ir/dtype.js";
import { cast } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { Call } from "../call.js";
import { apply, indices, scalarLike, widened } from "./common.js";

const coordinateModes = [
  "half_pixel",
  "half_pixel_symmetric",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
  "tf_half_pixel_for_nn",
  "tf_crop_and_resize",
] as const;
type CoordinateMode = (typeof coordinateModes)[number];

const nearestModes = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] as const;

/** How one axis changes. */
interface Axis {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
  readonly scale: number;
  readonly roi: readonly [number, number];
}

/** Elements that a place takes its value from, and by how much each counts; null for none. */
type Taps = readonly { readonly at: number; readonly weight: number }[] | null;

interface Sampling {
  readonly coordinates: CoordinateMode;
  readonly kind: "nearest" | "linear" | "cubic";
  readonly nearest: (typeof nearestModes)[number];
  readonly cubic: number;
  readonly excludes: boolean;
  readonly antialias: boolean;
}

/** Where the centre of element `i` of the result is in the source. */
const sources: {
  readonly [M in CoordinateMode]: (i: number, axis: Axis) => number;
} = {
  half_pixel: (i, { scale }) => (i + 0.5) / scale - 0.5,
  half_pixel_symmetric: (i, { scale, from, to }) =>
    (from / 2) * (1 - to / (scale * from)) + (i + 0.5) / scale - 0.5,
  pytorch_half_pixel: (i, { scale, from }) => (scale * from === 1 ? -0.5 : (i + 0.5) / scale - 0.5),
  align_corners: (i, { scale, from }) =>
    scale * from === 1 ? 0 : (i * (from - 1)) / (scale * from - 1),
  asymmetric: (i, { scale }) => i / scale,
  tf_half_pixel_for_nn: (i, { scale }) => (i + 0.5) / scale,
  tf_crop_and_resize: (i, { scale, from, roi: [start, end] }) => {
    const length = scale * from;
    const inside =
      length === 1
        ? ((end - start) * (from - 1)) / 2
        : (i * (end - start) * (from - 1)) / (length - 1);
    return start * (from - 1) + inside;
  },
};

const roundings: { readonly [M in Sampling["nearest"]]: (x: number) => number } = {
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

function cubicWeight(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * a * x - 4 * a : 0;
}

function tapsOf(i: number, axis: Axis, sampling: Sampling): Taps {
  const { coordinates, kind, nearest, cubic, excludes, antialias } = sampling;
  const { from, scale } = axis;
  const x = sources[coordinates](i, axis);
  if (coordinates === "tf_crop_and_resize" && (x < 0 || x > from - 1)) return null;
  const inside = (at: number): number => Math.min(from - 1, Math.max(0, at));
  if (kind === "nearest") return [{ at: inside(roundings[nearest](x)), weight: 1 }];
  // Smaller results average over as much of the source as they stand for.
  const stretch = antialias ? Math.min(scale, 1) : 1;
  const radius = (kind === "linear" ? 1 : 2) / stretch;
  const weightAt = (at: number): number => {
    const distance = (at - x) * stretch;
    return kind === "linear" ? Math.max(0, 1 - Math.abs(distance)) : cubicWeight(distance, cubic);
  };
  const [first, last] = [Math.ceil(x - radius), Math.floor(x + radius)];
  const all = Array.from({ length: last - first + 1 }, (_, n) => first + n)
    .map((at) => ({ at, weight: weightAt(at) }))
    .filter(({ at, weight }) => weight !== 0 && (!excludes || inside(at) === at));
  const total = antialias || excludes ? all.reduce((sum, { weight }) => sum + weight, 0) : 1;
  return all.map(({ at, weight }) => ({ at: inside(at), weight: weight / total }));
}

/** Elements along an axis, each of which has a list of those that it is made of. */
const mostResized = 65_536;

/** A tensor with one axis resized; what is outside of the source has the value `outside`. */
function along(call: Call, x: Node, axis: Axis, sampling: Sampling, outside: number): Node {
  const { g } = call;
  call.listed(axis.from, "a resized axis");
  const length = call.listed(axis.to, "the new length of an axis", mostResized);
  const taps = Array.from({ length }, (_, i) => tapsOf(i, axis, sampling));
  const most = taps.reduce((max, each) => Math.max(max, each?.length ?? 0), 0);
  const shape = x.shape.map((_, i) => (i === axis.axis ? axis.to : 1));
  const part = (n: number): Node => {
    const places = taps.map((each) => each?.[n]?.at ?? 0);
    return gather(g, x, indices(g, places), axis.axis);
  };
  const known = taps.map((each) => (each === null ? 0 : 1));
  const plain = taps.every((each) => each?.length === 1 && each[0]!.weight === 1);
  const sum = plain
    ? part(0)
    : Array.from({ length: Math.max(1, most) }, (_, n) => {
        const weights = taps.map((each) => each?.[n]?.weight ?? 0);
        return apply(g, "mul", part(n), literal(g, x.dtype, shape, weights));
      }).reduce((a, b) => apply(g, "add", a, b));
  if (!known.includes(0)) return sum;
  return apply(g, "select", literal(g, "bool", shape, known), sum, scalarLike(g, x, outside));
}

interface Target {
  readonly axes: readonly number[];
  readonly sizes: readonly number[];
  readonly scales: readonly number[];
}

/** Sizes and scales of the listed axes, from whichever of them is given. */
function targetOf(call: Call, x: Node, axes: readonly number[]): Target {
  const { attrs, version } = call;
  const from = axes.map((axis) => call.extent(x.shape[axis]!, "a resized axis"));
  const list = (index: number, what: string): number[] | undefined => {
    const value = call.optional(index);
    const numbers = value === undefined ? [] : call.numbers(value, what);
    return numbers.length === 0 ? undefined : numbers;
  };
  const scales = list(version >= 11 ? 2 : 1, "the scales");
  const sizes = version >= 11 ? list(3, "the sizes") : undefined;
  const given = scales ?? sizes;
  if (given === undefined) throw call.error("E_INPUT_MISSING", "neither scales nor sizes");
  if (given.length !== axes.length || given.some((each) => !(each > 0)))
    throw call.error("E_SHAPE", `[${given.join(", ")}] for ${axes.length} axes`);
  const policies = ["stretch", "not_larger", "not_smaller"] as const;
  const policy = attrs.choice("keep_aspect_ratio_policy", policies, "stretch");
  if (scales !== undefined)
    return { axes, scales, sizes: from.map((dim, i) => Math.floor(dim * scales[i]!)) };
  const ratios = given.map((size, i) => size / from[i]!);
  if (policy === "stretch") return { axes, sizes: given, scales: ratios };
  const ratio = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  const whole = from.map((dim) => Math.floor(ratio * dim + 0.5));
  return { axes, sizes: whole, scales: from.map(() => ratio) };
}

export function Resize(call: Call): Node {
  const { attrs, version } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const axes = (attrs.ints("axes") ?? x.shape.map((_, i) => i)).map((axis) =>
    call.axis(axis, rank),
  );
  const { sizes, scales } = targetOf(call, x, axes);
  const kind = attrs.choice("mode", ["nearest", "linear", "cubic"], "nearest");
  const first: CoordinateMode = version >= 11 ? "half_pixel" : "asymmetric";
  const sampling: Sampling = {
    kind,
    coordinates: attrs.choice("coordinate_transformation_mode", coordinateModes, first),
    nearest: attrs.choice("nearest_mode", nearestModes, version >= 11 ? nearestModes[0] : "floor"),
    cubic: attrs.float("cubic_coeff_a", -0.75),
    excludes: attrs.flag("exclude_outside"),
    antialias: attrs.flag("antialias"),
  };
  const outside = attrs.float("extrapolation_value", 0);
  const regions = version >= 11 ? call.optional(1) : undefined;
  const crops = sampling.coordinates === "tf_crop_and_resize";
  const roi = crops && regions !== undefined ? call.numbers(regions, "the region") : [];
  const each = axes.map((axis, i) => ({
    axis,
    from: call.extent(x.shape[axis]!, "a resized axis"),
    to: sizes[i]!,
    scale: scales[i]!,
    roi: [roi[i] ?? 0, roi[i + axes.length] ?? 1] as const,
  }));
  const moving = each.filter(({ from, to, scale }) => crops || from !== to || scale !== 1);
  const run = (start: Node): Node =>
    moving.reduce((part, axis) => along(call, part, axis, sampling, outside), start);
  if (kind === "nearest" && !crops) return run(x);
  if (isFloat(x.dtype)) return widened(call.g, x, run);
  return cast(call.g, run(cast(call.g, x, "f32")), x.dtype);
}

/** The older name, whose scales are all there is. */
export function Upsample(call: Call): Node {
  const { attrs, version } = call;
  const x = call.input(0);
  const scales =
    version >= 9 ? call.numbers(call.input(1), "the scales") : [...(attrs.floats("scales") ?? [])];
  if (scales.length !== x.shape.length || scales.some((scale) => !(scale >= 1)))
    throw call.error("E_SHAPE", `scales [${scales.join(", ")}] for ${x.shape.length} axes`);
  const kind = attrs.choice("mode", ["nearest", "linear", "bilinear"], "nearest");
  const sampling: Sampling = {
    kind: kind === "nearest" ? "nearest" : "linear",
    coordinates: "asymmetric",
    nearest: "floor",
    cubic: 0,
    excludes: false,
    antialias: false,
  };
  return scales.reduce<Node>((part, scale, axis) => {
    const from = call.extent(x.shape[axis]!, "a resized axis");
    const to = Math.floor(from * scale);
    if (to === from) return part;
    return along(call, part, { axis, from, to, scale, roi: [0, 1] }, sampling, 0);
  }, x);
}
