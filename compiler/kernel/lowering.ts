/** From an anchor and the values it must leave in memory to a kernel description. */
import { delinearize, ElementReader, linearize, throughMemory } from "../ir/element.js";
import type { Node } from "../ir/graph.js";
import { elements } from "../ir/shape.js";
import { add, cast, coord, int, isConst, one, sub, substitute } from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import { computeType } from "../scalar/function.js";
import { rangeOf } from "../scalar/range.js";
import { roles, type Analysis } from "./analysis.js";
import type { Store } from "./desc.js";
import type { Refusal } from "./limits.js";
import type { Materialised } from "./materialise.js";
import { elementOf, OperandNames, type Buffer, type Memory, type PlannedKernel } from "./memory.js";
import { byteCount, isSubByte, packedByte } from "./narrow.js";
import { CannotPush, pushThrough, type Point } from "./push.js";
import type { Target } from "./target.js";

/** An epilogue cannot hold `node` after all: partition again without it. */
export class BlockedNode extends Error {
  constructor(
    readonly node: Node,
    readonly refusal: Refusal,
  ) {
    super(refusal.text);
  }
}

/** A slot cannot read `node` through its map: partition again with it in memory. */
export class ForcedNode extends Error {
  constructor(
    readonly node: Node,
    readonly refusal: Refusal,
  ) {
    super(refusal.text);
  }
}

export interface LoweringContext {
  readonly memory: Memory;
  readonly analysis: Analysis;
  readonly materialised: Materialised;
  readonly target: Target;
  readonly strict: boolean;
  nameOf(node: Node): string;
  /** Registers a run-time check and returns its site. */
  site(node: Node): number;
  /** The value of a constant of one element, if its bytes may be read. */
  scalar(node: Node): Expr | null;
}

/** What a kernel computes itself instead of reading. */
export type Hook = (node: Node, coords: readonly Expr[]) => Expr | null;

/** A reader that ends at memory, at weights, and where `hook` answers. */
export function readerFor(context: LoweringContext, hook: Hook = () => null): ElementReader {
  return new ElementReader({
    strict: context.strict,
    site: (node) => context.site(node),
    scalar: (node) => context.scalar(node),
    stored: (node, coords) => hook(node, coords) ?? storedElement(context, node, coords),
  });
}

function storedElement(context: LoweringContext, node: Node, coords: readonly Expr[]): Expr | null {
  const { memory, analysis } = context;
  const buffer = memory.of(node);
  if (buffer !== undefined) return elementOf(buffer, coords);
  if (node.op === "constant") {
    if (node.shape.every((dim) => isConst(dim, 1)) && context.scalar(node) !== null) return null;
    return elementOf(sourceOf(context, node), coords);
  }
  if (!analysis.isTabled(node)) return null;
  return elementOf(memory.weight(node, context.nameOf(node), null), coords);
}

/** The source tensor of a constant. */
export function sourceOf(context: LoweringContext, node: Node): ReturnType<Memory["make"]> {
  const known = context.memory.of(node);
  if (known !== undefined) return known;
  const buffer = context.memory.make(
    "source",
    node,
    context.nameOf(node),
    node.dtype,
    node.shape,
    `source:${node.id}`,
  );
  context.memory.place(node, buffer);
  return buffer;
}

/**
 * Follows the anchor's points through its epilogue to the values that must be in memory.
 * @throws CannotPush
 */
export function epilogue(
  context: LoweringContext,
  anchor: Node,
  exits: readonly Node[],
  reader: ElementReader,
  points: readonly Point[],
): Store[] {
  const region = context.materialised.regions.get(anchor) ?? new Set<Node>();
  const needed = neededFor(exits, region);
  const reached = new Map<Node, readonly Point[]>([[anchor, points]]);
  // Ids grow from inputs to users.
  for (const node of [...needed].sort((a, b) => a.id - b.id))
    reached.set(node, pushThrough(node, reached, reader));
  return exits.flatMap((exit) => reached.get(exit)!.map((point) => storeOf(context, exit, point)));
}

function neededFor(exits: readonly Node[], region: ReadonlySet<Node>): Set<Node> {
  const needed = new Set<Node>();
  const stack = [...exits];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (needed.has(node) || !region.has(node)) continue;
    needed.add(node);
    stack.push(...node.inputs);
  }
  return needed;
}

export function storeOf(context: LoweringContext, node: Node, point: Point): Store {
  const buffer = context.memory.of(node)!;
  return {
    operand: buffer.id,
    offset: linearize(point.coords, buffer.shape),
    value: point.value,
    guard: point.guard,
  };
}

/** An epilogue that fails for every order of columns is cut at the node that broke it. */
export function blocked(error: unknown): BlockedNode {
  if (error instanceof CannotPush) return new BlockedNode(error.node, error.refusal);
  throw error;
}

/** `value` of a body as an operand of a product in `dtype`; a load of that dtype stays a plain load. */
export function asOperand(value: Expr, dtype: Expr["type"]): Expr {
  const bare = plainLoad(value);
  return bare !== null && bare.type === dtype ? bare : cast(value, dtype);
}

