/** Losses: what a classification misses its labels by. */
import { broadcastTo, cast, gather, reshape } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { printShape, sameShape } from "../../../ir/shape.js";
import { unsqueeze } from "../../../ir/build.js";
import type { Call } from "../call.js";
import { apply, reduceKept, scalarLike, widened } from "./common.js";
import { elementsAlong } from "./index.js";
import { logSoftmax } from "./reduction.js";

const reductions = ["none", "mean", "sum"] as const;

/** The negated score of each label, weighted by its class; ignored labels weigh nothing. */
function labelled(call: Call, scores: Node, weights: Node | undefined): Node {
  const { g, attrs } = call;
  const labels = call.input(1);
  const reduction = attrs.choice("reduction", reductions, "mean");
  const ignored = attrs.int("ignore_index");
  const places = scores.shape.filter((_, axis) => axis !== 1);
  if (scores.shape.length < 2 || !sameShape(labels.shape, places))
    throw call.error(
      "E_SHAPE",
      `labels ${printShape(labels.shape)} for ${printShape(scores.shape)}`,
    );
  const wide = cast(g, labels, "i64");
  const counts = ignored === undefined ? null : apply(g, "ne", wide, scalarLike(g, wide, ignored));
  const safe = counts === null ? wide : apply(g, "select", counts, wide, scalarLike(g, wide, 0));
  const chosen = elementsAlong(call, scores, unsqueeze(g, safe, [1]), 1);
  const losses = apply(g, "neg", reshape(g, chosen, places));
  const zero = scalarLike(g, losses, 0);
  const one = broadcastTo(g, scalarLike(g, losses, 1), places);
  const own = weights === undefined ? one : gather(g, cast(g, weights, losses.dtype), safe, 0);
  const weight = counts === null ? own : apply(g, "select", counts, own, zero);
  const each =
    counts === null && weights === undefined
      ? losses
      : apply(g, "select", apply(g, "eq", weight, zero), zero, apply(g, "mul", losses, weight));
  if (reduction === "none") return each;
  const total = (x: Node): Node =>
    reshape(
      g,
      reduceKept(
        g,
        "sum",
        x,
        x.shape.map((_, axis) => axis),
      ),
      [],
    );
  return reduction === "sum" ? total(each) : apply(g, "div", total(each), total(weight));
}

export function NegativeLogLikelihoodLoss(call: Call): Node {
  return widened(call.g, call.input(0), (scores) => labelled(call, scores, call.optional(2)));
}

/** The loss of the scores' softmax, and its logarithm. */
export function SoftmaxCrossEntropyLoss(call: Call): readonly Node[] {
  const { g } = call;
  const x = call.input(0);
  const scores = logSoftmax(g, cast(g, x, x.dtype === "f64" ? "f64" : "f32"), 1);
  const loss = cast(g, labelled(call, scores, call.optional(2)), x.dtype);
  return call.wants(1) ? [loss, cast(g, scores, x.dtype)] : [loss];
}
