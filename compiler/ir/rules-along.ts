/** Rules of the operators that walk one axis in order: running totals, the largest, scattering. */
import { int, isConst, le } from "../scalar/build.js";
import { isInteger } from "./dtype.js";
import type { OpName } from "./ops.js";
import { need, takes, type Proposal, type Signature } from "./rules-base.js";
import { axisOf, printShape, sameShape } from "./shape.js";

function scanRule(p: Proposal<"scan">): Signature {
  const [x] = takes(p, 1);
  axisOf(p.attrs.axis, x.shape.length, p.where);
  need(x.dtype !== "bool", p, "E_DTYPE", () => `running ${p.attrs.kind} of ${x.dtype}`);
  return { dtype: x.dtype, shape: x.shape };
}

function topKRule(p: Proposal<"top_k">): Signature {
  const [x] = takes(p, 1);
  const { count } = p.attrs;
  const axis = axisOf(p.attrs.axis, x.shape.length, p.where);
  // C1: as many as there surely are.
  const legal = Number.isInteger(count) && count >= 0 && isConst(le(int(count), x.shape[axis]!), 1);
  need(legal, p, "E_TOPK", () => `${count} of axis ${axis} of ${printShape(x.shape)}`);
  need(x.dtype !== "bool", p, "E_DTYPE", () => `the largest of ${x.dtype}`);
  return { dtype: "i64", shape: x.shape.map((dim, i) => (i === axis ? int(count) : dim)) };
}

function scatterRule(p: Proposal<"scatter">): Signature {
  const [data, indices, updates] = takes(p, 3);
  const rank = data.shape.length;
  const axis = axisOf(p.attrs.axis, rank, p.where);
  const shapes = (): string =>
    `${printShape(updates.shape)} at ${printShape(indices.shape)} of ${printShape(data.shape)}`;
  // C1: an index for each update, and room for them on the other axes.
  const fits =
    indices.shape.length === rank &&
    sameShape(indices.shape, updates.shape) &&
    indices.shape.every((dim, i) => i === axis || isConst(le(dim, data.shape[i]!), 1));
  need(fits, p, "E_SCATTER", shapes);
  // C2: integer indices, updates of the data's type.
  need(isInteger(indices.dtype), p, "E_DTYPE", () => `indices of type ${indices.dtype}`);
  need(data.dtype === updates.dtype, p, "E_DTYPE", () => `${updates.dtype} into ${data.dtype}`);
  // C3: booleans are only replaced.
  const typed = p.attrs.reduction === "none" || data.dtype !== "bool";
  need(typed, p, "E_DTYPE", () => `${p.attrs.reduction} of ${data.dtype}`);
  return { dtype: data.dtype, shape: data.shape };
}

type AlongOp = Extract<OpName, "scan" | "top_k" | "scatter">;

export const alongRules: { readonly [O in AlongOp]: (p: Proposal<O>) => Signature } = {
  scan: scanRule,
  top_k: topKRule,
  scatter: scatterRule,
};
