/** Normalisations: statistics in the stash type, scale and bias as ordinary operations after them. */
import { broadcastTo, cast, normalize, reshape } from "../../../ir/build.js";
import { dtypes, type DType } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { broadcastsTo, printShape } from "../../../ir/shape.js";
import { one } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { apply, product, reduceKept, scalarLike, widened } from "./common.js";

interface Statistics {
  readonly kind: "layer" | "rms";
  /** Statistics are over all axes from this one on. */
  readonly axis: number;
  readonly epsilon: number;
}

/** `normalize` over the last axes, which it has as one. */
function overTail(call: Call, x: Node, { kind, axis, epsilon }: Statistics): Node {
  const { g } = call;
  const flat = reshape(g, x, [...x.shape.slice(0, axis), product(x.shape.slice(axis))]);
  return reshape(g, normalize(g, flat, kind, epsilon), x.shape);
}

function epsilonOf(call: Call): number {
  const epsilon = call.attrs.float("epsilon", Math.fround(1e-5));
  if (epsilon >= 0 && Number.isFinite(epsilon)) return epsilon;
  throw call.error("E_NORM", `epsilon ${epsilon}`);
}

/** The type of the statistics: at least as wide as `normalize` makes them, or they are cast. */
function stashOf(call: Call, x: Node): DType {
  const stash = call.constants.dtypeOf(call.attrs.int("stash_type", 1), call.where);
  if (stash !== "f32" && stash !== "f64") throw call.unsupported(`statistics in ${stash}`);
  // f32 is what `normalize` computes narrower floats in.
  return stash === "f32" && dtypes[x.dtype].bits <= 32 ? x.dtype : stash;
}

function scaledBy(call: Call, x: Node, scale: Node, bias: Node | undefined): Node {
  const { g } = call;
  for (const each of [scale, bias])
    if (each !== undefined && !broadcastsTo(each.shape, x.shape))
      throw call.error(
        "E_NORM",
        `scale or bias ${printShape(each.shape)} for ${printShape(x.shape)}`,
      );
  call.constants.aroundOne(scale);
  const scaled = apply(g, "mul", x, scale);
  return bias === undefined ? scaled : apply(g, "add", scaled, bias);
}

export function LayerNormalization(call: Call): readonly Node[] {
  const { g, attrs } = call;
  const [x, scale, bias] = [call.input(0), call.input(1), call.optional(2)];
  const axis = call.axis(attrs.int("axis", -1), x.shape.length);
  const [epsilon, stash] = [epsilonOf(call), stashOf(call, x)];
  const normalized = overTail(call, cast(g, x, stash), { kind: "layer", axis, epsilon });
  const y = scaledBy(call, cast(g, normalized, x.dtype), scale, bias);
  if (!call.wants(1) && !call.wants(2)) return [y];
  const wide = cast(g, x, dtypes[stash].bits <= 32 ? "f32" : stash);
  const axes = x.shape.map((_, i) => i).slice(axis);
  const mean = reduceKept(g, "mean", wide, axes);
  const centred = apply(g, "sub", wide, broadcastTo(g, mean, x.shape));
  const variance = reduceKept(g, "mean", apply(g, "mul", centred, centred), axes);
  const inverse = apply(g, "rsqrt", apply(g, "add", variance, scalarLike(g, variance, epsilon)));
  return [y, mean, inverse];
}

export function RMSNormalization(call: Call): Node {
  const { g, attrs } = call;
  const [x, scale] = [call.input(0), call.input(1)];
  const axis = call.axis(attrs.int("axis", -1), x.shape.length);
  const [epsilon, stash] = [epsilonOf(call), stashOf(call, x)];
  const normalized = overTail(call, cast(g, x, stash), { kind: "rms", axis, epsilon });
  return scaledBy(call, cast(g, normalized, x.dtype), scale, undefined);
}

/** A vector over channels, as it broadcasts to [n, channels, …]. */
const perChannel = (call: Call, vector: Node, rank: number): Node =>
  reshape(call.g, vector, [...vector.shape, ...Array.from({ length: rank - 2 }, () => one)]);

