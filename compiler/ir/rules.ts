/**
 * What each operator requires of its inputs and attributes, and the dtype and shape of its result:
 * one total table, used by the constructors and, after every pass, by the verifier.
 *
 * Where an operator leaves dtype or shape free (`cast`, `reshape`, `slice` …) the proposal has it, and
 * the rule says whether it is legal. The `Cn` in messages' comments number an operator's constraints.
 */
import { constValue, one } from "../scalar/build.js";
import { someExpr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { byteSize, isFloat, isInteger, type DType } from "./dtype.js";
import type { Shape } from "./graph.js";
import { mapType } from "./map-type.js";
import type { OpName } from "./ops.js";
import { printExpr } from "./print-expr.js";
import { alongRules } from "./rules-along.js";
import { anchorRules } from "./rules-anchor.js";
import { expertRules } from "./rules-experts.js";
import { declared, need, sumOf, takes, type Proposal, type Signature } from "./rules-base.js";
import { axisOf, broadcastsTo, elements, printShape, sameShape, staticShape } from "./shape.js";

export type { Proposal, Signature } from "./rules-base.js";

type Rule<O extends OpName> = (proposal: Proposal<O>) => Signature;

/** Any shape and dtype that the proposal names. */
function source<O extends OpName>(p: Proposal<O>): { dtype: DType; shape: Shape } {
  takes(p, 0);
  return declared(p);
}

function constantRule(p: Proposal<"constant">): Signature {
  const { dtype, shape } = source(p);
  const dims = staticShape(shape);
  // C1: the shape is known.
  need(dims !== null, p, "E_SHAPE_UNBOUNDED", () => `constant of shape ${printShape(shape)}`);
  const { source: from } = p.attrs;
  if (from.kind === "absent") return { dtype, shape };
  const found = from.kind === "file" ? from.bytes : from.data.length;
  const count = dims!.reduce((product, dim) => product * dim, 1);
  // C2: the element count is an exact integer.
  need(Number.isSafeInteger(count), p, "E_SIZE_OVERFLOW", () => `${printShape(shape)} elements`);
  const wanted = byteSize(dtype, count);
  // C3: as many bytes as the elements need.
  need(found === wanted, p, "E_TENSOR_SIZE", () => `needs ${wanted} bytes, has ${found}`);
  return { dtype, shape };
}

function iotaRule(p: Proposal<"iota">): Signature {
  const { shape } = declared(p, "i64");
  takes(p, 0);
  axisOf(p.attrs.axis, shape.length, p.where);
  return { dtype: "i64", shape };
}

function dimRule(p: Proposal<"dim">): Signature {
  takes(p, 0);
  const { value } = p.attrs;
  // C1: symbols and literals only.
  const closed = !someExpr(value, (e) => ["coord", "param", "load", "check"].includes(e.op));
  need(value.type === "i64" && closed, p, "E_DIM", () => `${printExpr(value)} is no dimension`);
  return { dtype: "i64", shape: [] };
}

function mapRule(p: Proposal<"map">): Signature {
  takes(p, p.attrs.fn.arity);
  const dtype = mapType(
    p.attrs.fn,
    p.inputs.map((input) => input.dtype),
    p.where,
  );
  const shape = p.inputs.find((input) => input.shape.length > 0)?.shape ?? [];
  for (const input of p.inputs)
    // C1: inputs have the result's shape or rank 0.
    need(
      input.shape.length === 0 || sameShape(input.shape, shape),
      p,
      "E_BROADCAST",
      () => `${printShape(input.shape)} beside ${printShape(shape)}`,
    );
  return { dtype, shape };
}

function reshapeRule(p: Proposal<"reshape">): Signature {
  const [x] = takes(p, 1);
  const { shape } = declared(p, x.dtype);
  const [before, after] = [elements(x.shape), elements(shape)];
  // C1: provably as many elements.
  need(
    before === after,
    p,
    "E_RESHAPE",
    () =>
      `${printShape(x.shape)} into ${printShape(shape)}: ${printExpr(before)} elements into ${printExpr(after)}`,
  );
  return { dtype: x.dtype, shape };
}

function transposeRule(p: Proposal<"transpose">): Signature {
  const [x] = takes(p, 1);
  const { perm } = p.attrs;
  const sorted = [...perm].sort((a, b) => a - b);
  // C1: a permutation of the axes.
  need(
    perm.length === x.shape.length && sorted.every((axis, i) => axis === i),
    p,
    "E_PERM",
    () => `[${perm.join(", ")}] is no permutation of ${x.shape.length} axes`,
  );
  return { dtype: x.dtype, shape: perm.map((axis) => x.shape[axis]!) };
}

function broadcastRule(p: Proposal<"broadcast">): Signature {
  const [x] = takes(p, 1);
  const { shape } = declared(p, x.dtype);
  // C1: NumPy's rule, aligned at the right.
  need(
    broadcastsTo(x.shape, shape),
    p,
    "E_BROADCAST",
    () => `${printShape(x.shape)} does not broadcast to ${printShape(shape)}`,
  );
  return { dtype: x.dtype, shape };
}

function sliceRule(p: Proposal<"slice">): Signature {
  const [x] = takes(p, 1);
  const { shape } = declared(p, x.dtype);
  const { starts, steps } = p.attrs;
  const rank = x.shape.length;
  // C1: a start, a step and an extent for each axis.
  const whole = starts.length === rank && steps.length === rank && shape.length === rank;
  need(whole, p, "E_SLICE", () => `${starts.length} starts, ${steps.length} steps, rank ${rank}`);
  x.shape.forEach((dim, axis) => {
    const [start, step, extent] = [starts[axis]!, steps[axis]!, shape[axis]!];
    // C2: steps are integers other than 0.
    const stepped = Number.isInteger(step) && step !== 0;
    need(stepped, p, "E_SLICE_STEP", () => `step ${step} on axis ${axis}`);
    const [first, count] = [rangeOf(start), rangeOf(extent)];
    // C3: not provably outside the axis.
    const last = first.min + (count.min - 1) * (step > 0 ? step : 0);
    const outside =
      count.min > 0 && (first.max < 0 || last >= rangeOf(dim).max || first.min >= rangeOf(dim).max);
    need(
      !outside,
      p,
      "E_SLICE",
      () =>
        `${printExpr(extent)} elements from ${printExpr(start)} by ${step} leave axis ${axis} of ${printExpr(dim)}`,
    );
  });
  return { dtype: x.dtype, shape };
}

function concatRule(p: Proposal<"concat">): Signature {
  const [first, ...rest] = p.inputs;
  need(first !== undefined, p, "E_CONCAT", () => "nothing to concatenate");
  const axis = axisOf(p.attrs.axis, first!.shape.length, p.where);
  for (const other of rest) {
    // C1: equal dtypes.
    const typed = other.dtype === first!.dtype;
    need(typed, p, "E_DTYPE", () => `${first!.dtype} and ${other.dtype}`);
    // C2: equal ranks, and equal dimensions on the other axes.
    const fits =
      other.shape.length === first!.shape.length &&
      other.shape.every((dim, i) => i === axis || dim === first!.shape[i]);
    need(
      fits,
      p,
      "E_CONCAT",
      () => `${printShape(first!.shape)} and ${printShape(other.shape)} along axis ${axis}`,
    );
  }
  const total = p.inputs.map((input) => input.shape[axis]!);
  return {
    dtype: first!.dtype,
    shape: first!.shape.map((dim, i) => (i === axis ? sumOf(total) : dim)),
  };
}

function gatherRule(p: Proposal<"gather">): Signature {
  const [data, indices] = takes(p, 2);
  const axis = axisOf(p.attrs.axis, data.shape.length, p.where);
  // C1: integer indices.
  need(isInteger(indices.dtype), p, "E_DTYPE", () => `indices of type ${indices.dtype}`);
  const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)];
  return { dtype: data.dtype, shape };
}