/** The load below exact widening, if `value` is nothing more than that. */
export function plainLoad(value: Expr): Expr<"load"> | null {
  const bare =
    isOp(value, "cast") && computeType(value.args[0]!.type) === value.type ? value.args[0]! : value;
  return isOp(bare, "load") ? bare : null;
}

/** True if `offset` grows by one with `along`, whatever the other coordinates. */
export function unitStride(offset: Expr, along: Expr): boolean {
  return step(offset, along) === one;
}

/** True if `offset` is linear in `along`: its step depends on no coordinate. */
export function isLinear(offset: Expr, along: Expr): boolean {
  const difference = step(offset, along);
  return !someExpr(
    difference,
    (node) => isOp(node, "coord") || isOp(node, "load") || isOp(node, "div"),
  );
}

function step(offset: Expr, along: Expr): Expr {
  if (!isOp(along, "coord")) return one;
  return sub(substitute([offset], new Map([[along, add(along, one)]]))[0]!, offset);
}

/** Operators that compute something between `node` and memory. */
export function operationsAbove(context: LoweringContext, node: Node): number {
  const seen = new Set<Node>();
  const stack = [node];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (seen.has(next) || next.op === "constant" || context.memory.of(next) !== undefined) continue;
    seen.add(next);
    stack.push(...next.inputs);
  }
  return [...seen].filter(({ op }) => roles[op] !== "movement").length;
}

/** Divisions and look-ups that an offset asks for. */
export function lookUps(offset: Expr): number {
  let count = 0;
  someExpr(offset, (node) => {
    if (isOp(node, "div") || isOp(node, "mod") || isOp(node, "load")) count++;
    return false;
  });
  return count;
}

/** How far apart in memory two neighbours along `along` are, as far as it is one number. */
export const distanceAlong = (offset: Expr, along: Expr): number =>
  rangeOf(step(offset, along)).max;

const boxOf = (node: Node): Expr[] => node.shape.map((dim, axis) => coord(`i${axis}`, dim));

/** Independent elements of a node that no epilogue holds. */
export function lowerMap(context: LoweringContext, node: Node): PlannedKernel {
  const reader = readerFor(context);
  if (isSubByte(node.dtype))
    return lowerBytes(context, node, (coords) => reader.computed(node, coords));
  const isStore = roles[node.op] === "store";
  const box = isStore ? node.inputs[1]! : node;
  const coords = boxOf(box);
  const value = isStore ? reader.at(box, coords) : reader.computed(node, coords);
  const own: Point[] = [{ coords, value, guard: null }];
  const points = isStore ? pushThrough(node, new Map([[box, own]]), reader) : own;
  return mapKernel(
    context,
    box.shape,
    coords,
    points.map((point) => storeOf(context, node, point)),
    context.nameOf(node),
  );
}

/** Elements that share bytes: a point of the map is a byte. */
function lowerBytes(
  context: LoweringContext,
  node: Node,
  element: (coords: readonly Expr[]) => Expr,
  operand = context.memory.of(node)!.id,
): PlannedKernel {
  const count = elements(node.shape);
  const extent = byteCount(count, node.dtype);
  const index = coord("i0", extent);
  const value = packedByte(index, count, node.dtype, (flat) =>
    element(delinearize(flat, node.shape)),
  );
  const store = { operand, offset: index, value, guard: null };
  return mapKernel(context, [extent], [index], [store], context.nameOf(node));
}

export function mapKernel(
  context: LoweringContext,
  extents: readonly Expr[],
  coords: readonly Expr[],
  stores: readonly Store[],
  label: string,
): PlannedKernel {
  const names = new OperandNames(context.memory);
  names.collect({ exprs: [], stores });
  const { operands, buffers } = names.finish();
  return {
    desc: {
      family: "map",
      operands,
      label,
      coords: coords.length === 0 ? [int(0)] : coords,
      extents: extents.length === 0 ? [one] : extents,
      stores: stores.map((store) => names.store(store)),
    },
    buffers,
  };
}

/** Computes `data` into the memory of `node`, which has its shape. */
export function lowerInto(context: LoweringContext, data: Node, node: Node): PlannedKernel {
  const coords = boxOf(node);
  const value = readerFor(context).at(data, coords);
  const store = storeOf(context, node, { coords, value, guard: null });
  return mapKernel(context, node.shape, coords, [store], context.nameOf(data));
}

/** Copies a value that is in memory already into an output's buffer. */
export function lowerCopy(
  context: LoweringContext,
  from: Buffer,
  to: Buffer,
  node: Node,
): PlannedKernel {
  if (isSubByte(node.dtype))
    return lowerBytes(context, node, (coords) => elementOf(from, coords), to.id);
  const coords = boxOf(node);
  const offset = linearize(coords, to.shape);
  const value = throughMemory(elementOf(from, coords), node.dtype);
  return mapKernel(
    context,
    node.shape,
    coords,
    [{ operand: to.id, offset, value, guard: null }],
    context.nameOf(node),
  );
}
