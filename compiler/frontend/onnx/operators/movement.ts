/** Operators that move elements or only rename their places. */
import {
  broadcastTo,
  concat,
  constantScalar,
  gather,
  reshape,
  slice,
  split,
  transpose,
  unsqueeze,
} from "../../../ir/build.js";
import type { Node, Shape } from "../../../ir/graph.js";
import { broadcastsTo, elements, printShape } from "../../../ir/shape.js";
import { printExpr } from "../../../ir/print-expr.js";
import {
  add,
  ceilDiv,
  div,
  int,
  isConst,
  lt,
  max,
  min,
  mod,
  mul,
  one,
  select,
  sub,
  zero,
} from "../../../scalar/build.js";
import { type Expr } from "../../../scalar/expr.js";
import { rangeOf } from "../../../scalar/range.js";
import { clampedInteger, type Call } from "../call.js";
import { axesOf, indices, product } from "./common.js";

export function Transpose(call: Call): Node {
  const x = call.input(0);
  const reversed = x.shape.map((_, axis) => axis).reverse();
  const perm = call.attrs.ints("perm") ?? reversed;
  // Unlike axes, the numbers of a permutation do not count from the end.
  if (perm.some((axis) => axis < 0))
    throw call.error("E_PERM", `[${perm.join(", ")}] is no permutation of ${perm.length} axes`);
  return transpose(call.g, x, perm);
}

/** 0 copies a dimension (unless `allowzero`), -1 is what remains. */
export function Reshape(call: Call): Node {
  const x = call.input(0);
  const zeros = call.attrs.flag("allowzero");
  const given = call.integers(call.input(1), "the shape");
  const dims = given.map((dim, axis) => (isConst(dim, 0) && !zeros ? copied(call, x, axis) : dim));
  const bad =
    dims.find((dim) => rangeOf(dim).max < -1) ?? dims.filter((dim) => isConst(dim, -1))[1];
  if (bad !== undefined) throw call.error("E_RESHAPE", `a dimension of ${printExpr(bad)}`);
  return reshape(call.g, x, inferred(call, x.shape, dims));
}

function copied(call: Call, x: Node, axis: number): Expr {
  const dim = x.shape[axis];
  if (dim !== undefined) return dim;
  throw call.error("E_RESHAPE", `dimension ${axis} copies one that ${printShape(x.shape)} has not`);
}

/** The shape with its -1, if it has one, replaced. */
function inferred(call: Call, from: Shape, dims: readonly Expr[]): Shape {
  const unknown = dims.findIndex((dim) => isConst(dim, -1));
  if (unknown < 0) return dims;
  // Equal dimensions cancel first: a sum of symbols divides nothing but itself.
  const left = [...from];
  const known: Expr[] = [];
  dims.forEach((dim, axis) => {
    const at = left.indexOf(dim);
    if (axis === unknown) return;
    if (at >= 0 && !isConst(dim, 0)) left.splice(at, 1);
    else known.push(dim);
  });
  const [total, divisor] = [product(left), product(known)];
  const rest = isConst(divisor, 0) ? zero : div(total, divisor);
  if (!isConst(divisor, 0) && mul(rest, divisor) === total)
    return dims.map((dim, axis) => (axis === unknown ? rest : dim));
  throw call.error(
    "E_RESHAPE",
    `${printExpr(elements(from))} elements of ${printShape(from)} into ${printShape(dims)}`,
  );
}

export function Flatten(call: Call): Node {
  const x = call.input(0);
  const axis = call.attrs.int("axis", 1);
  const rank = x.shape.length;
  const at = axis === rank ? rank : call.axis(axis, Math.max(rank, 1));
  return reshape(call.g, x, [product(x.shape.slice(0, at)), product(x.shape.slice(at))]);
}

export function Squeeze(call: Call): Node {
  const x = call.input(0);
  const axes = axesOf(call, 1, x.shape.length, 13);
  const gone = axes ?? x.shape.flatMap((dim, axis) => (isConst(dim, 1) ? [axis] : []));
  const wide = gone.find((axis) => !isConst(x.shape[axis]!, 1));
  if (wide !== undefined)
    throw call.error("E_AXIS", `axis ${wide} is ${printExpr(x.shape[wide]!)}, expected 1`);
  return reshape(
    call.g,
    x,
    x.shape.filter((_, axis) => !gone.includes(axis)),
  );
}

