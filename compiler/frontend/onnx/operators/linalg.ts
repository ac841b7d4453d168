/** Products. */
import { FarrierError } from "../../../errors.js";
import { matmul } from "../../../ir/build-anchor.js";
import { broadcastTo, cast, reshape, unsqueeze } from "../../../ir/build.js";
import { isFloat } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { broadcastsTo, printShape } from "../../../ir/shape.js";
import type { Call } from "../call.js";
import { apply, scalarLike, swapLast } from "./common.js";

export function MatMul(call: Call): Node {
  const { g } = call;
  const [a, b] = [call.input(0), call.input(1)];
  for (const each of [a, b])
    if (each.shape.length === 0) throw call.error("E_MATMUL_SHAPE", "a product with a scalar");
  try {
    if (a.shape.length > 1 || b.shape.length > 1) return matmul(g, a, b);
    return reshape(g, matmul(g, unsqueeze(g, a, [0]), unsqueeze(g, b, [1])), []);
  } catch (error) {
    if (!(error instanceof FarrierError) || error.code !== "E_BROADCAST") throw error;
    throw call.error("E_BROADCAST", `${printShape(a.shape)} times ${printShape(b.shape)}`);
  }
}

/** alpha · A · B + beta · C */
export function Gemm(call: Call): Node {
  const { g, attrs } = call;
  const [a, b, c] = [call.input(0), call.input(1), call.optional(2)];
  for (const each of [a, b])
    if (each.shape.length !== 2)
      throw call.error("E_MATMUL_SHAPE", `${printShape(each.shape)} is no matrix`);
  const left = attrs.flag("transA") ? swapLast(g, a) : a;
  const right = attrs.flag("transB") ? swapLast(g, b) : b;
  const [alpha, beta] = [attrs.float("alpha", 1), attrs.float("beta", 1)];
  const product = scaled(call, matmul(g, left, right), alpha);
  if (c === undefined || beta === 0) return product;
  if (!broadcastsTo(c.shape, product.shape))
    throw call.error(
      "E_MATMUL_SHAPE",
      `C of ${printShape(c.shape)} for ${printShape(product.shape)}`,
    );
  return apply(g, "add", product, broadcastTo(g, scaled(call, c, beta), product.shape));
}

function scaled(call: Call, x: Node, factor: number): Node {
  if (factor === 1) return x;
  if (!isFloat(x.dtype) && !Number.isInteger(factor))
    throw call.unsupported(`integers times ${factor}`);
  return apply(call.g, "mul", x, scalarLike(call.g, x, factor));
}

/** Products of small integers, summed in i32. */
export function MatMulInteger(call: Call): Node {
  const { g } = call;
  const [a, b] = [call.input(0), call.input(1)];
  const centred = (x: Node, zero: Node | undefined, rows: boolean): Node => {
    const wide = cast(g, x, "i32");
    if (zero === undefined) return wide;
    const point = cast(g, zero, "i32");
    const apart = rows && point.shape.length === 1 ? unsqueeze(g, point, [-1]) : point;
    return apply(g, "sub", wide, apart);
  };
  return matmul(g, centred(a, call.optional(2), true), centred(b, call.optional(3), false));
}
