/** Elements that other tensors choose. */
import {
  broadcastTo,
  cast,
  concat,
  constantScalar,
  dim,
  gather,
  gatherNd,
  iota,
  literal,
  reshape,
  unsqueeze,
} from "../../../ir/build.js";
import { dtypes, isFloat } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import { stridesOf } from "../../../ir/tensor.js";
import { constValue, int, one } from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import type { Call } from "../call.js";
import { dimensions } from "../host-values.js";
import { apply, indices, reduceKept, scalarLike } from "./common.js";

export function Gather(call: Call): Node {
  const [data, chosen] = [call.input(0), call.input(1)];
  const axis = call.axis(call.attrs.int("axis", 0), data.shape.length);
  return gather(call.g, data, wrapped(call, chosen, data.shape[axis]!), axis);
}

/** Negative indices count from the end; those that are known are checked here. */
export function wrapped(call: Call, chosen: Node, extent: Expr): Node {
  const { g, host } = call;
  checkKnown(call, chosen, extent);
  if (dtypes[chosen.dtype].kind !== "int" || host.nonNegative(chosen)) return chosen;
  const size = cast(g, dimensions(g, [extent], 0), chosen.dtype);
  const negative = apply(g, "lt", chosen, scalarLike(g, chosen, 0));
  return apply(g, "select", negative, apply(g, "add", chosen, size), chosen);
}

function checkKnown(call: Call, chosen: Node, extent: Expr): void {
  const size = constValue(extent);
  const values = size === null ? null : call.host.numbers(chosen);
  const bad = values?.find((value) => value < -size! || value >= size!);
  if (bad !== undefined) throw call.error("E_INDEX", `index ${bad} of an axis of ${size}`);
}

export function GatherElements(call: Call): Node {
  const [data, chosen] = [call.input(0), call.input(1)];
  const rank = data.shape.length;
  const axis = call.axis(call.attrs.int("axis", 0), rank);
  if (chosen.shape.length !== rank)
    throw call.error("E_GATHER", `${printShape(chosen.shape)} into ${printShape(data.shape)}`);
  return elementsAlong(call, data, wrapped(call, chosen, data.shape[axis]!), axis);
}

/** The elements of `data` with `along` in place of their coordinate along `axis`. */
export function elementsAlong(call: Call, data: Node, along: Node, axis: number): Node {
  const { g } = call;
  if (data.shape.length === 1) return gather(g, data, along, 0);
  return gatherNd(g, data, tuples(call, along, axis));
}

/** The coordinates of each element of `along`, with its value in place of that of `axis`. */
function tuples(call: Call, along: Node, axis: number): Node {
  const { g } = call;
  const wide = cast(g, along, "i64");
  const parts = along.shape.map((_, i) => (i === axis ? wide : iota(g, along.shape, i)));
  return concat(
    g,
    parts.map((part) => unsqueeze(g, part, [-1])),
    -1,
  );
}

/** Tuples of indices that are known, each against the axis that it indexes. */
export function checkTuples(call: Call, chosen: Node, extents: readonly Expr[]): void {
  call.host.numbers(chosen)?.forEach((value, i) => {
    const size = constValue(extents[i % extents.length] ?? one);
    if (size !== null && (value < -size || value >= size))
      throw call.error("E_INDEX", `index ${value} of an axis of ${size}`);
  });
}

export function GatherND(call: Call): Node {
  const { g, host } = call;
  const [data, chosen] = [call.input(0), call.input(1)];
  const batch = call.attrs.int("batch_dims", 0);
  const count = call.extent(chosen.shape.at(-1) ?? one, "an index tuple");
  const extents = data.shape.slice(batch, batch + count);
  checkTuples(call, chosen, extents);
  if (host.nonNegative(chosen)) return gatherNd(g, data, chosen, batch);
  const sizes = cast(g, dimensions(g, extents), chosen.dtype);
  const negative = apply(g, "lt", chosen, scalarLike(g, chosen, 0));
  const counted = apply(g, "select", negative, apply(g, "add", chosen, sizes), chosen);
  return gatherNd(g, data, counted, batch);
}