export function Unsqueeze(call: Call): Node {
  const x = call.input(0);
  const axes = call.version >= 13 ? call.numbers(call.input(1), "axes") : call.attrs.ints("axes");
  if (axes === undefined) throw call.attrs.missing("axes");
  return unsqueeze(call.g, x, axes);
}

export function Concat(call: Call): Node {
  const axis = call.attrs.int("axis");
  if (axis === undefined) throw call.attrs.missing("axis");
  return concat(call.g, call.all(), axis);
}

/** Into given sizes, or as equal as may be. */
export function Split(call: Call): readonly Node[] {
  const { g, attrs, version, node } = call;
  const x = call.input(0);
  const axis = call.axis(attrs.int("axis", 0), x.shape.length);
  const input = version >= 13 ? call.optional(1) : undefined;
  const attribute = version < 13 ? attrs.ints("split")?.map(int) : undefined;
  const count = version >= 18 ? attrs.int("num_outputs") : undefined;
  const sizes = input === undefined ? attribute : call.integers(input, "the sizes");
  if (sizes !== undefined && count !== undefined)
    throw attrs.invalid("num_outputs", "the sizes are given, too");
  const negative = sizes?.find((size) => rangeOf(size).max < 0);
  if (negative !== undefined) throw call.error("E_SPLIT", `a part of ${printExpr(negative)}`);
  const { length } = node.outputs;
  const many = sizes?.length ?? count ?? length;
  if (many !== length) throw call.error("E_SPLIT", `${many} parts for ${length} outputs`);
  const parts = sizes ?? evenly(call, x.shape[axis]!, many);
  return split(g, x, axis, parts);
}

/** The last part is smaller where `count` does not divide. */
function evenly(call: Call, dim: Expr, count: number): Expr[] {
  if (count < 1) throw call.error("E_SPLIT", `into ${count} parts`);
  if (call.version < 18 && !isConst(mod(dim, int(count)), 0))
    throw call.error("E_SPLIT", `${printExpr(dim)} into ${count} equal parts`);
  const part = ceilDiv(dim, int(count));
  const last = sub(dim, mul(part, int(count - 1)));
  if (rangeOf(last).min < 0 && rangeOf(last).max < 0)
    throw call.error("E_SPLIT", `${printExpr(dim)} into ${count} parts of ${printExpr(part)}`);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? last : part));
}

/** Bounds count from the end where they are negative, and are clamped to the axis. */
export function Slice(call: Call): Node {
  const { g, attrs, version } = call;
  let x = call.input(0);
  const rank = x.shape.length;
  const inputs = version >= 10;
  const from = (name: string, index: number): readonly Expr[] | undefined => {
    if (!inputs) return attrs.bigints(name)?.map((value) => boundOf(value));
    const value = call.optional(index);
    return value === undefined ? undefined : call.integers(value, name);
  };
  const [starts, ends] = [from("starts", 1), from("ends", 2)];
  if (starts === undefined || ends === undefined) throw attrs.missing("starts and ends");
  const axes = from("axes", 3)?.map((axis) => call.extent(axis, "an axis"));
  const steps = inputs ? from("steps", 4) : undefined;
  const listed = (axes ?? starts.map((_, i) => i)).map((axis) => call.axis(axis, rank));
  const lengths = [ends.length, listed.length, steps?.length ?? starts.length];
  if (lengths.some((length) => length !== starts.length))
    throw call.error("E_SLICE", `${starts.length} starts, ${lengths.join(", ")} ends, axes, steps`);
  if (new Set(listed).size !== listed.length)
    throw call.error("E_AXIS", `axes [${listed.join(", ")}] repeat`);
  listed.forEach((axis, i) => {
    const step = steps === undefined ? 1 : stepOf(call, steps[i]!);
    const dim = x.shape[axis]!;
    const range = clampedRange(starts[i]!, ends[i]!, step, dim);
    x = slice(g, x, { axis, ...range, step });
  });
  return x;
}

const boundOf = (value: bigint): Expr => {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return int(Number(value > limit ? limit : value < -limit ? -limit : value));
};

