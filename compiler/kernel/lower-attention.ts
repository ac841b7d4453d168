/** Attention: strided views of queries, keys and values, a score body, and the keys it can reach. */
import { delinearize } from "../ir/element.js";
import type { Node } from "../ir/graph.js";
import {
  add,
  constValue,
  coord,
  div,
  int,
  isConst,
  lt,
  max,
  min,
  mul,
  one,
  param,
  rewriteExpr,
  sub,
  substitute,
  zero,
} from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import type { AttentionDesc } from "./desc.js";
import { refusal } from "./limits.js";
import {
  blocked,
  epilogue,
  ForcedNode,
  plainLoad,
  readerFor,
  unitStride,
  distanceAlong,
  operationsAbove,
  type LoweringContext,
} from "./lowering.js";
import { OperandNames, type PlannedKernel } from "./memory.js";
import { CannotPush } from "./push.js";

/** Scores at or below this are masked: after the softmax of a row with any other key they are zero. */
const maskedBelow = -1e30;

/** `node` at `coords`, as rows of memory along `along`. */
function viewOf(
  context: LoweringContext,
  node: Node,
  coords: readonly Expr[],
  along: Expr,
): Expr<"load"> {
  const sites: Node[] = [];
  const reader = readerFor({ ...context, site: (each) => sites.push(each) });
  const value = plainLoad(reader.at(node, coords));
  const offset = value?.args[0];
  if (value === null || offset === undefined)
    throw new ForcedNode(
      node,
      refusal("operations", operationsAbove(context, node), 0, "attention"),
    );
  someExpr(offset, (each) => {
    if (!isOp(each, "check")) return false;
    // Looked up and checked once, not for every row of every layer.
    throw new ForcedNode(sites[each.attr.site - 1]!, refusal("checks", 1, 0, "attention"));
  });
  if (!unitStride(offset, along))
    throw new ForcedNode(node, refusal("stride", distanceAlong(offset, along), 1, "attention"));
  return value;
}

/** The score body over the kernel's coordinates, with the loads of its extra operands. */
function scoreOf(
  context: LoweringContext,
  node: Node<"attention">,
  at: Readonly<Record<string, Expr>>,
): Expr {
  const reader = readerFor(context);
  return rewriteExpr([node.attrs.score], (expr, original) => {
    if (isOp(original, "param"))
      return original.attr.name === "score" ? null : at[original.attr.name]!;
    // By the original: what is rebuilt around an operand's load may be nothing but that load.
    if (!isOp(original, "load") || !isOp(expr, "load")) return null;
    const operand = node.inputs[Number(expr.attr.buffer.slice("input".length))]!;
    return reader.at(operand, delinearize(expr.args[0]!, operand.shape));
  })[0]!;
}

/** Splits a condition into the parts that all must hold. */
function conjuncts(condition: Expr): Expr[] {
  return isOp(condition, "and") ? condition.args.flatMap(conjuncts) : [condition];
}

interface Mask {
  readonly conditions: readonly Expr[];
  /** A large negative number stands for minus infinity: a row masked everywhere is not zero then. */
  readonly finite: boolean;
}

/** Conditions outside of which the score is masked, however the body is nested. */
function maskOf(score: Expr): Mask {
  if (isOp(score, "add")) return both(score.args.map(maskOf));
  if (!isOp(score, "select")) return { conditions: [], finite: false };
  const [condition, whenTrue, whenFalse] = score.args as [Expr, Expr, Expr];
  const value = isOp(whenFalse, "const") ? Number(whenFalse.attr.value) : 0;
  if (!(value <= maskedBelow)) return { conditions: [], finite: false };
  return both([
    { conditions: conjuncts(condition), finite: Number.isFinite(value) },
    maskOf(whenTrue),
  ]);
}

const both = (masks: readonly Mask[]): Mask => ({
  conditions: masks.flatMap((mask) => mask.conditions),
  finite: masks.some((mask) => mask.finite),
});

