/** Rewrites of operators that only move elements, and of products and reductions that do no more. */
import {
  broadcastTo,
  concat,
  constantScalar,
  make,
  map,
  reshape,
  transpose,
} from "../../ir/build.js";
import { FarrierError } from "../../errors.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import { isNode } from "../../ir/graph.js";
import { sameShape } from "../../ir/shape.js";
import { any, op } from "../../rewrite/pattern.js";
import { rule, type Rule } from "../../rewrite/rule.js";
import { add, constValue, int, isConst, lt, mul, zero } from "../../scalar/build.js";
import { primitive } from "../../scalar/primitives.js";
import type { Value } from "../../scalar/round.js";

const x = any().as("x");

const transposes: readonly Rule[] = [
  rule("transpose(x, 0 1 2 …) => x", op("transpose", [x]), (bound, { root }) =>
    root.attrs.perm.every((axis, i) => axis === i) ? bound.x : null,
  ),
  rule(
    "transpose(transpose(x)) => transpose(x)",
    op("transpose", [op("transpose", [x]).as("inner")]),
    ({ x: below, inner }, { builder, root }) =>
      transpose(
        builder,
        below,
        root.attrs.perm.map((axis) => inner.attrs.perm[axis]!),
      ),
  ),
];

/** Whether `shape` is the shape of `node` behind new axes of extent 1. */
function addsLeadingOnes(node: Node, shape: Node["shape"]): boolean {
  const added = shape.length - node.shape.length;
  const ones = shape.slice(0, Math.max(0, added)).every((dim) => isConst(dim, 1));
  return added >= 0 && ones && sameShape(shape.slice(added), node.shape);
}

const shapes: readonly Rule[] = [
  rule("reshape(x, its shape) => x", op("reshape", [x]), (bound, { root }) =>
    sameShape(bound.x.shape, root.shape) ? bound.x : null,
  ),
  rule("reshape(reshape(x)) => reshape(x)", op("reshape", [op("reshape", [x])]), (bound, c) =>
    reshape(c.builder, bound.x, c.root.shape),
  ),
  rule("broadcast(x, its shape) => x", op("broadcast", [x]), (bound, { root }) =>
    sameShape(bound.x.shape, root.shape) ? bound.x : null,
  ),
  rule(
    "broadcast(broadcast(x)) => broadcast(x)",
    op("broadcast", [op("broadcast", [x])]),
    (bound, { builder, root }) => broadcastTo(builder, bound.x, root.shape),
  ),
  rule(
    "broadcast(reshape(x, 1 …)) => broadcast(x)",
    op("broadcast", [op("reshape", [x]).as("inner")]),
    ({ x: below, inner }, { builder, root }) =>
      addsLeadingOnes(below, inner.shape) ? broadcastTo(builder, below, root.shape) : null,
  ),
];

const slices: readonly Rule[] = [
  rule("x[0 .. n] => x", op("slice", [x]), (bound, { root }) => {
    // As many elements from the first on: only steps of 1 stay inside.
    const whole = root.attrs.starts.every((start) => isConst(start, 0));
    return whole && sameShape(bound.x.shape, root.shape) ? bound.x : null;
  }),
  rule(
    "slice(slice(x)) => slice(x)",
    op("slice", [op("slice", [x]).as("inner")]),
    ({ x: below, inner }, { builder, root: { attrs, shape } }) => {
      const outer = attrs;
      const { starts, steps } = inner.attrs;
      return make(
        builder,
        "slice",
        [below],
        {
          starts: starts.map((start, i) => add(start, mul(outer.starts[i]!, int(steps[i]!)))),
          steps: steps.map((step, i) => step * outer.steps[i]!),
        },
        { shape },
      );
    },
  ),
];

