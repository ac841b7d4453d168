/** Offsets and coordinates. */
import {
  broadcastTo,
  cast,
  dim,
  gather,
  input,
  literal,
  map,
  reduce,
  slice,
} from "../../../compiler/ir/build.js";
import { add, int, mul, one } from "../../../compiler/scalar/build.js";
import { primitive } from "../../../compiler/scalar/primitives.js";
import { regression, type Regression } from "./regression.js";

export const indexing: readonly Regression[] = [
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
  regression("a power of a dimension that 64 bits do not hold", ({ g, symbol }) => {
    const rows = symbol("n", 9);
    const power = map(g, primitive("pow"), [
      dim(g, add(mul(rows, int(2)), one)),
      literal(g, "i64", [], [0]),
    ]);
    return map(g, primitive("add"), [cast(g, power, "f32"), input(g, "x", "f32", [rows])]);
  }),
];