function gatherNdRule(p: Proposal<"gather_nd">): Signature {
  const [data, indices] = takes(p, 2);
  const batch = p.attrs.batchDims;
  need(isInteger(indices.dtype), p, "E_DTYPE", () => `indices of type ${indices.dtype}`);
  const rank = indices.shape.length;
  const tuple = constValue(indices.shape[rank - 1] ?? one);
  // C2: tuples of a known length that fit the data, and equal batch axes.
  const fits =
    rank > batch &&
    Number.isInteger(batch) &&
    batch >= 0 &&
    tuple !== null &&
    tuple >= 1 &&
    batch + tuple <= data.shape.length &&
    sameShape(data.shape.slice(0, batch), indices.shape.slice(0, batch));
  need(
    fits,
    p,
    "E_GATHER",
    () =>
      `indices ${printShape(indices.shape)} into ${printShape(data.shape)}, ${batch} batch axes`,
  );
  const shape = [...indices.shape.slice(0, -1), ...data.shape.slice(batch + (tuple ?? 0))];
  return { dtype: data.dtype, shape };
}

function reduceRule(p: Proposal<"reduce">): Signature {
  const [x] = takes(p, 1);
  const { kind, axes } = p.attrs;
  axes.forEach((axis) => {
    const legal = axis >= 0 && axisOf(axis, x.shape.length, p.where) === axis;
    need(legal, p, "E_AXIS", () => `axis ${axis}, rank ${x.shape.length}`);
  });
  // C2: ascending, so that equal reductions are the same node.
  const ascending = axes.every((axis, i) => i === 0 || axis > axes[i - 1]!);
  need(ascending, p, "E_AXIS", () => `axes [${axes.join(", ")}] repeat or descend`);
  // C3: numbers; a mean is of floats.
  const typed = kind === "mean" ? isFloat(x.dtype) : x.dtype !== "bool";
  need(typed, p, "E_DTYPE", () => `${kind} of ${x.dtype}`);
  return { dtype: x.dtype, shape: x.shape.map((dim, i) => (axes.includes(i) ? one : dim)) };
}

