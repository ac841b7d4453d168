/** Running totals, the largest elements and scattering: rows walked along one axis. */
import { FarrierError } from "../errors.js";
import { dtypes, isFloat, type DType } from "../ir/dtype.js";
import { exprType, linearize, throughMemory } from "../ir/element.js";
import { isNode, type Node } from "../ir/graph.js";
import type { ScatterReduction } from "../ir/ops.js";
import {
  add,
  binary,
  bitcast,
  cast,
  check,
  constant,
  coord,
  int,
  isConst,
  load,
  lt,
  max,
  min,
  mul,
  one,
  param,
  select,
  unary,
  zero,
} from "../scalar/build.js";
import { someExpr, type Expr } from "../scalar/expr.js";
import type { AlongDesc, ScatterDesc } from "./desc-along.js";
import type { Store } from "./desc.js";
import { refusal } from "./limits.js";
import {
  blocked,
  epilogue,
  ForcedNode,
  lowerInto,
  readerFor,
  type LoweringContext,
} from "./lowering.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { isSubByte } from "./narrow.js";
import { CannotPush, type Point } from "./push.js";

interface Rows {
  readonly coords: readonly Expr[];
  readonly extents: readonly Expr[];
  readonly axis: Expr;
  readonly axisExtent: Expr;
  /** Coordinates of an element. */
  readonly element: readonly Expr[];
}

function rowsOf(node: Node, along: number): Rows {
  const { shape } = node;
  const element = shape.map((dim, i) => coord(i === along ? "k" : `i${i}`, dim));
  const outer = shape.map((_, i) => i).filter((i) => i !== along);
  return {
    coords: outer.length === 0 ? [zero] : outer.map((i) => element[i]!),
    extents: outer.length === 0 ? [one] : outer.map((i) => shape[i]!),
    axis: element[along]!,
    axisExtent: shape[along]!,
    element,
  };
}

/** What differs between the families: the body, and the value that the epilogue starts from. */
type Body =
  | Pick<
      Extract<AlongDesc, { family: "scan" }>,
      "family" | "kind" | "exclusive" | "reverse" | "body"
    >
  | Pick<Extract<AlongDesc, { family: "topk" }>, "family" | "count" | "key" | "slot">;

/** The kernels of an anchor that walks an axis, or null for other anchors. */
export function lowerAlong(
  context: LoweringContext,
  node: Node,
  exits: readonly Node[],
): PlannedKernel[] | null {
  if (isNode(node, "scatter")) return lowerScatter(context, node);
  if (isNode(node, "scan")) return [lowerScan(context, node, exits)];
  if (isNode(node, "top_k")) return [lowerTopK(context, node, exits)];
  return null;
}

function lowerScan(
  context: LoweringContext,
  node: Node<"scan">,
  exits: readonly Node[],
): PlannedKernel {
  const { kind, axis, exclusive, reverse } = node.attrs;
  const input = node.inputs[0]!;
  const rows = rowsOf(input, axis);
  const reader = readerFor(context);
  const body = reader.at(input, rows.element);
  const total = param("total", body.type);
  const value = isFloat(node.dtype)
    ? reader.round(total, node.dtype)
    : throughMemory(total, node.dtype);
  const point: Point = { coords: rows.element, value, guard: null };
  return finished(context, node, exits, rows, point, {
    family: "scan",
    kind,
    exclusive,
    reverse,
    body,
  });
}

function lowerTopK(
  context: LoweringContext,
  node: Node<"top_k">,
  exits: readonly Node[],
): PlannedKernel {
  const { axis, count, largest } = node.attrs;
  const input = node.inputs[0]!;
  const rows = rowsOf(input, axis);
  const value = readerFor(context).at(input, rows.element);
  const ascending = orderedKey(value, input.dtype);
  const slot = coord("slot", int(count));
  const coords = rows.element.map((each, i) => (i === axis ? slot : each));
  const point: Point = { coords, value: param("chosen", "i64"), guard: null };
  return finished(context, node, exits, rows, point, {
    family: "topk",
    count,
    key: largest ? ascending : unary("not", ascending),
    slot,
  });
}

