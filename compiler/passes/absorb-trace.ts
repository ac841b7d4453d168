/**
 * Where the elements of a value come from, through whatever transposes, reshapes, slices and
 * concatenations: symbolic coordinates go in, and the one place in memory that they reach comes out.
 */
import { ElementReader, linearize, NotElementwise } from "../ir/element.js";
import type { Node } from "../ir/graph.js";
import type { OpName } from "../ir/ops.js";
import { add, constValue, coord, int, load } from "../scalar/build.js";
import { isOp, postorder, someExpr, type Expr } from "../scalar/expr.js";

/** An element of a node. */
export interface Place {
  readonly node: Node;
  readonly coords: readonly Expr[];
}

const moved = new Set<OpName>(["reshape", "transpose", "broadcast", "slice", "concat"]);

/** Whether elements of a node are elements of its inputs. */
export const moves = ({ op }: Node): boolean => moved.has(op) || op === "cast";

interface Trace {
  readonly value: Expr;
  readonly places: ReadonlyMap<Expr, Place>;
}

/** Follows an element down to the first nodes that compute something. */
function traced(node: Node, coords: readonly Expr[]): Trace | null {
  const places = new Map<Expr, Place>();
  const reader = new ElementReader({
    strict: false,
    site: () => 1,
    scalar: () => null,
    stored(each, at) {
      if (moved.has(each.op)) return null;
      const mark = load(`node${each.id}`, linearize(at, each.shape), each.dtype);
      places.set(mark, { node: each, coords: at });
      return mark;
    },
  });
  try {
    return { value: reader.at(node, coords), places };
  } catch (error) {
    if (error instanceof NotElementwise) return null;
    throw error;
  }
}

/** The one place that an element is read from, or null where that depends on the coordinates. */
export function placeOf(node: Node, coords: readonly Expr[]): Place | null {
  const trace = traced(node, coords);
  if (trace === null) return null;
  const { value, places } = trace;
  const bare = isOp(value, "cast") ? value.args[0]! : value;
  return places.get(bare) ?? null;
}

/** A run of an axis whose elements all come from one place. */
export interface Segment {
  readonly start: number;
  readonly length: number;
  /** The coordinate along the run. */
  readonly along: Expr;
  readonly place: Place;
}

/** The last axis of `node` in runs that come from one place each; null if it is no such thing. */
export function segmentsOf(node: Node, outer: readonly Expr[]): Segment[] | null {
  const width = constValue(node.shape[node.shape.length - 1]!);
  if (width === null) return null;
  const axis = coord("along", int(width));
  const whole = traced(node, [...outer, axis]);
  const bounds = whole === null ? null : boundsOf(whole.value, axis);
  if (bounds === null) return null;
  const starts = [...new Set([0, ...bounds.filter((at) => at > 0 && at < width)])].sort(
    (a, b) => a - b,
  );
  const segments = starts.map((start, i): Segment | null => {
    const length = (starts[i + 1] ?? width) - start;
    const along = coord("along", int(length));
    const place = placeOf(node, [...outer, add(int(start), along)]);
    return place === null ? null : { start, length, along, place };
  });
  return segments.includes(null) ? null : (segments as Segment[]);
}

/** Where conditions on `axis` alone change; null if a condition is on anything else. */
function boundsOf(value: Expr, axis: Expr): number[] | null {
  const bounds: number[] = [];
  let simple = true;
  postorder([value], (node) => {
    if (!isOp(node, "select")) return;
    const [condition] = node.args as [Expr];
    const [a, b] = condition.args as [Expr | undefined, Expr | undefined];
    const bound = b === undefined ? null : constValue(b);
    if (condition.op === "lt" && a === axis && bound !== null) bounds.push(bound);
    else simple = false;
  });
  return simple ? bounds : null;
}

/** True if any coordinate of the place depends on `leaf`. */
export const dependsOn = ({ coords }: Place, leaf: Expr): boolean =>
  isOp(leaf, "coord") && coords.some((each) => someExpr(each, (node) => node === leaf));
