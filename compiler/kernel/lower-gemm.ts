/** Matrix products: stages from normalisations, the order of columns, packed or strided B. */
import { type ElementReader, reshapeCoords } from "../ir/element.js";
import { isNode, type Node } from "../ir/graph.js";
import { exactDtype } from "../ir/precision.js";
import { isFloat, type DType } from "../ir/dtype.js";
import { FarrierError } from "../errors.js";
import { add, coord, constValue, div, int, lt, mod, mul, one, param } from "../scalar/build.js";
import { someExpr, type Expr } from "../scalar/expr.js";
import { computeType } from "../scalar/function.js";
import { rangeOf } from "../scalar/range.js";
import type { GemmB, GemmDesc, Stage } from "./desc.js";
import { refusal, type Refusal } from "./limits.js";
import {
  asOperand,
  blocked,
  epilogue,
  ForcedNode,
  isLinear,
  lookUps,
  operationsAbove,
  plainLoad,
  readerFor,
  type LoweringContext,
} from "./lowering.js";
import { normaliseStages, normalisedValue } from "./lower-reduce.js";
import { matrixSize, OperandNames, type PackedWeight, type PlannedKernel } from "./memory.js";
import { CannotPush, type Point } from "./push.js";
import { storedAsPacked } from "./stored-weight.js";

/** How physical columns are ordered: `group` accumulators for each of `count` logical columns. */
interface ColumnOrder {
  readonly group: 1 | 2;
  readonly count: Expr;
  readonly key: string;
  columnOf(n: Expr, i: number): Expr;
}

export interface Geometry {
  readonly batch: Expr[];
  readonly batchExtents: Expr[];
  readonly m: Expr;
  readonly mExtent: Expr;
  readonly k: Expr;
  readonly kExtent: Expr;
  readonly columns: Expr;
  /** Coordinates of the leading axes and the row, in the product's shape and in that of A. */
  readonly rows: readonly Expr[];
  readonly rowsOfA: readonly Expr[];
  /** Rows that there are, where that is known to the device only; how many the batch has in all. */
  readonly present: { readonly rows: Expr; readonly inAll: Expr } | null;
  /** The weight as a matrix, or as a stack of them, if B is one. */
  readonly weight: Node | null;
  /** Which matrix of the stack, over batch. */
  readonly matrix: Expr | null;
  readonly dtype: DType;
}

export function lowerGemm(
  context: LoweringContext,
  node: Node<"matmul">,
  exits: readonly Node[],
): PlannedKernel {
  return lowerProduct(context, node, exits, geometryOf(context, node));
}

/** A product of the first two inputs of `node`. */
export function lowerProduct(
  context: LoweringContext,
  node: Node,
  exits: readonly Node[],
  geometry: Geometry,
): PlannedKernel {
  let failure: unknown = null;
  for (const order of columnOrders(context, node, geometry)) {
    try {
      return lowerWith(context, node, exits, geometry, order);
    } catch (error) {
      if (!(error instanceof CannotPush)) throw error;
      failure ??= error;
    }
  }
  throw blocked(failure);
}

/** The two-dimensional weight below the broadcasts over batch axes, or null. */
function weightMatrix(context: LoweringContext, b: Node): Node | null {
  let node = b;
  while (node.op === "broadcast" && node.inputs[0]!.shape.length >= 2) node = node.inputs[0]!;
  return context.analysis.isWeight(b) && node.shape.length === 2 ? node : null;
}

/** The type of both factors as they were before they were widened: f64 sums need f64 products. */
function factorType(node: Node): DType {
  const [a, b] = node.inputs as [Node, Node];
  if (a.dtype === "f64") return a.dtype;
  const [left, right] = [exactDtype(a), exactDtype(b)];
  return left === right ? left : a.dtype;
}

/** Whether the target has products of the type of the first two inputs of `node`. */
export function hasProduct({ target }: LoweringContext, node: Node): boolean {
  const dtype = factorType(node);
  return isFloat(dtype) && target.multiplies.includes(dtype);
}

/** The element type in which the target multiplies the first two inputs of `node`. */
export function productType(context: LoweringContext, node: Node): DType {
  const dtype = factorType(node);
  if (hasProduct(context, node)) return dtype;
  throw new FarrierError(
    "E_TYPE_UNSUPPORTED",
    `target ${context.target.name} has no product of ${dtype}`,
    { where: context.nameOf(node) },
  );
}