/** An i64 that orders as the value does: NaN above everything, zeros of either sign alike. */
function orderedKey(value: Expr, dtype: DType): Expr {
  if (!isFloat(value.type)) {
    const wide = cast(value, "i64");
    // The upper half of u64 comes as negative numbers.
    const top = constant(-(2n ** 63n), "i64");
    return dtype === "u64" ? binary("xor", wide, top) : wide;
  }
  const wide = value.type === "f64";
  const type: DType = wide ? "i64" : "i32";
  const { bits } = dtypes[type];
  const number = constant(0, value.type);
  const positive = add(value, number);
  const pattern = bitcast(positive, type);
  const magnitude = wide ? constant(2n ** 63n - 1n, "i64") : constant(0x7fffffff, "i32");
  const negative = lt(pattern, constant(0, type));
  const ordered = select(negative, binary("xor", pattern, magnitude), pattern);
  const highest = wide ? constant(2n ** 63n - 1n, "i64") : constant(2 ** (bits - 1) - 1, "i32");
  const isNaN = binary("ne", value, value);
  return cast(select(isNaN, highest, ordered), "i64");
}

function finished(
  context: LoweringContext,
  node: Node,
  exits: readonly Node[],
  rows: Rows,
  point: Point,
  body: Body,
): PlannedKernel {
  try {
    const stores = epilogue(context, node, exits, readerFor(context), [point]);
    const names = new OperandNames(context.memory);
    const value = body.family === "scan" ? body.body : body.key;
    names.collect({ exprs: [value], stores });
    const { operands, buffers } = names.finish();
    const { coords, extents, axis, axisExtent } = rows;
    const shared = {
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      coords,
      extents,
      axis,
      axisExtent,
      stores: stores.map((store) => names.store(store)),
    };
    const desc: AlongDesc =
      body.family === "scan"
        ? { ...shared, ...body, body: names.expr(value) }
        : { ...shared, ...body, key: names.expr(value) };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}

const combines: { readonly [R in ScatterReduction]: (old: Expr, update: Expr) => Expr } = {
  none: (_, update) => update,
  add,
  mul,
  max,
  min,
};

/** The data is copied, then overwritten where updates go. */
function lowerScatter(context: LoweringContext, node: Node<"scatter">): PlannedKernel[] {
  const { axis, reduction } = node.attrs;
  const [data, indices, updates] = node.inputs as [Node, Node, Node];
  if (isSubByte(node.dtype))
    throw new FarrierError("E_TYPE_UNSUPPORTED", `scattering of ${node.dtype}, which share bytes`, {
      where: context.nameOf(node),
    });
  const buffer = context.memory.of(node)!;
  const rows = rowsOf(updates, axis);
  const reader = readerFor(context);
  const index = check(reader.at(indices, rows.element), data.shape[axis]!, context.site(node));
  const at = rows.element.map((each, i) => (i === axis ? index : each));
  const offset = linearize(at, node.shape);
  // What is stored must be loaded again in each step: a place that never changes would be loaded once.
  if (!isConst(rows.axis) && !someExpr(offset, (e) => e === rows.axis))
    throw new ForcedNode(indices, refusal("scattered places", 1, 2));
  const type = exprType(node.dtype);
  const old = cast(load(buffer.id, offset, node.dtype), type);
  const value = combines[reduction](old, cast(reader.at(updates, rows.element), type));
  const store: Store = { operand: buffer.id, offset, value, guard: null };
  const names = new OperandNames(context.memory);
  names.collect({ exprs: [], stores: [store] });
  const { operands, buffers } = names.finish();
  const { coords, extents, axisExtent } = rows;
  const stored = names.store(store);
  const desc: ScatterDesc = {
    family: "scatter",
    // What it leaves as it is has to be there before.
    operands: operands.map((operand) =>
      operand.name === stored.operand ? { ...operand, access: "readwrite" } : operand,
    ),
    label: context.nameOf(node),
    coords,
    extents,
    axis: rows.axis,
    axisExtent,
    stores: [stored],
  };
  return [lowerInto(context, data, node), { desc, buffers }];
}