function softmaxRule(p: Proposal<"softmax">): Signature {
  const [x] = takes(p, 1);
  axisOf(p.attrs.axis, x.shape.length, p.where);
  need(isFloat(x.dtype), p, "E_DTYPE", () => `softmax of ${x.dtype}`);
  return x;
}

function normalizeRule(p: Proposal<"normalize">): Signature {
  const [x] = takes(p, 1);
  const { epsilon } = p.attrs;
  axisOf(-1, x.shape.length, p.where);
  need(isFloat(x.dtype), p, "E_DTYPE", () => `normalize of ${x.dtype}`);
  // C2: an epsilon that keeps the root real.
  need(epsilon >= 0 && Number.isFinite(epsilon), p, "E_NORM", () => `epsilon ${epsilon}`);
  return x;
}

const rules: { readonly [O in OpName]: Rule<O> } = {
  input: source,
  constant: constantRule,
  state: source,
  iota: iotaRule,
  dim: dimRule,
  map: mapRule,
  cast: (p) => {
    const [x] = takes(p, 1);
    return { dtype: declared(p, undefined, x.shape).dtype, shape: x.shape };
  },
  reshape: reshapeRule,
  transpose: transposeRule,
  broadcast: broadcastRule,
  slice: sliceRule,
  concat: concatRule,
  gather: gatherRule,
  gather_nd: gatherNdRule,
  reduce: reduceRule,
  softmax: softmaxRule,
  normalize: normalizeRule,
  ...alongRules,
  ...anchorRules,
  ...expertRules,
};

/** More axes than kernels index. */
const largestRank = 8;

/** The result of `proposal`, or the error that says which constraint it breaks. */
export function signatureOf<O extends OpName>(proposal: Proposal<O>): Signature {
  const rule: Rule<O> = rules[proposal.op];
  const { dtype, shape } = rule(proposal);
  need(
    shape.length <= largestRank,
    proposal,
    "E_LIMIT_RANK",
    () => `rank ${shape.length}, the limit is ${largestRank}`,
  );
  for (const dim of shape)
    need(
      dim.type === "i64" && rangeOf(dim).max >= 0,
      proposal,
      "E_DIM_NEGATIVE",
      () => `dimension ${printExpr(dim)} of ${printShape(shape)}`,
    );
  return { dtype, shape };
}