function stepOf(call: Call, value: Expr): number {
  const step = clampedInteger(value);
  if (step === null) throw call.dataDependent("a step");
  if (step === 0) throw call.error("E_SLICE_STEP", "step 0");
  // One step beyond the axis is as good as any.
  return Math.max(-largestStep, Math.min(largestStep, step));
}

const largestStep = 2 ** 40;

function clampedRange(start: Expr, end: Expr, step: number, dim: Expr): { start: Expr; end: Expr } {
  const last = sub(dim, one);
  if (step > 0) {
    const first = clamp(start, dim, zero, dim);
    return { start: first, end: max(first, clamp(end, dim, zero, dim)) };
  }
  const first = clamp(start, dim, zero, last);
  return { start: first, end: min(first, clamp(end, dim, int(-1), last)) };
}

/** `bound`, counted from the end of `dim` if negative, in [low, high]. */
function clamp(bound: Expr, dim: Expr, low: Expr, high: Expr): Expr {
  const number = clampedInteger(bound);
  if (number === Infinity) return high;
  if (number === -Infinity) return low;
  const { min: least, max: most } = rangeOf(bound);
  const counted =
    least >= 0
      ? bound
      : most < 0
        ? add(bound, dim)
        : select(lt(bound, zero), add(bound, dim), bound);
  return min(max(counted, low), high);
}

/** Broadcasts both ways: a 1 in the shape keeps what the tensor has. */
export function Expand(call: Call): Node {
  const x = call.input(0);
  const dims = call.integers(call.input(1), "the shape");
  const rank = Math.max(x.shape.length, dims.length);
  const shape = Array.from({ length: rank }, (_, axis): Expr => {
    const own = x.shape[axis - rank + x.shape.length] ?? one;
    const wanted = dims[axis - rank + dims.length] ?? one;
    return isConst(wanted, 1) ? own : wanted;
  });
  const negative = shape.find((dim) => rangeOf(dim).max < 0);
  if (negative !== undefined)
    throw call.error("E_DIM_NEGATIVE", `a dimension of ${printExpr(negative)}`);
  if (!broadcastsTo(x.shape, shape))
    throw call.error(
      "E_BROADCAST",
      `${printShape(x.shape)} does not expand to ${printShape(dims)}`,
    );
  return broadcastTo(call.g, x, call.limit(shape));
}

export function Tile(call: Call): Node {
  const { g } = call;
  let x = call.input(0);
  const repeats = call.integers(call.input(1), "the repeats");
  const { shape } = x;
  if (repeats.length !== shape.length)
    throw call.error("E_TILE", `${repeats.length} repeats for ${printShape(shape)}`);
  call.limit(shape.map((dim, axis) => mul(dim, repeats[axis]!)));
  repeats.forEach((count, axis) => {
    x = repeated(g, x, axis, count);
  });
  return x;
}

function repeated(g: Call["g"], x: Node, axis: number, count: Expr): Node {
  const [before, dim, after] = [x.shape.slice(0, axis), x.shape[axis]!, x.shape.slice(axis + 1)];
  if (isConst(count, 1)) return x;
  if (isConst(dim, 1)) return broadcastTo(g, x, [...before, count, ...after]);
  // One axis before and one after are enough, whatever the rank.
  const [outer, inner] = [product(before), product(after)];
  const apart = reshape(g, x, [outer, one, dim, inner]);
  const copies = broadcastTo(g, apart, [outer, count, dim, inner]);
  return reshape(g, copies, [...before, mul(count, dim), ...after]);
}

export function DepthToSpace(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const block = blockOf(call);
  const columns = attrs.choice("mode", ["DCR", "CRD"], "DCR") === "DCR";
  const [n, c, h, w] = planes(call, x);
  const depth = div(c, int(block * block));
  const split6 = columns ? [n, block, block, depth, h, w] : [n, depth, block, block, h, w];
  const apart = reshape(g, x, split6);
  const order = columns ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3];
  return reshape(g, transpose(g, apart, order), [n, depth, mul(h, int(block)), mul(w, int(block))]);
}

