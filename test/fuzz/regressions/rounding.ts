/** Roundings that `strict` keeps, and precision that `fast` keeps too. */
import { matmul, rotary } from "../../../compiler/ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  input,
  literal,
  map,
  normalize,
  reduce,
  reshape,
  scatter,
  softmax,
  transpose,
} from "../../../compiler/ir/build.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import type { GraphBuilder, Node } from "../../../compiler/ir/graph.js";
import { primitive } from "../../../compiler/scalar/primitives.js";
import { builtin } from "../../../compiler/scalar/table.js";
import type { Variant } from "../case.js";
import { regression, type Regression } from "./regression.js";

const strict: readonly Variant[] = [
  { strict: true, fuse: true },
  { strict: true, fuse: false },
];

/** x / sqrt(mean(x²) + e), as exporters spell it. */
function spelledNorm(g: GraphBuilder, x: Node, dtype: DType): Node {
  const mean = reduce(g, "mean", map(g, primitive("mul"), [x, x]), [-1]);
  const sum = map(g, primitive("add"), [mean, literal(g, dtype, [], [0.01])]);
  return map(g, primitive("div"), [x, map(g, builtin("sqrt"), [sum])]);
}

const weightsOf = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.sin(i * 1.7));

export const rounding: readonly Regression[] = [
  regression("attention spelled in f64", ({ g }) => {
    const [q, k, v] = ["q", "k", "v"].map((name) => input(g, name, "f64", [2, 1, 2, 2])) as [
      Node,
      Node,
      Node,
    ];
    return matmul(g, softmax(g, matmul(g, q, k), 3), v);
  }),
  regression("a scale in f64 folded into a product", ({ g }) => {
    const normal = spelledNorm(g, input(g, "x", "f64", [2, 2]), "f64");
    const scale = broadcastTo(g, literal(g, "f64", [2], [0.46999178, 1.68819246]), [2, 2]);
    const scaled = map(g, primitive("mul"), [scale, normal]);
    return matmul(g, scaled, literal(g, "f64", [2, 2], [-0.3028876, -0.0817472, -0.0596382, 0.1]));
  }),
  regression("scores in f32 cast to the type of the values", ({ g }) => {
    const [q, k] = ["q", "k"].map((name) => input(g, name, "f32", [1, 1, 4, 4])) as [Node, Node];
    const scores = softmax(g, matmul(g, q, transpose(g, k, [0, 1, 3, 2])), 3);
    return matmul(g, cast(g, scores, "bf16"), input(g, "v", "bf16", [1, 1, 4, 4]));
  }),
  regression("an inverse hyperbolic cosine where there is none", ({ g }) => {
    const x = literal(g, "f32", [4], [-65504, -1, 0.5, 1]);
    return map(g, builtin("acosh"), [map(g, primitive("mul"), [x, input(g, "x", "f32", [4])])]);
  }),
  regression("a product in f64 of factors that were f32", ({ g }) => {
    const x = cast(g, input(g, "x", "f32", [3, 5]), "f64");
    return matmul(g, x, transpose(g, x, [1, 0]));
  }),
  regression("updates in f16 that are added one after the other", ({ g }) => {
    const places = input(g, "places", "i64", [8, 65]);
    const updates = input(g, "updates", "f16", [8, 65]);
    return scatter(g, input(g, "x", "f16", [8, 9]), places, updates, 1, "add");
  }),
  regression("a rotation in f64 by angles in f32", ({ g }) => {
    const [cos, sin] = ["cos", "sin"].map((name) => input(g, name, "f32", [3, 2])) as [Node, Node];
    return rotary(g, input(g, "x", "f64", [3, 4]), cos, sin, false);
  }),
  regression(
    "products of a rotation in 16 bits",
    ({ g }) =>
      (["f16", "bf16"] as const).map((dtype) => {
        const [cos, sin] = ["cos", "sin"].map((name) =>
          input(g, `${name}.${dtype}`, dtype, [8, 16]),
        ) as [Node, Node];
        return rotary(g, input(g, `x.${dtype}`, dtype, [8, 32]), cos, sin, false);
      }),
    strict,
  ),
  regression(
    "a normalisation in 16 bits before a product",
    ({ g }) => {
      const normal = normalize(g, input(g, "x", "f16", [2, 16]), "layer", 0.01);
      const scaled = map(g, primitive("mul"), [normal, input(g, "scale", "f16", [16])]);
      const rows = reshape(g, scaled, [1, 2, 16]);
      return matmul(g, rows, literal(g, "f16", [16, 90], weightsOf(16 * 90)));
    },
    strict,
  ),
  regression(
    "a normalisation spelled in 16 bits",
    ({ g }) => spelledNorm(g, input(g, "x", "f16", [8, 32]), "f16"),
    strict,
  ),
  regression(
    "attention spelled in 16 bits",
    ({ g }) => {
      const [q, k, v] = ["q", "k", "v"].map((name) => input(g, name, "bf16", [2, 1, 8, 8])) as [
        Node,
        Node,
        Node,
      ];
      return matmul(g, softmax(g, matmul(g, q, k), 3), v);
    },
    strict,
  ),
];
