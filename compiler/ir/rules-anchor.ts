/** Rules of the operators that anchor kernels: products, rotary embedding, attention, caches. */
import { constValue, isConst, le, mod } from "../scalar/build.js";
import { ceilDiv, int } from "../scalar/build.js";
import { isOp, postorder, type Expr } from "../scalar/expr.js";
import { broadcastsTo, axisOf, printShape, sameShape } from "./shape.js";
import { isFloat, type DType } from "./dtype.js";
import { exprType } from "./element.js";
import type { Node, Shape } from "./graph.js";
import type { OpName } from "./ops.js";
import { printExpr } from "./print-expr.js";
import { declared, need, takes, type Proposal, type Signature } from "./rules-base.js";
import { sampleRule } from "./rules-sample.js";

/** Parameters of a score body and their types. */
export const scoreParams: Readonly<Record<string, DType>> = {
  score: "f32",
  b: "i64",
  h: "i64",
  q: "i64",
  k: "i64",
};

/** Inputs of `attention` before those that its score body loads. */
export const attentionOperands = 3;

function matmulRule(p: Proposal<"matmul">): Signature {
  const [a, b] = takes(p, 2);
  const rank = a.shape.length;
  const shapes = (): string => `${printShape(a.shape)} times ${printShape(b.shape)}`;
  // C1: equal ranks of 2 at least.
  need(rank >= 2 && b.shape.length === rank, p, "E_MATMUL_SHAPE", shapes);
  const [depth, rows] = [a.shape[rank - 1]!, b.shape[rank - 2]!];
  // C2: the same inner dimension.
  need(
    depth === rows,
    p,
    "E_MATMUL_SHAPE",
    () => `${shapes()}: inner dimensions ${printExpr(depth)} and ${printExpr(rows)}`,
  );
  // C3: the same leading axes.
  need(sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2)), p, "E_MATMUL_SHAPE", shapes);
  // C4: numbers of one type.
  const typed = a.dtype === b.dtype && a.dtype !== "bool";
  need(typed, p, "E_DTYPE", () => `${a.dtype} times ${b.dtype}`);
  return { dtype: a.dtype, shape: [...a.shape.slice(0, -1), b.shape[rank - 1]!] };
}

function rotaryRule(p: Proposal<"rotary">): Signature {
  const [x, cos, sin] = takes(p, 3);
  const rank = x.shape.length;
  const depth = constValue(x.shape[rank - 1] ?? int(1));
  // C1: an even number of elements to rotate.
  need(
    rank >= 2 && depth !== null && depth % 2 === 0,
    p,
    "E_ROPE",
    () => `${printShape(x.shape)} has no even last axis`,
  );
  const angles = [...x.shape.slice(0, -1), int((depth ?? 0) / 2)];
  // C2: half as many angles, for each row or shared.
  const fits =
    sameShape(cos.shape, sin.shape) &&
    cos.shape.length === rank &&
    broadcastsTo(cos.shape, angles) &&
    (cos.shape[rank - 1] === angles[rank - 1] || depth === 2);
  need(
    fits,
    p,
    "E_ROPE",
    () =>
      `cos ${printShape(cos.shape)} and sin ${printShape(sin.shape)} for ${printShape(x.shape)}`,
  );
  // C3: floats.
  const typed = isFloat(x.dtype) && isFloat(cos.dtype) && cos.dtype === sin.dtype;
  need(typed, p, "E_DTYPE", () => `${x.dtype} rotated by ${cos.dtype} and ${sin.dtype}`);
  return x;
}

function attentionRule(p: Proposal<"attention">): Signature {
  const [q, k, v] = p.inputs;
  if (q === undefined || k === undefined || v === undefined) return takes(p, 3)[0];
  const shapes = (): string =>
    `q ${printShape(q.shape)}, k ${printShape(k.shape)}, v ${printShape(v.shape)}`;
  // C1: four axes, one batch, one head size, as many keys as values.
  const ranks = [q, k, v].every((x) => x.shape.length === 4);
  const [qs, ks, vs] = [q.shape, k.shape, v.shape];
  const same = (pairs: readonly (readonly [Expr | undefined, Expr | undefined])[]): boolean =>
    pairs.every(([x, y]) => x === y);
  const fits =
    ranks &&
    same([
      [qs[0], ks[0]],
      [qs[0], vs[0]],
      [ks[1], vs[1]],
      [qs[3], ks[3]],
      [ks[2], vs[2]],
    ]);
  need(fits, p, "E_ATTENTION", shapes);
  // C2: query heads in whole groups.
  need(
    isConst(mod(qs[1]!, ks[1]!), 0),
    p,
    "E_ATTENTION",
    () => `${printExpr(qs[1]!)} query heads are no multiple of ${printExpr(ks[1]!)} key heads`,
  );
  // C3: one float type.
  const typed = isFloat(q.dtype) && q.dtype === k.dtype && q.dtype === v.dtype;
  need(typed, p, "E_DTYPE", () => `attention of ${q.dtype}, ${k.dtype}, ${v.dtype}`);
  need(Number.isFinite(p.attrs.scale), p, "E_ATTENTION", () => `scale ${p.attrs.scale}`);
  checkScore(p);
  return { dtype: q.dtype, shape: [...qs.slice(0, 3), vs[3]!] };
}

