/** Rotary embedding in the graph: tables over positions that depend on no input, and their rows. */
import { rotary } from "../../ir/build-anchor.js";
import { cast, concat, iota, map, reshape, slice } from "../../ir/build.js";
import type { DType } from "../../ir/dtype.js";
import type { Node } from "../../ir/graph.js";
import { constValue } from "../../scalar/build.js";
import { builtin } from "../../scalar/table.js";
import { literal, multiply } from "./blocks.js";
import type { Rope } from "./rope.js";
import type { LongRows, Scope } from "./scope.js";

/** Cosine and sine of the entry's ids: [1 or batch, 1, seq, size / 2]. */
export interface Angles {
  readonly cos: Node;
  readonly sin: Node;
}

/** Angles for heads of `size` elements; where only a part of them turns, the others' are 0. */
export function angles(s: Scope, rope: Rope, size: number, dtype = s.dtype): Angles {
  const long = longRows(s, rope);
  const [cos, sin] = (["cos", "sin"] as const).map((fn) => {
    const tables = [table(s, fn, { ...rope, size, dtype })];
    if (long !== undefined)
      tables.push(table(s, fn, { ...rope, inverse: rope.long!.inverse, size, dtype }));
    const rows = s.rows(concat(s.g, tables, 0), { ...(long && { long }) });
    return reshape(s.g, rows, [rows.shape[0]!, 1, s.seq, size / 2]);
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

interface TableOptions extends Pick<Rope, "inverse" | "scaling"> {
  readonly size: number;
  readonly dtype: DType;
}

/** [positions, size / 2]: computed in f32, rounded to the model's arithmetic. */
function table(s: Scope, fn: "cos" | "sin", { inverse, scaling, size, dtype }: TableOptions): Node {
  const { capacity } = s.model;
  const row = (each: (pair: number) => number): Node =>
    literal(
      s,
      "f32",
      [1, size / 2],
      Float64Array.from({ length: size / 2 }, (_, i) => each(i)),
    );
  const positions = cast(s.g, iota(s.g, [capacity, 1], 0), "f32");
  const frequencies = row((pair) => inverse[pair] ?? 0);
  const values = map(s.g, builtin(fn), [multiply(s, positions, frequencies)]);
  const scales = row((pair) => (pair < inverse.length ? scaling : 1));
  return cast(s.g, scaling === 1 ? values : multiply(s, values, scales), dtype);
}

/** Rotates x [batch, heads, seq, size], the first half of each head against the second. */
export function rotate(s: Scope, x: Node, { cos, sin }: Angles): Node {
  return rotary(s.g, x, cos, sin, false);
}

/**
 * Heads of a weight or bias [heads, size, …] in the order that `rotate` wants. A model that turns
 * the first elements of a head only pairs them among themselves; here each pair is moved half a head
 * apart. Queries and keys have the same order, and so their products are what they were.
 */
export function pairedHeads(s: Scope, heads: Node, rope: Rope): Node {
  const size = constValue(heads.shape[1]!)!;
  const turned = rope.inverse.length;
  const still = size / 2 - turned;
  if (still === 0) return heads;
  const part = (start: number, count: number): Node =>
    slice(s.g, heads, { axis: 1, start, end: start + count });
  const [first, second] = [part(0, turned), part(turned, turned)];
  const [third, fourth] = [part(2 * turned, still), part(2 * turned + still, still)];
  return concat(s.g, [first, third, second, fourth], 1);
}
