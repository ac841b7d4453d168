/** What is computed once, when weights are bound. */
import { matmul } from "../../../compiler/ir/build-anchor.js";
import {
  broadcastTo,
  concat,
  gather,
  input,
  literal,
  map,
  normalize,
  reduce,
  reshape,
  scatter,
  slice,
  softmax,
  transpose,
} from "../../../compiler/ir/build.js";
import { int, mul, one, sub } from "../../../compiler/scalar/build.js";
import { primitive } from "../../../compiler/scalar/primitives.js";
import { builtin } from "../../../compiler/scalar/table.js";
import { regression, type Regression } from "./regression.js";

const counted = (count: number): number[] => Array.from({ length: count }, (_, i) => (i % 7) - 3);

export const weights: readonly Regression[] = [
  regression("an output that is a product of constants", ({ g }) => {
    const w = literal(g, "f32", [1, 9, 2], counted(18));
    return matmul(g, w, transpose(g, w, [0, 2, 1]));
  }),
  regression("an output that is a softmax of constants", ({ g }) => {
    const w = literal(g, "f32", [5, 1], counted(5));
    const product = matmul(g, w, transpose(g, w, [1, 0]));
    return softmax(g, concat(g, [product, product, product], 1), 1);
  }),
  regression("rows of constants that constants name", ({ g }) => {
    const rows = gather(
      g,
      literal(g, "f16", [4, 6], counted(24)),
      literal(g, "i64", [3], [1, 0, 3]),
    );
    return normalize(g, rows, "layer", 1e-5);
  }),
  regression("constants scattered into constants", ({ g }) => {
    const places = literal(g, "i64", [2, 2], [0, 1, 1, 1]);
    const updates = literal(g, "i64", [2, 2], [-3, -6, -5, 6]);
    return scatter(g, literal(g, "i64", [2, 2], counted(4)), places, updates, 0, "mul");
  }),
  regression("a sum of constants over a length that changes", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const repeated = broadcastTo(g, literal(g, "f32", [1, 4], counted(4)), [rows, 4]);
    const total = reduce(g, "sum", repeated, [0]);
    return map(g, primitive("add"), [input(g, "x", "f32", [rows, 4]), total]);
  }),
  regression("constants flattened across a length that changes", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const repeated = broadcastTo(g, literal(g, "f32", [4, 1], counted(4)), [4, rows]);
    const flat = map(g, builtin("tanh"), [reshape(g, repeated, [mul(rows, int(4))])]);
    return map(g, primitive("add"), [input(g, "x", "f32", [4, rows]), reshape(g, flat, [4, rows])]);
  }),
  regression("the last of constants whose number changes", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const repeated = broadcastTo(g, literal(g, "f32", [1, 3], counted(3)), [rows, 3]);
    const last = slice(g, repeated, { axis: 0, start: sub(rows, one), end: rows });
    const scaled = map(g, builtin("exp"), [last]);
    return map(g, primitive("add"), [input(g, "x", "f32", [rows, 3]), scaled]);
  }),
];