/** A stack of matrices that only the axes before it repeat: one for each head, say. */
function weightStack(context: LoweringContext, b: Node): Node | null {
  let node = b;
  while (node.op === "broadcast") node = node.inputs[0]!;
  const count = node.shape.length === 3 ? constValue(node.shape[0]!) : null;
  const repeated = b.shape.length > 3 && node.shape[0] === b.shape[b.shape.length - 3];
  return context.analysis.isWeight(b) && count !== null && repeated ? node : null;
}

/** A product with a stack of weights: a batch of products whose rows are all the other axes. */
function stackGeometry(
  node: Node,
  stack: Node,
  shared: Pick<Geometry, "k" | "kExtent" | "columns" | "dtype">,
): Geometry {
  const rank = node.shape.length;
  const group = coord("g", stack.shape[0]!);
  const leading = [...node.shape.slice(0, rank - 3), node.shape[rank - 2]!];
  const mExtent = leading.reduce((x, y) => mul(x, y), one);
  const m = coord("m", mExtent);
  const others = reshapeCoords([m], [mExtent], leading);
  const rows = [...others.slice(0, -1), group, others[others.length - 1]!];
  return {
    ...shared,
    batch: [group],
    batchExtents: [stack.shape[0]!],
    m,
    mExtent,
    rows,
    rowsOfA: rows,
    present: null,
    weight: stack,
    matrix: group,
  };
}

function geometryOf(context: LoweringContext, node: Node<"matmul">): Geometry {
  const [a, b] = node.inputs as [Node, Node];
  const rank = node.shape.length;
  const dtype = productType(context, node);
  const kExtent = a.shape[rank - 1]!;
  const k = coord("k", kExtent);
  const weight = weightMatrix(context, b);
  const columns = node.shape[rank - 1]!;
  const stack = weight === null ? weightStack(context, b) : null;
  if (stack !== null) return stackGeometry(node, stack, { k, kExtent, columns, dtype });
  const shared = { k, kExtent, columns, weight, dtype, present: null, matrix: null };
  if (weight !== null) {
    const leading = node.shape.slice(0, -1);
    const mExtent = leading.reduce((x, y) => mul(x, y), one);
    const m = coord("m", mExtent);
    const rows = reshapeCoords([m], [mExtent], leading);
    return { ...shared, batch: [], batchExtents: [], m, mExtent, rows, rowsOfA: rows };
  }
  const batchExtents = node.shape.slice(0, -2);
  const batch = batchExtents.map((extent, axis) => coord(`b${axis}`, extent));
  const mExtent = node.shape[rank - 2]!;
  const m = coord("m", mExtent);
  const rows = [...batch, m];
  return { ...shared, batch, batchExtents: [...batchExtents], m, mExtent, rows, rowsOfA: rows };
}

/** Orders of columns to try: as they are, halves side by side, then the pairs of rotary embeddings. */
function* columnOrders(
  context: LoweringContext,
  node: Node,
  { columns, weight }: Geometry,
): Generator<ColumnOrder> {
  yield { group: 1, count: columns, key: "rows", columnOf: (n) => n };
  const total = constValue(columns);
  if (weight === null || total === null || total % 2 !== 0) return;
  const half = int(total / 2);
  yield { group: 2, count: half, key: "halves", columnOf: (n, i) => add(n, mul(half, int(i))) };
  const seen = new Set<number>();
  for (const user of context.materialised.regions.get(node) ?? []) {
    if (!isNode(user, "rotary") || user.attrs.interleaved) continue;
    const depth = constValue(user.shape[user.shape.length - 1]!);
    if (depth === null || seen.has(depth) || total % depth !== 0) continue;
    seen.add(depth);
    const angle = int(depth / 2);
    yield {
      group: 2,
      count: half,
      key: `pairs${depth}`,
      columnOf: (n, i) =>
        add(add(mul(div(n, angle), int(depth)), int((i * depth) / 2)), mod(n, angle)),
    };
  }
  yield {
    group: 2,
    count: half,
    key: "neighbours",
    columnOf: (n, i) => add(mul(n, int(2)), int(i)),
  };
}