/** Ones where the coordinate along a new axis is the index, as any two values. */
export function OneHot(call: Call): Node {
  const { g } = call;
  const [given, depth, values] = [call.input(0), call.input(1), call.input(2)];
  const chosen = isFloat(given.dtype) ? cast(g, given, "i64") : given;
  const size = isFloat(depth.dtype)
    ? int(call.number(depth, "the depth"))
    : call.integer(depth, "the depth");
  const rank = chosen.shape.length + 1;
  const axis = call.axis(call.attrs.int("axis", -1), rank);
  const inside = wrapped(call, cast(g, chosen, "i64"), size);
  const apart = unsqueeze(g, inside, [axis]);
  const shape = apart.shape.map((each, i) => (i === axis ? size : each));
  const hot = apply(g, "eq", broadcastTo(g, apart, call.limit(shape)), iota(g, shape, axis));
  const pick = (i: number): Node => gather(g, values, constantScalar(g, "i64", i), 0);
  return apply(g, "select", hot, pick(1), pick(0));
}

export const ArgMax = (call: Call): Node => extremeIndex(call, "max");
export const ArgMin = (call: Call): Node => extremeIndex(call, "min");

function extremeIndex(call: Call, kind: "max" | "min"): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const axis = call.axis(attrs.int("axis", 0), x.shape.length);
  const keeps = attrs.flag("keepdims", true);
  const last = attrs.flag("select_last_index");
  const index = firstIndex(call, x, axis, kind, last);
  return keeps
    ? index
    : reshape(
        g,
        index,
        index.shape.filter((_, i) => i !== axis),
      );
}

/** The first (or last) place along `axis` of the extreme value; the axis stays with extent 1. */
export function firstIndex(
  call: Call,
  x: Node,
  axis: number,
  kind: "max" | "min",
  last = false,
): Node {
  const { g } = call;
  const best = broadcastTo(g, reduceKept(g, kind, x, [axis]), x.shape);
  const places = iota(g, x.shape, axis);
  const none = last ? constantScalar(g, "i64", -1) : dim(g, x.shape[axis]!);
  const same = apply(g, "eq", x, best);
  // NaN is the extreme where there is one, and equal to nothing.
  const found = isFloat(x.dtype) ? apply(g, "or", same, apply(g, "is_nan", x)) : same;
  const candidates = apply(g, "select", found, places, none);
  return reduceKept(g, last ? "max" : "min", candidates, [axis]);
}

/** The elements for which a known condition holds. */
export function Compress(call: Call): Node {
  const { g, attrs } = call;
  const [data, condition] = [call.input(0), call.input(1)];
  const given = attrs.int("axis");
  const x = given === undefined ? reshape(g, data, [-1]) : data;
  const axis = call.axis(given ?? 0, x.shape.length);
  const kept = call
    .numbers(condition, "which elements are kept")
    .flatMap((value, i) => (value === 0 ? [] : [i]));
  const chosen = indices(g, kept);
  checkKnown(call, chosen, x.shape[axis]!);
  return gather(g, x, chosen, axis);
}

/** The coordinates of elements other than zero, of a tensor whose values are known. */
export function NonZero(call: Call): Node {
  const x = call.input(0);
  const values = call.numbers(x, "which elements are not zero");
  const shape = x.shape.map((dim) => call.extent(dim, "an axis"));
  const strides = stridesOf(shape);
  const found = values.flatMap((value, i) => (value === 0 ? [] : [i]));
  const rows = shape.map((extent, axis) =>
    found.map((i) => Math.floor(i / strides[axis]!) % extent),
  );
  return literal(call.g, "i64", [shape.length, found.length], rows.flat());
}
