/** Rotary embedding in the graph: tables over positions that depend on no input, and their rows. */
import { rotary } from "../../ir/build-anchor.js";
import { cast, concat, iota, map, reshape } from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import { primitive } from "../../scalar/primitives.js";
import { builtin } from "../../scalar/table.js";
import { literal, multiply } from "./blocks.js";
import type { Rope } from "./rope.js";
import type { LongRows, Scope } from "./scope.js";

/** Cosine and sine of the entry's ids: [1 or batch, 1, seq, pairs]. */
export interface Angles {
  readonly cos: Node;
  readonly sin: Node;
}

export function angles(s: Scope, rope: Rope): Angles {
  const long = longRows(s, rope);
  const [cos, sin] = (["cos", "sin"] as const).map((fn) => {
    const tables = [table(s, fn, rope.inverse, rope.scaling)];
    if (long !== undefined) tables.push(table(s, fn, rope.long!.inverse, rope.scaling));
    const rows = s.rows(concat(s.g, tables, 0), long);
    return reshape(s.g, rows, [rows.shape[0]!, 1, s.seq, rope.inverse.length]);
  });
  return { cos: cos!, sin: sin! };
}

/** The second table, unless no sequence of the profile is long enough for it. */
function longRows(s: Scope, { long }: Rope): LongRows | undefined {
  const { capacity } = s.model;
  return long === undefined || capacity <= long.above
    ? undefined
    : { above: long.above, offset: capacity };
}

/** [positions, pairs]: computed in f32, rounded to the model's arithmetic. */
function table(s: Scope, fn: "cos" | "sin", inverse: Float32Array, scaling: number): Node {
  const { capacity } = s.model;
  const positions = cast(s.g, iota(s.g, [capacity, 1], 0), "f32");
  const frequencies = literal(s, "f32", [1, inverse.length], Float64Array.from(inverse));
  const values = map(s.g, builtin(fn), [multiply(s, positions, frequencies)]);
  const scaled =
    scaling === 1
      ? values
      : map(s.g, primitive("mul"), [values, literal(s, "f32", [], Float64Array.of(scaling))]);
  return cast(s.g, scaled, s.dtype);
}

/** Rotates x [batch, heads, seq, size], the first half of each head against the second. */
export function rotate(s: Scope, x: Node, { cos, sin }: Angles): Node {
  return rotary(s.g, x, cos, sin, false);
}
