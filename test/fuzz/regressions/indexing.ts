/** Offsets and coordinates. */
import { gather, input, slice } from "../../../compiler/ir/build.js";
import { regression, type Regression } from "./regression.js";

export const indexing: readonly Regression[] = [
  regression("an offset that is a checked index and the constant one", ({ g }) => {
    const rows = gather(g, input(g, "x", "f32", [1, 1, 1, 2]), input(g, "i", "i64", []));
    return slice(g, rows, { axis: 2, start: 1, end: 2 });
  }),
];