export function InstanceNormalization(call: Call): Node {
  const [x, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const rank = x.shape.length;
  if (rank < 3) throw call.error("E_NORM", `rank ${rank}, expected 3 or more`);
  const statistics = { kind: "layer", axis: 2, epsilon: epsilonOf(call) } as const;
  const [s, b] = [scale, bias].map((each) => perChannel(call, each, rank)) as [Node, Node];
  return scaledBy(call, overTail(call, x, statistics), s, b);
}

/** Scale and bias are per channel; before opset 21 they were per group. */
export function GroupNormalization(call: Call): Node {
  const { g, attrs, version } = call;
  const [x, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const groups = attrs.int("num_groups");
  if (groups === undefined) throw attrs.missing("num_groups");
  const [epsilon, stash] = [epsilonOf(call), stashOf(call, x)];
  const [n, channels, ...rest] = x.shape;
  if (n === undefined || channels === undefined) throw call.error("E_NORM", "no channels");
  const grouped = reshape(g, cast(g, x, stash), [n, groups, -1, ...rest]);
  const normalized = overTail(call, grouped, { kind: "layer", axis: 2, epsilon });
  const y = cast(g, normalized, x.dtype);
  if (version < 21) {
    const [s, b] = [scale, bias].map((each) => perChannel(call, each, grouped.shape.length)) as [
      Node,
      Node,
    ];
    return reshape(g, scaledBy(call, y, s, b), x.shape);
  }
  const [s, b] = [scale, bias].map((each) => perChannel(call, each, x.shape.length)) as [
    Node,
    Node,
  ];
  return scaledBy(call, reshape(g, y, x.shape), s, b);
}

/** With the statistics that are given; in training, with the batch's own, which move the others. */
export function BatchNormalization(call: Call): readonly Node[] {
  const { g, attrs } = call;
  const [x, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const rank = x.shape.length;
  attrs.ignore("spatial");
  const trains = attrs.flag("training_mode");
  const momentum = attrs.float("momentum", Math.fround(0.9));
  const epsilon = epsilonOf(call);
  const each = (vector: Node): Node => perChannel(call, cast(g, vector, x.dtype), rank);
  const given = [call.input(3), call.input(4)] as const;
  const [mean, variance] = trains ? batchStatistics(call, x) : given.map(each);
  const inverse = apply(g, "rsqrt", apply(g, "add", variance!, scalarLike(g, x, epsilon)));
  const factor = apply(g, "mul", each(scale), inverse);
  const centred = apply(g, "sub", x, mean!);
  const y = apply(g, "add", apply(g, "mul", centred, factor), each(bias));
  if (!trains) return [y];
  const moved = [mean!, variance!].map((fresh, i) => {
    const old = given[i]!;
    const current = cast(g, reshape(g, fresh, old.shape), old.dtype);
    const kept = apply(g, "mul", old, scalarLike(g, old, momentum));
    return apply(g, "add", kept, apply(g, "mul", current, scalarLike(g, old, 1 - momentum)));
  });
  return [y, ...moved];
}

/** Mean and variance over all axes but the channels'. */
function batchStatistics({ g }: Call, x: Node): [Node, Node] {
  const axes = x.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  const mean = reduceKept(g, "mean", x, axes);
  const centred = apply(g, "sub", x, broadcastTo(g, mean, x.shape));
  return [mean, reduceKept(g, "mean", apply(g, "mul", centred, centred), axes)];
}

export function LpNormalization(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const axis = call.axis(attrs.int("axis", -1), x.shape.length);
  const p = attrs.int("p", 2);
  if (p !== 1 && p !== 2) throw attrs.invalid("p", `expected 1 or 2, found ${p}`);
  return widened(g, x, (wide) => {
    const terms = p === 1 ? apply(g, "abs", wide) : apply(g, "mul", wide, wide);
    const total = reduceKept(g, "sum", terms, [axis]);
    const norm = broadcastTo(g, p === 1 ? total : apply(g, "sqrt", total), wide.shape);
    const none = apply(g, "eq", norm, scalarLike(g, norm, 0));
    return apply(g, "select", none, scalarLike(g, wide, 0), apply(g, "div", wide, norm));
  });
}

export function MeanVarianceNormalization(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const axes = (attrs.ints("axes") ?? [0, 2, 3]).map((axis) => call.axis(axis, x.shape.length));
  const ordered = [...axes].sort((a, b) => a - b);
  return widened(g, x, (wide) => {
    const mean = broadcastTo(g, reduceKept(g, "mean", wide, ordered), wide.shape);
    const centred = apply(g, "sub", wide, mean);
    const variance = reduceKept(g, "mean", apply(g, "mul", centred, centred), ordered);
    const deviation = apply(g, "add", apply(g, "sqrt", variance), scalarLike(g, variance, 1e-9));
    return apply(g, "div", centred, broadcastTo(g, deviation, wide.shape));
  });
}
