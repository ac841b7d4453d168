/** Operators that walk an axis in order, or go by indices: one entry for each way to make a node. */
import {
  broadcastTo,
  cumsum,
  gather,
  gatherNd,
  reshape,
  scan,
  scatter,
  topK,
} from "../../compiler/ir/build.js";
import { isFloat, type DType } from "../../compiler/ir/dtype.js";
import type { Node } from "../../compiler/ir/graph.js";
import { constValue, int, one } from "../../compiler/scalar/build.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import type { Generator } from "./generator.js";

export type Make = (gen: Generator) => Node | null;

const isFloatNode = (node: Node): boolean => isFloat(node.dtype);
const hasAxes = (node: Node): boolean => node.shape.length >= 1;
const isNumber = (node: Node): boolean => node.dtype !== "bool" && hasAxes(node);
const extentOf = (node: Node, axis: number): number | null => constValue(node.shape[axis]!);

export const makeGather: Make = (gen) => {
  const x = gen.pick(hasAxes);
  if (x === null) return null;
  const { g, rng } = gen;
  const axis = rng.int(0, x.shape.length - 1);
  const below = extentOf(x, axis) ?? 1;
  const dtype = rng.pick<DType>(["i64", "i64", "i32"]);
  if (rng.chance(0.25) && x.shape.length >= 2 && x.shape.slice(0, 2).every((d) => constValue(d))) {
    const tuple = rng.int(1, 2);
    const least = Math.min(...x.shape.slice(0, tuple).map((d) => constValue(d)!));
    return gatherNd(g, x, gen.leaf(dtype, [rng.extent(9), tuple], { below: least }));
  }
  const rank = rng.int(0, 2);
  const dims = Array.from({ length: rank }, () => rng.extent(9));
  return gather(g, x, gen.leaf(dtype, dims, { below }), axis);
};

/** Running totals of ones, which exporters make positions of. */
export const makeCumsum: Make = (gen) => {
  const { rng } = gen;
  const shape = rng.shape(rng.int(1, 2), 600);
  const dtype = rng.pick<DType>(["i64", "f32"]);
  const equal = broadcastTo(gen.g, gen.scalar(dtype, 1), shape);
  const axis = rng.int(0, shape.length - 1);
  return cumsum(gen.g, equal, axis, { exclusive: rng.chance(0.5), reverse: rng.chance(0.5) });
};

export const makeScan: Make = (gen) => {
  const x = gen.pick(isNumber);
  if (x === null) return null;
  const { g, rng } = gen;
  const { low, high } = gen.of(x);
  const small = !isFloatNode(x) || Math.max(-low, high) < 1.2;
  const kind = small && rng.chance(0.3) ? "prod" : "sum";
  const axis = rng.int(0, x.shape.length - 1);
  return scan(g, kind, x, axis, { exclusive: rng.chance(0.3), reverse: rng.chance(0.3) });
};

/** Which of nearly equal values is larger is no matter of right and wrong: mostly inputs are sorted. */
export const makeTopK: Make = (gen) => {
  const { g, rng } = gen;
  const steady = (node: Node): boolean =>
    isNumber(node) && (!isFloatNode(node) || node.inputs.length === 0 || gen.of(node).whole);
  const x = gen.pick(rng.chance(0.15) ? isNumber : steady);
  if (x === null) return null;
  const axis = rng.chance(0.6) ? x.shape.length - 1 : rng.int(0, x.shape.length - 1);
  const extent = extentOf(x, axis);
  if (extent === null) return null;
  const count = rng.chance(0.15) ? extent : rng.int(1, Math.min(extent, 9));
  const chosen = topK(g, x, axis, count, rng.chance(0.7));
  if (axis !== x.shape.length - 1 || rng.chance(0.4)) return chosen;
  // The values too, as exporters take them.
  gen.keep(chosen);
  return gatherNd(g, x, reshape(g, chosen, [...chosen.shape, one]), axis);
};

const reductions = ["none", "none", "add", "mul", "max", "min"] as const;

/** Updates of a part of each other axis; several may go to one place. */
export const makeScatter: Make = (gen) => {
  const x = gen.pick(hasAxes);
  if (x === null) return null;
  const { g, rng } = gen;
  const axis = rng.int(0, x.shape.length - 1);
  const below = extentOf(x, axis);
  if (below === null) return null;
  const part = (dim: Expr): Expr => {
    const extent = constValue(dim);
    return extent === null || rng.chance(0.6) ? dim : int(rng.int(1, extent));
  };
  const shape = x.shape.map((dim, i) => (i === axis ? int(rng.extent(17)) : part(dim)));
  const reduction = x.dtype === "bool" ? "none" : rng.pick(reductions);
  const indices = gen.leaf(rng.pick<DType>(["i64", "i64", "i32"]), shape, { below });
  const domain = reduction === "mul" && isFloatNode(x) ? "positive" : "any";
  return scatter(g, x, indices, gen.leaf(x.dtype, shape, domain), axis, reduction);
};