/** Keys [first, end) outside of which the score is masked: the part of it that bounds k. */
export function boundsOf(score: Expr, k: Expr, extent: Expr): AttentionDesc["bounds"] {
  let [first, end]: [Expr, Expr] = [zero, extent];
  const { conditions, finite } = maskOf(score);
  for (const condition of conditions) {
    if (condition.op !== "le" && condition.op !== "lt") continue;
    const [a, b] = condition.args as [Expr, Expr];
    // The condition is slack > 0, and slack is linear in k where its step does not depend on k.
    const slack = condition.op === "lt" ? sub(b, a) : add(sub(b, a), one);
    const [atZero, atOne] = [zero, one].map(
      (value) => substitute([slack], new Map([[k, value]]))[0]!,
    ) as [Expr, Expr];
    const slope = sub(atOne, atZero);
    if (slope === one && sub(slack, k) === atZero) first = max(first, sub(one, atZero));
    else if (slope === int(-1) && add(slack, k) === atZero) end = min(end, atZero);
  }
  const provablyNonEmpty = isConst(lt(first, end), 1);
  return finite && !provablyNonEmpty ? { first: zero, end: extent } : { first, end };
}

/** Values wider than a kernel takes at once are taken in parts, each by a kernel of its own. */
export function lowerAttention(
  context: LoweringContext,
  node: Node<"attention">,
  exits: readonly Node[],
): PlannedKernel[] {
  const [queries, , values] = node.inputs as [Node, Node, Node];
  const [depth, width] = [queries, values].map((x) => constValue(x.shape[3]!));
  const most = context.target.valuesAtOnce?.(queries.dtype, depth ?? 0) ?? Infinity;
  if (width === null || width === undefined || width <= most)
    return [lowerPart(context, node, exits, null)];
  const parts = Array.from({ length: Math.ceil(width / most) }, (_, part) => part * most);
  return parts.map((start) =>
    lowerPart(context, node, exits, { start, length: Math.min(most, width - start) }),
  );
}

/** A run of a value's elements. */
interface ValuePart {
  readonly start: number;
  readonly length: number;
}

function lowerPart(
  context: LoweringContext,
  node: Node<"attention">,
  exits: readonly Node[],
  part: ValuePart | null,
): PlannedKernel {
  const [queries, keys, values] = node.inputs as [Node, Node, Node];
  const [bExtent, hExtent, qExtent, dExtent] = queries.shape as [Expr, Expr, Expr, Expr];
  const [gExtent, kExtent] = [keys.shape[1]!, keys.shape[2]!];
  const eExtent = part === null ? values.shape[3]! : int(part.length);
  const rExtent = div(hExtent, gExtent);
  const [b, g, r, q] = [
    coord("b", bExtent),
    coord("g", gExtent),
    coord("r", rExtent),
    coord("q", qExtent),
  ];
  const [k, d, e] = [coord("k", kExtent), coord("d", dExtent), coord("e", eExtent)];
  const h = add(mul(g, rExtent), r);
  const element = part === null ? e : add(int(part.start), e);
  const at = {
    queries: viewOf(context, queries, [b, h, q, d], d),
    keys: viewOf(context, keys, [b, g, k, d], d),
    values: viewOf(context, values, [b, g, k, element], e),
  };
  const score = scoreOf(context, node, { b, h, q, k });
  const bounds = boundsOf(score, k, kExtent);
  const reader = readerFor(context);
  try {
    const point = {
      coords: [b, h, q, element],
      value: reader.round(param("acc", "f32"), node.dtype),
      guard: null,
    };
    const stores = epilogue(context, node, exits, reader, [point]);
    const names = new OperandNames(context.memory);
    names.collect({
      exprs: [at.queries, at.keys, at.values, score, bounds.first, bounds.end],
      stores,
    });
    const { operands, buffers } = names.finish();
    const desc: AttentionDesc = {
      family: "attention",
      operands,
      label: exits.map((exit) => context.nameOf(exit)).join(" + "),
      b,
      g,
      r,
      q,
      k,
      d,
      e,
      extents: {
        b: bExtent,
        g: gExtent,
        r: rExtent,
        q: qExtent,
        k: kExtent,
        d: dExtent,
        e: eExtent,
      },
      dtype: queries.dtype,
      queries: names.expr(at.queries),
      keys: names.expr(at.keys),
      values: names.expr(at.values),
      scale: node.attrs.scale,
      score: names.expr(score),
      bounds: { first: names.expr(bounds.first), end: names.expr(bounds.end) },
      stores: stores.map((store) => names.store(store)),
    };
    return { desc, buffers };
  } catch (error) {
    if (error instanceof CannotPush) throw blocked(error);
    throw error;
  }
}
