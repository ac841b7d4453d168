/**
 * Forward index maps: what happens to the values that an anchor produces on their way through the
 * operators of its epilogue. Where `ElementReader` asks for the value at a coordinate, this follows
 * a value to its coordinates.
 */
import type { ElementReader } from "../ir/element.js";
import { broadcastCoords, reshapeCoords, rotate } from "../ir/element.js";
import type { Node } from "../ir/graph.js";
import type { OpName } from "../ir/ops.js";
import { largestElements, sameShape } from "../ir/shape.js";
import { add, and, div, int, isConst, le, lt, mod, mul, sub, zero } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { refusal, type Refusal } from "./limits.js";

/** One value that a thread of the anchor holds: where it belongs in a node, and what it is. */
export interface Point {
  readonly coords: readonly Expr[];
  readonly value: Expr;
  /** bool: the point exists only where this holds; null is everywhere. */
  readonly guard: Expr | null;
}

/** Why a node cannot be part of an epilogue. */
export class CannotPush extends Error {
  constructor(
    readonly node: Node,
    readonly refusal: Refusal,
  ) {
    super(refusal.text);
  }
}

type Push<O extends OpName> = (
  node: Node<O>,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
) => Point[];

/** Operators that an epilogue can hold; every other operator ends it. */
export const pushRules: { readonly [O in OpName]: Push<O> | null } = {
  map: pushMap,
  cast: (node, points, reader) =>
    pointsOf(node.inputs[0]!, points).map((point) => ({
      ...point,
      value: reader.combine(node, [point.value]),
    })),
  reshape: (node, points) => {
    const input = node.inputs[0]!;
    return pointsOf(input, points).map((point) => ({
      ...point,
      coords: reshapeCoords(point.coords, input.shape, node.shape),
    }));
  },
  transpose: (node, points) =>
    pointsOf(node.inputs[0]!, points).map((point) => ({
      ...point,
      coords: node.attrs.perm.map((from) => point.coords[from]!),
    })),
  slice: pushSlice,
  rotary: pushRotary,
  cache_write: pushCacheWrite,
  paged_write: pushPagedWrite,
  input: null,
  constant: null,
  state: null,
  iota: null,
  dim: null,
  broadcast: null,
  concat: null,
  gather: null,
  gather_nd: null,
  reduce: null,
  scan: null,
  top_k: null,
  scatter: null,
  softmax: null,
  normalize: null,
  matmul: null,
  attention: null,
  sample: null,
  route: null,
  expert_groups: null,
  expert_matmul: null,
  dequantize: null,
};

/** The input through which a node of an epilogue is reached, where only one may be: else any. */
export const pushedInput: Partial<Record<OpName, number>> = {
  rotary: 0,
  cache_write: 1,
  paged_write: 1,
};

/** @throws CannotPush */
export function pushThrough(
  node: Node,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
): Point[] {
  const rule = pushRules[node.op] as Push<OpName> | null;
  if (rule === null) throw new CannotPush(node, refusal("epilogue operators", 1, 0, node.op));
  return rule(node, points, reader);
}

function pointsOf(node: Node, points: ReadonlyMap<Node, readonly Point[]>): readonly Point[] {
  const found = points.get(node);
  if (found === undefined) throw new CannotPush(node, refusal("producers", 2, 1));
  return found;
}

export function bothGuards(a: Expr | null, b: Expr | null): Expr | null {
  if (a === null || b === null) return a ?? b;
  return and(a, b);
}

/** Elements of a value, of the largest that it may be. */
const largest = (node: Node): number => Math.max(1, largestElements(node.shape));

/** How far from `point` the nearest of `others` is, in elements of `node`. */
function nearest(point: Point, others: readonly Point[], node: Node): number {
  const strides = node.shape.map((_, axis) => largestElements(node.shape.slice(axis + 1)));
  const distances = others.map(({ coords }) =>
    coords.reduce((sum, c, axis) => {
      const { min, max } = rangeOf(sub(c, point.coords[axis]!));
      return sum + Math.max(Math.abs(min), Math.abs(max)) * strides[axis]!;
    }, 0),
  );
  return distances.length === 0 ? largest(node) : Math.min(...distances);
}

/** How far along the last axis the values of one thread are apart. */
function heldApart([first, second]: readonly Point[]): number {
  if (first === undefined || second === undefined) return 0;
  return Math.abs(rangeOf(sub(second.coords.at(-1)!, first.coords.at(-1)!)).max);
}

const sameCoords = (a: readonly Expr[], b: readonly Expr[]): boolean =>
  a.every((c, axis) => c === b[axis]);

