/** Offsets and coordinates. */
import {
  broadcastTo,
  cast,
  cumsum,
  dim,
  gather,
  gatherNd,
  input,
  literal,
  map,
  reduce,
  reshape,
  scatter,
  slice,
  softmax,
  topK,
} from "../../../compiler/ir/build.js";
import { matmul, rotary } from "../../../compiler/ir/build-anchor.js";
import type { Node } from "../../../compiler/ir/graph.js";
import { add, int, mul, one } from "../../../compiler/scalar/build.js";
import { primitive } from "../../../compiler/scalar/primitives.js";
import { builtin } from "../../../compiler/scalar/table.js";
import { regression, type Regression } from "./regression.js";

export const indexing: readonly Regression[] = [
  regression("one element of a row whose elements are one", ({ g }) => {
    const places = literal(g, "i64", [2, 2], [0, 0, 0, 0]);
    const row = softmax(g, gatherNd(g, input(g, "x", "f32", [1, 1]), places), 0);
    return slice(g, row, { axis: 0, start: 1, end: 2 });
  }),
  regression("a square of a dimension", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const n = dim(g, add(mul(rows, int(2)), one));
    const square = map(g, primitive("pow"), [n, literal(g, "i64", [], [2])]);
    return [square, map(g, builtin("exp"), [input(g, "x", "f32", [rows])])];
  }),
  regression("a rotation of columns that begin inside a pair", ({ g }) => {
    const weights = Array.from({ length: 32 }, (_, i) => Math.sin(i));
    const product = matmul(g, input(g, "x", "f32", [1, 2]), literal(g, "f32", [2, 16], weights));
    const part = slice(g, product, { axis: 1, start: 3, end: 11 });
    const [cos, sin] = ["cos", "sin"].map((name) => input(g, name, "f32", [1, 4])) as [Node, Node];
    return [false, true].map((interleaved) => rotary(g, part, cos, sin, interleaved));
  }),
  regression("running totals of 8 bits, wrapped before they are cast", ({ g }) => {
    const x = map(g, primitive("add"), [input(g, "x", "u8", [1, 57]), literal(g, "u8", [], [9])]);
    return cast(g, cumsum(g, x, 1, { exclusive: true }), "f32");
  }),
  regression("a place that an arm reads, and what is after it too", ({ g, symbol }) => {
    const n = symbol("n", 17);
    const row = gather(g, input(g, "x", "f32", [n, 2, 2]), input(g, "i", "i32", []), 2);
    const chosen = map(g, primitive("select"), [
      input(g, "c", "bool", [n, 2]),
      input(g, "z", "f32", [n, 2]),
      row,
    ]);
    return map(g, primitive("add"), [chosen, row]);
  }),
  regression("an arm that reads one value for a whole row", ({ g }) => {
    const one = broadcastTo(g, input(g, "row", "f32", [3, 1]), [3, 8]);
    const chosen = literal(
      g,
      "bool",
      [3, 8],
      [...Array<number>(24).keys()].map((i) => i % 3 === 1),
    );
    const x = map(g, primitive("select"), [chosen, one, input(g, "x", "f32", [3, 8])]);
    return [x, reduce(g, "mean", x, [1])];
  }),
  regression("eight integers of 16 bits in one access", ({ g }) =>
    (["i16", "u16"] as const).map((dtype) =>
      reduce(g, "max", input(g, `x.${dtype}`, dtype, [3, 64]), [1]),
    ),
  ),
  regression("an offset that is a checked index and the constant one", ({ g }) => {
    const rows = gather(g, input(g, "x", "f32", [1, 1, 1, 2]), input(g, "i", "i64", []));
    return slice(g, rows, { axis: 2, start: 1, end: 2 });
  }),
  regression("scattering into what is an output in another shape", ({ g }) => {
    const order = topK(g, input(g, "x", "f32", [1, 1]), 0, 1);
    const update = literal(g, "i64", [1, 1], [7]);
    const made = scatter(g, order, literal(g, "i64", [1, 1], [0]), update, 0);
    return [made, reshape(g, order, [1])];
  }),
  regression("a power of a dimension that 64 bits do not hold", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const power = map(g, primitive("pow"), [
      dim(g, add(mul(rows, int(2)), one)),
      literal(g, "i64", [], [0]),
    ]);
    return map(g, primitive("add"), [cast(g, power, "f32"), input(g, "x", "f32", [rows])]);
  }),
];