export function SpaceToDepth(call: Call): Node {
  const { g } = call;
  const x = call.input(0);
  const block = blockOf(call);
  const [n, c, h, w] = planes(call, x);
  const [rows, columns] = [div(h, int(block)), div(w, int(block))];
  const apart = reshape(g, x, [n, c, rows, block, columns, block]);
  const order = transpose(g, apart, [0, 3, 5, 1, 2, 4]);
  return reshape(g, order, [n, mul(c, int(block * block)), rows, columns]);
}

function blockOf(call: Call): number {
  const size = call.attrs.int("blocksize");
  if (size === undefined) throw call.attrs.missing("blocksize");
  if (size < 1) throw call.attrs.invalid("blocksize", `${size}`);
  return size;
}

function planes(call: Call, x: Node): readonly [Expr, Expr, Expr, Expr] {
  if (x.shape.length !== 4) throw call.error("E_SHAPE", `rank ${x.shape.length}, expected 4`);
  return x.shape as unknown as readonly [Expr, Expr, Expr, Expr];
}

/** Where each axis' coordinate is before or behind the tensor, and which of its own stands there. */
export function Pad(call: Call): Node {
  const { g, attrs, version } = call;
  let x = call.input(0);
  const rank = x.shape.length;
  const modes = ["constant", "reflect", "edge", "wrap"] as const;
  const mode = attrs.choice("mode", modes, "constant");
  const inputs = version >= 11;
  const pads = inputs
    ? call.numbers(call.input(1), "the pads")
    : (attrs.ints("pads") ?? attrs.ints("paddings"));
  const given = inputs ? call.optional(2) : undefined;
  const number = inputs ? 0 : attrs.float("value", 0);
  const listed = version >= 18 ? call.optional(3) : undefined;
  const axes = (listed === undefined ? x.shape.map((_, i) => i) : call.numbers(listed, "axes")).map(
    (axis) => call.axis(axis, rank),
  );
  if (pads?.length !== 2 * axes.length)
    throw call.error("E_PAD", `${pads?.length ?? 0} pads for ${axes.length} axes`);
  const filler = given === undefined ? constantScalar(g, x.dtype, number) : reshape(g, given, []);
  axes.forEach((axis, i) => {
    const [before, after] = [pads[i]!, pads[i + axes.length]!];
    x = paddedAxis(call, x, axis, { before, after, mode, filler });
  });
  return x;
}

interface Padding {
  readonly before: number;
  readonly after: number;
  readonly mode: "constant" | "reflect" | "edge" | "wrap";
  readonly filler: Node;
}

function paddedAxis(call: Call, x: Node, axis: number, padding: Padding): Node {
  const { g } = call;
  const { before, after, mode, filler } = padding;
  const dim = x.shape[axis]!;
  const length = add(dim, int(before + after));
  if (rangeOf(length).max < 0)
    throw call.error("E_PAD", `axis ${axis} of ${printExpr(dim)} by ${before} and ${after}`);
  if (mode === "constant") {
    const [cut, rest] = [Math.max(0, -before), sub(dim, int(Math.max(0, -after)))];
    const kept = slice(g, x, { axis, start: cut, end: max(int(cut), rest) });
    const fill = (count: number): Node[] => {
      const shape = x.shape.map((each, i) => (i === axis ? int(count) : each));
      return count > 0 ? [broadcastTo(g, filler, shape)] : [];
    };
    return concat(g, [...fill(before), kept, ...fill(after)], axis);
  }
  if (before === 0 && after === 0) return x;
  return gather(g, x, foldedIndices(call, dim, padding), axis);
}

/** The element of the axis that stands at each place of the padded one. */
function foldedIndices(call: Call, dim: Expr, { before, after, mode }: Padding): Node {
  const { g } = call;
  const size = call.extent(dim, "padding an axis");
  if (size === 0) throw call.error("E_PAD", "an axis of no elements");
  const length = size + before + after;
  const period = mode === "reflect" ? Math.max(1, 2 * size - 2) : size;
  const at = (i: number): number => {
    if (mode === "edge") return Math.min(size - 1, Math.max(0, i));
    const wrapped = ((i % period) + period) % period;
    return wrapped < size ? wrapped : period - wrapped;
  };
  return indices(
    g,
    Array.from({ length }, (_, i) => at(i - before)),
  );
}