function pushMap(
  node: Node<"map">,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
): Point[] {
  const carried = node.inputs.filter((input) => points.has(input));
  const repeated = carried.find((input) => !sameShape(input.shape, node.shape));
  if (repeated !== undefined)
    throw new CannotPush(node, refusal("copies", largest(node) / largest(repeated), 1));
  const lead = pointsOf(carried[0]!, points);
  return lead.map((point) => {
    let guard = point.guard;
    const args = node.inputs.map((input) => {
      const own = points.get(input);
      if (own === undefined) return reader.at(input, input.shape.length === 0 ? [] : point.coords);
      const match = own.find((other) => sameCoords(other.coords, point.coords));
      if (match === undefined)
        throw new CannotPush(node, refusal("distance of operands", nearest(point, own, node), 0));
      guard = guard === match.guard ? guard : bothGuards(guard, match.guard);
      return match.value;
    });
    return { coords: point.coords, value: reader.combine(node, args), guard };
  });
}

function pushSlice(node: Node<"slice">, points: ReadonlyMap<Node, readonly Point[]>): Point[] {
  const step = node.attrs.steps.find((each) => each !== 1);
  if (step !== undefined) throw new CannotPush(node, refusal("step", Math.abs(step), 1));
  return pointsOf(node.inputs[0]!, points).flatMap((point) => {
    let guard = point.guard;
    const coords = point.coords.map((c, axis) => {
      const inner = sub(c, node.attrs.starts[axis]!);
      const inside = and(le(zero, inner), lt(inner, node.shape[axis]!));
      if (!isConst(inside, 1)) guard = bothGuards(guard, inside);
      return inner;
    });
    return guard !== null && isConst(guard, 0) ? [] : [{ coords, value: point.value, guard }];
  });
}

/** Both halves of a pair must be in the same thread. */
function pushRotary(
  node: Node<"rotary">,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
): Point[] {
  const [x, cos, sin] = node.inputs as [Node, Node, Node];
  const last = node.shape.length - 1;
  const distance = node.attrs.interleaved ? int(1) : div(node.shape[last]!, int(2));
  const source = pointsOf(x, points);
  // A slice may begin inside a pair: what is first in memory is the second half of another one then.
  const period = node.attrs.interleaved ? int(2) : node.shape[last]!;
  const isFirst = ({ coords }: Point): boolean =>
    isConst(lt(mod(coords[last]!, period), node.attrs.interleaved ? int(1) : distance), 1);
  return source.flatMap((point) => {
    const partner = source.find(
      (other) =>
        isFirst(point) &&
        sub(other.coords[last]!, point.coords[last]!) === distance &&
        sameCoords(other.coords.slice(0, last), point.coords.slice(0, last)),
    );
    if (partner === undefined) {
      const isSecond = source.some(
        (other) => isFirst(other) && sub(point.coords[last]!, other.coords[last]!) === distance,
      );
      if (isSecond) return [];
      throw new CannotPush(
        node,
        refusal("distance of a pair", rangeOf(distance).max, heldApart(source)),
      );
    }
    const position = point.coords[last]!;
    const angle = node.attrs.interleaved ? div(position, int(2)) : position;
    const at = [...point.coords.slice(0, last), angle];
    const [c, s] = [cos, sin].map((table) =>
      reader.at(table, broadcastCoords(table.shape, at)),
    ) as [Expr, Expr];
    const [first, second] = rotate(point.value, partner.value, c, s, (value) =>
      reader.round(value, node.dtype),
    );
    const guard = bothGuards(point.guard, partner.guard === point.guard ? null : partner.guard);
    return [
      { coords: point.coords, value: first, guard },
      { coords: partner.coords, value: second, guard },
    ];
  });
}

/** A value at sequence position j of row b belongs at start[b] + j; beyond the capacity nowhere. */
function pushCacheWrite(
  node: Node<"cache_write">,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
): Point[] {
  const [, value, start] = node.inputs as [Node, Node, Node];
  const capacity = node.shape[2]!;
  return pointsOf(value, points).map((point) => {
    const [b, g, s, d] = point.coords as [Expr, Expr, Expr, Expr];
    const position = add(reader.at(start, [b]), s);
    return {
      coords: [b, g, position, d],
      value: point.value,
      guard: bothGuards(point.guard, lt(position, capacity)),
    };
  });
}

/** A value at sequence position j of row b belongs in slot slots[b, j] of the pool; padding nowhere. */
function pushPagedWrite(
  node: Node<"paged_write">,
  points: ReadonlyMap<Node, readonly Point[]>,
  reader: ElementReader,
): Point[] {
  const [, value, slots, count] = node.inputs as [Node, Node, Node, Node];
  const [pages, , rows] = node.shape as [Expr, Expr, Expr, Expr];
  return pointsOf(value, points).map((point) => {
    const [b, g, s, d] = point.coords as [Expr, Expr, Expr, Expr];
    const slot = reader.at(slots, [b, s]);
    const inside = and(le(zero, slot), lt(slot, mul(pages, rows)));
    return {
      coords: [div(slot, rows), g, mod(slot, rows), d],
      value: point.value,
      guard: bothGuards(point.guard, and(lt(s, reader.at(count, [b])), inside)),
    };
  });
}