function lowerWith(
  context: LoweringContext,
  node: Node,
  exits: readonly Node[],
  geometry: Geometry,
  order: ColumnOrder,
): PlannedKernel {
  const { k, m, rows, rowsOfA, present, dtype } = geometry;
  const accumulate = computeType(dtype);
  const stages: Stage[] = [];
  const reader: ElementReader = readerFor(context, (inner, coords) =>
    stagedNormalise(context, inner, coords, geometry, stages, () => reader),
  );
  const a = asOperand(reader.at(node.inputs[0]!, [...rowsOfA, k]), dtype);
  const n = coord("n", order.count);
  const points = Array.from({ length: order.group }, (_, i): Point => {
    const value = reader.round(param(`acc${i}`, accumulate), node.dtype);
    const guard = present === null ? null : lt(m, present.rows);
    return { coords: [...rows, order.columnOf(n, i)], value, guard };
  });
  const stores = epilogue(context, node, exits, readerFor(context), points);
  const names = new OperandNames(context.memory);
  names.collect({ stages, exprs: present === null ? [a] : [present.rows, a], stores: [] });
  const b = operandB(context, node, geometry, order, n);
  const packed = typeof b === "function" ? b(names) : null;
  if (typeof b !== "function") names.collect({ exprs: [b], stores: [] });
  names.collect({ exprs: [], stores });
  const { operands, buffers } = names.finish();
  const desc: GemmDesc = {
    family: "gemm",
    operands,
    label: exits.map((exit) => context.nameOf(exit)).join(" + "),
    batch: geometry.batch,
    batchExtents: geometry.batchExtents,
    m,
    mExtent: geometry.mExtent,
    ...(present !== null && { rows: names.expr(present.rows), rowsInAll: present.inAll }),
    n,
    nExtent: order.count,
    k,
    kExtent: geometry.kExtent,
    group: order.group,
    dtype,
    a: names.expr(a),
    stages: stages.map((stage) => names.stage(stage)),
    b: packed ?? { kind: "strided", value: names.expr(b as Expr) },
    stores: stores.map((store) => names.store(store)),
  };
  return { desc, buffers };
}

/** A normalisation over the rows of A becomes stages of the product. */
function stagedNormalise(
  context: LoweringContext,
  node: Node,
  coords: readonly Expr[],
  { k, kExtent }: Geometry,
  stages: Stage[],
  reader: () => ElementReader,
): Expr | null {
  if (!isNode(node, "normalize") || context.memory.of(node) !== undefined) return null;
  const last = node.shape.length - 1;
  const outer = coords.slice(0, last);
  const overRows =
    coords[last] === k &&
    node.shape[last] === kExtent &&
    !outer.some((c) => someExpr(c, (e) => e === k));
  if (stages.length > 0) throw new ForcedNode(node, refusal("normalisations", 2, 1));
  if (!overRows) throw new ForcedNode(node, otherRows(node, kExtent));
  const x = reader().at(node.inputs[0]!, coords);
  stages.push(...normaliseStages(node, x, kExtent));
  return reader().round(normalisedValue(node, x), node.dtype);
}

function otherRows(node: Node, kExtent: Expr): Refusal {
  const [found, summed] = [rangeOf(node.shape.at(-1)!).max, rangeOf(kExtent).max];
  // Of one length, and yet not the rows: another axis is.
  return found === summed ? refusal("axis", 0, 1) : refusal("row", found, summed);
}

function operandB(
  context: LoweringContext,
  node: Node,
  geometry: Geometry,
  order: ColumnOrder,
  n: Expr,
): Expr | ((names: OperandNames) => GemmB) {
  const { weight, dtype, k, kExtent, batch, matrix } = geometry;
  if (weight !== null) {
    const layout = context.target.packing(dtype);
    const packed: PackedWeight = {
      layout,
      k: kExtent,
      n: order.count,
      group: order.group,
      columnOf: (c, i) => order.columnOf(c, i),
      key: order.key,
      ...(matrix !== null && { stack: constValue(weight.shape[0]!)! }),
    };
    const buffer =
      storedAsPacked(context, weight, packed) ??
      context.memory.weight(weight, context.nameOf(weight), packed);
    if (matrix === null) return (names) => ({ kind: "packed", operand: names.addRead(buffer) });
    const first = mul(matrix, int(matrixSize(packed)));
    return (names) => {
      names.collect({ exprs: [first], stores: [] });
      return { kind: "packed", operand: names.addRead(buffer), first: names.expr(first) };
    };
  }
  const source = node.inputs[1]!;
  const value = plainLoad(
    readerFor(context).at(source, [...(matrix === null ? batch : [matrix]), k, n]),
  );
  const offset = value?.args[0];
  const reader = "the second operand of a product";
  if (value === null || offset === undefined)
    throw new ForcedNode(
      source,
      refusal("operations", operationsAbove(context, source), 0, reader),
    );
  if (!isLinear(offset, k) || !isLinear(offset, n))
    throw new ForcedNode(source, refusal("places", Math.max(1, lookUps(offset)), 0, reader));
  return asOperand(value, dtype);
}
