/** Places in memory as nodes again: the graph operators that read them in a wanted order of axes. */
import { broadcastTo, dim, gather, iota, map, reshape, slice, transpose } from "../ir/build.js";
import { linearize } from "../ir/element.js";
import type { GraphBuilder, Node } from "../ir/graph.js";
import { elements } from "../ir/shape.js";
import { add, constValue, int, mul, one, sub, substitute, zero } from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import { primitive } from "../scalar/primitives.js";
import type { Place } from "./absorb-trace.js";

/** Rows by batch and position, and where along the last of its axes they begin. */
export interface Rows {
  readonly node: Node;
  readonly coords: readonly Expr[];
  /** The axis of `node` that runs along a row, and the row's first element and length there. */
  readonly axis: number;
  readonly start: number;
  readonly length: number;
}

const free = (expr: Expr, leaf: Expr): boolean =>
  !isOp(leaf, "coord") || !someExpr(expr, (node) => node === leaf);

/** Reads a place that is a row along `along`; null if it is not one axis of its node. */
export function rowsOf(place: Place, along: Expr, length: number): Rows | null {
  const { node, coords } = place;
  const axes = coords.flatMap((each, axis) => (free(each, along) ? [] : [axis]));
  const [axis] = axes;
  if (axis === undefined || axes.length > 1) return null;
  const start = constValue(sub(coords[axis]!, along));
  return start === null ? null : { node, coords, axis, start, length };
}

/** True if `b` follows `a` in the same rows of memory. */
export function continues(a: Rows, b: Rows): boolean {
  const aside = ({ axis, coords }: Rows): string =>
    coords.map((each, i) => (i === axis ? "" : each.id)).join();
  return (
    a.node === b.node &&
    a.axis === b.axis &&
    aside(a) === aside(b) &&
    a.start + a.length === b.start
  );
}

/** `rows` as [batch, 1, positions, length], or null if the axes are otherwise mixed. */
export function rowsNode(
  g: GraphBuilder,
  rows: Rows,
  batch: { readonly coord: Expr; readonly extent: Expr },
  position: { readonly coord: Expr; readonly extent: Expr },
): Node | null {
  const both = add(mul(batch.coord, position.extent), position.coord);
  let node = rows.node;
  const order: { readonly role: number; readonly extent: Expr }[] = [];
  for (const [axis, at] of rows.coords.entries()) {
    const cut = (start: Expr, extent: Expr): void => {
      node = slice(g, node, { axis, start, end: add(start, extent) });
    };
    if (axis === rows.axis) {
      cut(int(rows.start), int(rows.length));
      order.push({ role: 2, extent: int(rows.length) });
    } else if (constValue(at) !== null) cut(at, one);
    else if (at === batch.coord) {
      cut(zero, batch.extent);
      order.push({ role: 0, extent: batch.extent });
    } else if (at === position.coord) {
      cut(zero, position.extent);
      order.push({ role: 1, extent: position.extent });
    } else if (at === both && node.shape[axis] === mul(batch.extent, position.extent))
      order.push({ role: 0, extent: batch.extent }, { role: 1, extent: position.extent });
    else return null;
  }
  const split = reshape(
    g,
    node,
    order.map(({ extent }) => extent),
  );
  const perm = order.map((_, i) => i).sort((x, y) => order[x]!.role - order[y]!.role);
  return reshape(g, transpose(g, split, perm), [batch.extent, one, position.extent, rows.length]);
}

export interface Axis {
  readonly coord: Expr;
  readonly extent: number;
}

/** The elements of a weight at a place, as a node over `axes`: a view where the strides allow one. */
export function weightNode(g: GraphBuilder, place: Place, axes: readonly Axis[]): Node | null {
  return viewed(g, place, axes) ?? gathered(g, place, axes);
}