/** C4: an f32 body over its parameters, symbols and the inputs from 3 on. */
function checkScore(p: Proposal<"attention">): void {
  const { score } = p.attrs;
  need(score.type === "f32", p, "E_ATTENTION", () => `score of type ${score.type}`);
  postorder([score], (expr) => {
    if (isOp(expr, "param"))
      need(
        Object.hasOwn(scoreParams, expr.attr.name) && scoreParams[expr.attr.name] === expr.type,
        p,
        "E_ATTENTION",
        () => `score uses parameter ${expr.attr.name} of type ${expr.type}`,
      );
    if (isOp(expr, "load")) {
      const operand = scoreOperand(expr, p.inputs);
      const loads =
        operand !== null && [operand.dtype, exprType(operand.dtype)].includes(expr.type);
      need(loads, p, "E_ATTENTION", () => `score loads ${expr.attr.buffer} as ${expr.type}`);
    }
    need(!isOp(expr, "coord"), p, "E_ATTENTION", () => `score uses coordinate ${printExpr(expr)}`);
  });
}

/** The input that a load of a score body reads, or null if it names none. */
export function scoreOperand(load: Expr<"load">, inputs: readonly Node[]): Node | null {
  const digits = /^input(\d+)$/.exec(load.attr.buffer)?.[1];
  if (digits === undefined || Number(digits) < attentionOperands) return null;
  return inputs[Number(digits)] ?? null;
}

function cacheWriteRule(p: Proposal<"cache_write">): Signature {
  const [state, value, start] = takes(p, 3);
  const [s, v] = [state.shape, value.shape];
  const shapes = (): string => `${printShape(v)} at ${printShape(start.shape)} of ${printShape(s)}`;
  // C1: four axes, the same heads and head size.
  const fits = s.length === 4 && v.length === 4 && s[1] === v[1] && s[3] === v[3];
  need(fits, p, "E_STATE", shapes);
  // C2: not more rows or positions than there is room for.
  need(isConst(le(v[0]!, s[0]!), 1) && !isConst(le(v[2]!, s[2]!), 0), p, "E_STATE", shapes);
  // C3: one start for each row.
  need(start.dtype === "i64" && sameShape(start.shape, [v[0]!]), p, "E_STATE", shapes);
  need(state.dtype === value.dtype, p, "E_DTYPE", () => `${value.dtype} into ${state.dtype}`);
  return state;
}

function pagedWriteRule(p: Proposal<"paged_write">): Signature {
  const [state, value, slots, count] = takes(p, 4);
  const [s, v] = [state.shape, value.shape];
  const shapes = (): string =>
    `${printShape(v)} at ${printShape(slots.shape)} of ${printShape(s)}, ${printShape(count.shape)} of them`;
  // C1: four axes, the same heads and head size.
  const fits = s.length === 4 && v.length === 4 && s[1] === v[1] && s[3] === v[3];
  need(fits, p, "E_STATE", shapes);
  // C2: a slot for each row of each sequence, and how many of them there are.
  const placed = sameShape(slots.shape, [v[0]!, v[2]!]) && sameShape(count.shape, [v[0]!]);
  need(placed && slots.dtype === "i64" && count.dtype === "i64", p, "E_STATE", shapes);
  need(state.dtype === value.dtype, p, "E_DTYPE", () => `${value.dtype} into ${state.dtype}`);
  return state;
}

function dequantizeRule(p: Proposal<"dequantize">): Signature {
  const [x, scale] = takes(p, 2);
  const { dtype } = declared(p, p.dtype ?? scale.dtype, x.shape);
  const { group } = p.attrs;
  const axis = axisOf(p.attrs.axis, x.shape.length, p.where);
  // C1: a group is one element at least.
  need(Number.isInteger(group) && group >= 1, p, "E_QUANT", () => `group of ${group}`);
  const grouped: Shape = x.shape.map((dim, i) => (i === axis ? ceilDiv(dim, int(group)) : dim));
  // C2: a scale for each group.
  const fits = sameShape(scale.shape, grouped);
  need(
    fits,
    p,
    "E_QUANT",
    () =>
      `scale ${printShape(scale.shape)} for ${printShape(x.shape)}, group ${group} on axis ${axis}`,
  );
  // C3: numbers times floats.
  const typed = isFloat(scale.dtype) && isFloat(dtype) && x.dtype !== "bool";
  need(typed, p, "E_DTYPE", () => `${x.dtype} times ${scale.dtype} as ${dtype}`);
  return { dtype, shape: x.shape };
}

type AnchorOp = Extract<
  OpName,
  "matmul" | "rotary" | "attention" | "cache_write" | "paged_write" | "sample" | "dequantize"
>;

export const anchorRules: { readonly [O in AnchorOp]: (p: Proposal<O>) => Signature } = {
  matmul: matmulRule,
  rotary: rotaryRule,
  attention: attentionRule,
  cache_write: cacheWriteRule,
  paged_write: pagedWriteRule,
  sample: sampleRule,
  dequantize: dequantizeRule,
};
