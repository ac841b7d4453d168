/** Reductions, softmax and normalisations: stages along one axis. */
import { delinearize, throughMemory } from "../ir/element.js";
import { integerBounds, isFloat, isInteger } from "../ir/dtype.js";
import { isNode, type Node } from "../ir/graph.js";
import type { ReduceKind } from "../ir/ops.js";
import {
  add,
  cast,
  constant,
  coord,
  div,
  eq,
  mul,
  one,
  param,
  select,
  sub,
  unary,
  zero,
} from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { someExpr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { rawName, type ReduceDesc, type Stage } from "./desc.js";
import { blocked, epilogue, readerFor, type LoweringContext } from "./lowering.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { CannotPush, type Point } from "./push.js";

const raw = (name: string, x: Expr): Expr => param(rawName(name), x.type);

/** mean and rstd of a row whose element is `x`, in two exact passes. */
export function normaliseStages(node: Node<"normalize">, x: Expr, extent: Expr): Stage[] {
  const { kind, epsilon } = node.attrs;
  const count = cast(extent, x.type);
  const centred = kind === "layer" ? sub(x, param("mean", x.type)) : x;
  const rstd: Stage = {
    name: "rstd",
    kind: "sum",
    body: mul(centred, centred),
    finish: div(
      constant(1, x.type),
      unary(
        "sqrt",
        add(
          div(raw("rstd", x), count),
          constant(x.type === "f32" ? Math.fround(epsilon) : epsilon, x.type),
        ),
      ),
    ),
  };
  if (kind === "rms") return [rstd];
  return [{ name: "mean", kind: "sum", body: x, finish: div(raw("mean", x), count) }, rstd];
}

/** The normalised element, from the stages of `normaliseStages`. */
export function normalisedValue(node: Node<"normalize">, x: Expr): Expr {
  const centred = node.attrs.kind === "layer" ? sub(x, param("mean", x.type)) : x;
  return mul(centred, param("rstd", x.type));
}

interface Rows {
  readonly coords: readonly Expr[];
  readonly extents: readonly Expr[];
  readonly axis: Expr;
  readonly axisExtent: Expr;
  /** The element of the anchor's input at the row and the axis. */
  readonly x: Expr;
  /** Coordinates of an element of the input, and of the row in the output. */
  readonly element: readonly Expr[];
  readonly row: readonly Expr[];
}

function rowsOf(context: LoweringContext, node: Node, axes: readonly number[]): Rows {
  const input = node.inputs[0]!;
  const kept = input.shape.map((dim, axis) =>
    axes.includes(axis) ? zero : coord(`i${axis}`, dim),
  );
  const axisExtent = axes.map((axis) => input.shape[axis]!).reduce((x, y) => mul(x, y), one);
  const axis = coord("k", axisExtent);
  const along = delinearize(
    axis,
    axes.map((index) => input.shape[index]!),
  );
  const element = kept.map((c, index) => (axes.includes(index) ? along[axes.indexOf(index)]! : c));
  const outer = input.shape.map((_, index) => index).filter((index) => !axes.includes(index));
  return {
    coords: outer.length === 0 ? [zero] : outer.map((index) => kept[index]!),
    extents: outer.length === 0 ? [one] : outer.map((index) => input.shape[index]!),
    axis,
    axisExtent,
    x: readerFor(context).at(input, element),
    element,
    row: kept,
  };
}

interface Reduction {
  readonly rows: Rows;
  readonly stages: Stage[];
  readonly point: Point;
}

function plainReduction(context: LoweringContext, node: Node<"reduce">): Reduction {
  const rows = rowsOf(context, node, node.attrs.axes);
  const { x, axisExtent } = rows;
  const kinds: { readonly [K in ReduceKind]: Stage["kind"] } = {
    sum: "sum",
    mean: "sum",
    max: "max",
    min: "min",
    prod: "prod",
  };
  const total = raw("r", x);
  const whole = node.attrs.kind === "mean" ? div(total, cast(axisExtent, x.type)) : total;
  const finish = ofNothing(node, axisExtent, whole);
  const stages: Stage[] = [{ name: "r", kind: kinds[node.attrs.kind], body: x, finish }];
  return { rows, stages, point: { coords: rows.row, value: param("r", x.type), guard: null } };
}

/** The extreme of no integers is the bound of their type, which accumulators are wider than. */
function ofNothing({ attrs, dtype }: Node<"reduce">, extent: Expr, total: Expr): Expr {
  const extreme = attrs.kind === "max" || attrs.kind === "min";
  if (!isInteger(dtype) || !extreme || rangeOf(extent).min > 0) return total;
  const [lowest, highest] = integerBounds(dtype);
  const bound = constant(BigInt.asIntN(64, attrs.kind === "max" ? lowest : highest), total.type);
  return select(eq(extent, zero), bound, total);
}

function softmaxReduction(context: LoweringContext, node: Node<"softmax">): Reduction {
  const rows = rowsOf(context, node, [node.attrs.axis]);
  const { x } = rows;
  const shifted = unary("exp", sub(x, param("top", x.type)));
  const stages: Stage[] = [
    { name: "top", kind: "max", body: x, finish: raw("top", x) },
    {
      name: "scale",
      kind: "sum",
      body: shifted,
      finish: div(constant(1, x.type), raw("scale", x)),
    },
  ];
  return {
    rows,
    stages,
    point: { coords: rows.element, value: mul(shifted, param("scale", x.type)), guard: null },
  };
}

function normaliseReduction(context: LoweringContext, node: Node<"normalize">): Reduction {
  const rows = rowsOf(context, node, [node.shape.length - 1]);
  const stages = normaliseStages(node, rows.x, rows.axisExtent);
  return {
    rows,
    stages,
    point: { coords: rows.element, value: normalisedValue(node, rows.x), guard: null },
  };
}

/** A product whose type the target does not multiply in tiles: a sum for each element. */
function productReduction(context: LoweringContext, node: Node<"matmul">): Reduction {
  const [a, b] = node.inputs as [Node, Node];
  const rank = node.shape.length;
  const axisExtent = a.shape[rank - 1]!;
  const axis = coord("k", axisExtent);
  const row = node.shape.map((dim, i) => coord(`i${i}`, dim));
  const [outer, m, n] = [row.slice(0, -2), row[rank - 2]!, row[rank - 1]!];
  const reader = readerFor(context);
  const x = mul(reader.at(a, [...outer, m, axis]), reader.at(b, [...outer, axis, n]));
  const rows = { coords: row, extents: node.shape, axis, axisExtent, x, element: row, row };
  const stages: Stage[] = [{ name: "r", kind: "sum", body: x, finish: raw("r", x) }];
  return { rows, stages, point: { coords: row, value: param("r", x.type), guard: null } };
}

function reductionOf(context: LoweringContext, node: Node): Reduction | null {
  if (isNode(node, "matmul")) return productReduction(context, node);
  if (isNode(node, "reduce")) return plainReduction(context, node);
  if (isNode(node, "softmax")) return softmaxReduction(context, node);
  if (isNode(node, "normalize")) return normaliseReduction(context, node);
  return null;
}

export function lowerReduce(
  context: LoweringContext,
  node: Node,
  exits: readonly Node[],
): PlannedKernel | null {
  const reduction = reductionOf(context, node);
  if (reduction === null) return null;
  const { rows, stages, point } = reduction;
  const reader = readerFor(context);
  const rounded = {
    ...point,
    value: isFloat(node.dtype)
      ? reader.round(point.value, node.dtype)
      : throughMemory(point.value, node.dtype),
  };
  try {
    const stores = epilogue(context, node, exits, reader, [rounded]);
    const names = new OperandNames(context.memory);
    names.collect({ stages, exprs: [], stores });
    const { operands, buffers } = names.finish();
    const perElement = stores.map((store) =>
      [store.offset, store.value, store.guard].some(
        (e) => e !== null && someExpr(e, (x) => x === rows.axis),
      ),
    );
    const desc: ReduceDesc = {
      family: "reduce",
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      coords: rows.coords,
      extents: rows.extents,
      axis: rows.axis,
      axisExtent: rows.axisExtent,
      stages: stages.map((stage) => names.stage(stage)),
      elementStores: stores.filter((_, i) => perElement[i]).map((store) => names.store(store)),
      rowStores: stores.filter((_, i) => !perElement[i]).map((store) => names.store(store)),
    };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}