/** Each axis of the weight is one of `axes`, or two of them, the second inside runs of the first. */
function viewed(g: GraphBuilder, { node, coords }: Place, axes: readonly Axis[]): Node | null {
  let view = node;
  const order: number[] = [];
  const extents: number[] = [];
  for (const [axis, at] of coords.entries()) {
    const used = axes.flatMap(({ coord }, i) => (free(at, coord) ? [] : [i]));
    const size = constValue(node.shape[axis]!);
    const origin = constValue(
      substitute(
        [at],
        new Map(axes.filter(({ coord }) => isOp(coord, "coord")).map(({ coord }) => [coord, zero])),
      )[0]!,
    );
    if (size === null || origin === null || used.length > 2) return null;
    const step = (i: number): number | null => strideOf(at, axes[i]!.coord);
    const cut = (start: number, extent: number): void => {
      view = slice(g, view, { axis: extentsAxis(), start, end: start + extent });
    };
    const extentsAxis = (): number => extents.length;
    if (used.length === 0) {
      cut(origin, 1);
      view = reshape(
        g,
        view,
        view.shape.filter((_, i) => i !== extentsAxis()),
      );
      continue;
    }
    const [outer, inner] = [...used].sort((a, b) => (step(b) ?? 0) - (step(a) ?? 0)) as [
      number,
      number | undefined,
    ];
    if (inner === undefined) {
      if (step(outer) !== 1) return null;
      cut(origin, axes[outer]!.extent);
      order.push(outer);
      extents.push(axes[outer]!.extent);
      continue;
    }
    const run = step(outer);
    if (run === null || step(inner) !== 1) return null;
    const first = firstOfRun(origin, run, axes[outer]!.extent, axes[inner]!.extent, size);
    if (first === null) return null;
    cut(first, run * axes[outer]!.extent);
    const at0 = extentsAxis();
    view = reshape(g, view, [
      ...view.shape.slice(0, at0),
      axes[outer]!.extent,
      run,
      ...view.shape.slice(at0 + 1),
    ]);
    const from = origin - first;
    view = slice(g, view, { axis: at0 + 1, start: from, end: from + axes[inner]!.extent });
    order.push(outer, inner);
    extents.push(axes[outer]!.extent, axes[inner]!.extent);
  }
  return ordered(g, view, order, axes);
}

/** Axes in their own order; one that the weight does not depend on is repeated. */
function ordered(
  g: GraphBuilder,
  view: Node,
  order: readonly number[],
  axes: readonly Axis[],
): Node {
  const perm = order.map((_, i) => i).sort((a, b) => order[a]! - order[b]!);
  const turned = transpose(g, view, perm);
  const aligned = reshape(
    g,
    turned,
    axes.map(({ extent }, i) => (order.includes(i) ? extent : 1)),
  );
  return broadcastTo(
    g,
    aligned,
    axes.map(({ extent }) => extent),
  );
}

/** Where runs of `run` begin so that `inner` elements from `origin` on stay inside theirs. */
function firstOfRun(
  origin: number,
  run: number,
  outer: number,
  inner: number,
  size: number,
): number | null {
  for (const first of [origin, origin - (origin % run)])
    if (first >= 0 && first + run * outer <= size && origin - first + inner <= run) return first;
  return null;
}

/** How far apart neighbours along `leaf` are, where that is the same everywhere. */
function strideOf(at: Expr, leaf: Expr): number | null {
  if (!isOp(leaf, "coord")) return 0;
  return constValue(sub(substitute([at], new Map([[leaf, add(leaf, one)]]))[0]!, at));
}

/** Element by element: an index map for which there is no view. */
function gathered(g: GraphBuilder, { node, coords }: Place, axes: readonly Axis[]): Node | null {
  const offset = linearize(coords, node.shape);
  const shape = axes.map(({ extent }) => extent);
  let rest = offset;
  let index: Node | null = null;
  for (const [axis, { coord }] of axes.entries()) {
    const step = strideOf(offset, coord);
    if (step === null) return null;
    rest = sub(rest, mul(coord, int(step)));
    const term = map(g, primitive("mul"), [iota(g, shape, axis), dim(g, step)]);
    index = index === null ? term : map(g, primitive("add"), [index, term]);
  }
  const start = constValue(rest);
  if (index === null || start === null) return null;
  const places = map(g, primitive("add"), [index, dim(g, start)]);
  return gather(g, reshape(g, node, [elements(node.shape)]), places);
}
