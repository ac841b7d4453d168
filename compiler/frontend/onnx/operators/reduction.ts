/** Reductions, running sums and softmax. */
import { broadcastTo, cast, iota, reshape, scan, softmax } from "../../../ir/build.js";
import { isFloat } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import type { ReduceKind } from "../../../ir/ops.js";
import type { Call, Operator } from "../call.js";
import { apply, axesOf, product, reduceKept, scalarLike, widened } from "./common.js";
import { firstIndex } from "./index.js";

type Around = (g: Call["g"], x: Node) => Node;

interface Steps {
  readonly kind: ReduceKind;
  readonly before?: Around;
  readonly after?: Around;
  /** The version from which axes are an input. */
  readonly since?: number;
}

/** Without axes: over all of them, or over none where `noop_with_empty_axes` says so. */
function reduction({ kind, before, after, since = 18 }: Steps): Operator {
  return (call) =>
    reducedBy(call, since, (x, axes) => {
      const { g } = call;
      const body = (wide: Node): Node => {
        const start = before === undefined ? wide : before(g, wide);
        const sums = axes.length === 0 ? start : reduceKept(g, kind, start, axes);
        return after === undefined ? sums : after(g, sums);
      };
      return before === undefined && after === undefined ? body(x) : widened(g, x, body);
    });
}

function reducedBy(
  call: Call,
  since: number,
  body: (x: Node, axes: readonly number[]) => Node,
): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const keeps = attrs.flag("keepdims", true);
  const skips = call.version >= since && attrs.flag("noop_with_empty_axes");
  const given = axesOf(call, 1, rank, since) ?? [];
  const all = x.shape.map((_, axis) => axis);
  const axes = given.length > 0 ? given.sort((a, b) => a - b) : skips ? [] : all;
  const result = body(x, axes);
  if (keeps) return result;
  return reshape(
    g,
    result,
    result.shape.filter((_, axis) => !axes.includes(axis)),
  );
}

const squared: Around = (g, x) => apply(g, "mul", x, x);
const absolute: Around = (g, x) => apply(g, "abs", x);
/** Of integers, without its fraction. */
const root: Around = (g, x) =>
  isFloat(x.dtype) ? apply(g, "sqrt", x) : cast(g, apply(g, "sqrt", cast(g, x, "f64")), x.dtype);
const logarithm: Around = (g, x) => apply(g, "log", x);

export const ReduceSum = reduction({ kind: "sum", since: 13 });
export const ReduceMean = reduction({ kind: "mean" });
export const ReduceMax = reduction({ kind: "max" });
export const ReduceMin = reduction({ kind: "min" });
export const ReduceProd = reduction({ kind: "prod" });
export const ReduceL1 = reduction({ kind: "sum", before: absolute });
export const ReduceL2 = reduction({ kind: "sum", before: squared, after: root });
export const ReduceSumSquare = reduction({ kind: "sum", before: squared });
export const ReduceLogSum = reduction({ kind: "sum", after: logarithm });

/** By the largest term, so that nothing overflows. */
export const ReduceLogSumExp: Operator = (call) =>
  reducedBy(call, 18, (x, axes) =>
    widened(call.g, x, (wide) => {
      const { g } = call;
      if (axes.length === 0) return wide;
      const top = reduceKept(g, "max", wide, axes);
      // Infinite terms would cancel to NaN.
      const infinite = apply(g, "is_inf", top);
      const safe = apply(g, "select", infinite, scalarLike(g, top, 0), top);
      const terms = apply(g, "exp", apply(g, "sub", wide, broadcastTo(g, safe, wide.shape)));
      return apply(g, "add", apply(g, "log", reduceKept(g, "sum", terms, axes)), safe);
    }),
  );

const running =
  (kind: "sum" | "prod"): Operator =>
  (call) => {
    const x = call.input(0);
    const axis = call.axis(call.number(call.input(1), "the axis"), x.shape.length);
    const exclusive = call.attrs.flag("exclusive");
    const reverse = call.attrs.flag("reverse");
    return scan(call.g, kind, x, axis, { exclusive, reverse });
  };

export const CumSum = running("sum");
export const CumProd = running("prod");

/** Before opset 13, over all axes from `axis` on as if they were one. */
function overAxis(call: Call, body: (x: Node, axis: number) => Node): Node {
  const { g, attrs, version } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const axis = call.axis(attrs.int("axis", version >= 13 ? -1 : 1), rank);
  if (version >= 13) return body(x, axis);
  const flat = reshape(g, x, [product(x.shape.slice(0, axis)), product(x.shape.slice(axis))]);
  return reshape(g, body(flat, 1), x.shape);
}

export const Softmax: Operator = (call) => overAxis(call, (x, axis) => softmax(call.g, x, axis));

export const LogSoftmax: Operator = (call) =>
  overAxis(call, (x, axis) => widened(call.g, x, (wide) => logSoftmax(call.g, wide, axis)));

export function logSoftmax(g: Call["g"], x: Node, axis: number): Node {
  const top = broadcastTo(g, reduceKept(g, "max", x, [axis]), x.shape);
  const shifted = apply(g, "sub", x, top);
  const total = reduceKept(g, "sum", apply(g, "exp", shifted), [axis]);
  return apply(g, "sub", shifted, broadcastTo(g, apply(g, "log", total), x.shape));
}

/** One at the first of the largest, zero elsewhere. */
export const Hardmax: Operator = (call) =>
  overAxis(call, (x, axis) => {
    const { g } = call;
    const best = broadcastTo(g, firstIndex(call, x, axis, "max"), x.shape);
    const hot = apply(g, "eq", best, iota(g, x.shape, axis));
    return apply(g, "select", hot, scalarLike(g, x, 1), scalarLike(g, x, 0));
  });