const concats: readonly Rule[] = [
  rule("concat(x) => x", op("concat", [x]), (bound) => bound.x),
  rule("concat(x, empty) => concat(x)", op("concat"), (_, { builder, root }) => {
    const { axis } = root.attrs;
    const parts = root.inputs.filter((part) => !isConst(part.shape[axis]!, 0));
    if (parts.length === root.inputs.length || parts.length === 0) return null;
    return concat(builder, parts, axis);
  }),
  rule("concat(concat(x, y), z) => concat(x, y, z)", op("concat"), (_, { builder, root }) => {
    const { axis } = root.attrs;
    const isInner = (part: Node): boolean => isNode(part, "concat") && part.attrs.axis === axis;
    if (!root.inputs.some(isInner)) return null;
    const parts = root.inputs.flatMap((part) => (isInner(part) ? part.inputs : [part]));
    return concat(builder, parts, axis);
  }),
];

/** Reads the values of a constant of at most `limit` bytes; null where they may not be read. */
export type ReadConstant = (node: Node, limit: number) => readonly Value[] | null;

/** Bytes of indices that are looked at. */
const indexBytes = 1 << 16;

/** first, first + step … as [first, step], or null. */
function progression(values: readonly number[]): [number, number] | null {
  const [first, second] = values;
  if (first === undefined) return null;
  const step = second === undefined ? 1 : second - first;
  return step !== 0 && values.every((value, i) => value === first + i * step)
    ? [first, step]
    : null;
}

function gatherToSlice(g: GraphBuilder, root: Node<"gather">, read: ReadConstant): Node | null {
  const [data, indices] = root.inputs as [Node, Node];
  const { axis } = root.attrs;
  const values = read(indices, indexBytes)?.map(Number);
  if (values === undefined) return null;
  const extent = data.shape[axis]!;
  const limit = constValue(extent);
  for (const value of values)
    if (value < 0 || (limit !== null && value >= limit))
      throw new FarrierError("E_INDEX", `index ${value} of an axis of ${limit ?? "any size"}`, {
        where: g.nameOf(root) ?? "gather",
      });
  const found = progression(values);
  if (found === null || !isConst(lt(int(Math.max(...values)), extent), 1)) return null;
  const [first, step] = found;
  const part = make(
    g,
    "slice",
    [data],
    {
      starts: data.shape.map((_, i) => (i === axis ? int(first) : zero)),
      steps: data.shape.map((_, i) => (i === axis ? step : 1)),
    },
    { shape: data.shape.map((dim, i) => (i === axis ? int(values.length) : dim)) },
  );
  return reshape(g, part, root.shape);
}

const positions: readonly Rule[] = [
  rule("iota over an axis of 1 => 0", op("iota"), (_, { builder, root }) =>
    isConst(root.shape[root.attrs.axis]!, 1)
      ? broadcastTo(builder, constantScalar(builder, "i64", 0), root.shape)
      : null,
  ),
  rule("dim(n), a number => n", op("dim"), (_, { builder, root }) => {
    const value = constValue(root.attrs.value);
    return value === null ? null : constantScalar(builder, "i64", value);
  }),
];

const products: readonly Rule[] = [
  rule(
    "matmul(a, b), k = 1 => a * b",
    op("matmul", [any().as("a"), any().as("b")]),
    ({ a, b }, { builder, root }) => {
      if (!isConst(a.shape[a.shape.length - 1]!, 1)) return null;
      const [left, right] = [a, b].map((each) => broadcastTo(builder, each, root.shape));
      return map(builder, primitive("mul"), [left!, right!]);
    },
  ),
  rule("reduce(x) over axes of 1 => x", op("reduce", [x]), (bound, { root }) =>
    root.attrs.axes.every((axis) => isConst(bound.x.shape[axis]!, 1)) ? bound.x : null,
  ),
];

export const movementRules = (read: ReadConstant): readonly Rule[] => [
  ...transposes,
  ...shapes,
  ...slices,
  ...concats,
  ...positions,
  ...products,
  rule("gather(x, i, i + s, …) => x[i .. by s]", op("gather"), (_, { builder, root }) =>
    gatherToSlice(builder, root, read),
  ),
];
