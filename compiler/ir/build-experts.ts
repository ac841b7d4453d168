/** Constructors of routing and of products by experts. */
import { FarrierError } from "../errors.js";
import { constValue } from "../scalar/build.js";
import { make } from "./build.js";
import type { GraphBuilder, Node } from "./graph.js";
import type { RouteAttrs } from "./ops.js";
import { printShape } from "./shape.js";

/** Without groups every expert may be chosen. */
export function route(
  g: GraphBuilder,
  choice: Node,
  { count, groups = 1, kept = groups, rank = "largest" }: Partial<RouteAttrs> & { count: number },
): Node<"route"> {
  return make(g, "route", [choice], { count, groups, kept, rank });
}

/** Each row of x [t, d] (or [t, k, d]) times weights [e, d, n] of the experts `chosen` [t, k]. */
export function expertMatmul(g: GraphBuilder, x: Node, weights: Node, chosen: Node): Node {
  const experts = constValue(weights.shape[0]!);
  if (experts === null)
    throw new FarrierError("E_EXPERTS", `weights ${printShape(weights.shape)}`, {
      where: "expert_matmul",
    });
  const groups = make(g, "expert_groups", [chosen], { experts });
  return make(g, "expert_matmul", [x, weights, chosen, groups], null);
}
