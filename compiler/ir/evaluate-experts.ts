/** Reference evaluation of routing and of products by experts. */
import { FarrierError } from "../errors.js";
import { multiplied } from "./evaluate-math.js";
import type { RouteAttrs } from "./ops.js";
import { movable, type TensorValue } from "./tensor.js";

/** Indices of `values` from the largest down, equal ones ascending. */
const descending = (values: readonly number[]): number[] =>
  values.map((_, index) => index).sort((a, b) => values[b]! - values[a]! || a - b);

function rankOf(run: readonly number[], rank: RouteAttrs["rank"]): number {
  const [first, second] = descending(run);
  return rank === "largest" ? run[first!]! : run[first!]! + run[second!]!;
}

/** The choices of one row. */
function chosenOf(row: readonly number[], { count, groups, kept, rank }: RouteAttrs): number[] {
  const size = row.length / groups;
  const ranks = Array.from({ length: groups }, (_, group) =>
    groups === 1 ? 0 : rankOf(row.slice(group * size, (group + 1) * size), rank),
  );
  const open = new Set(descending(ranks).slice(0, kept));
  return descending(row)
    .filter((index) => open.has(Math.floor(index / size)))
    .slice(0, count);
}

export function routed(choice: TensorValue, attrs: RouteAttrs): TensorValue {
  const [rows, experts] = choice.shape as [number, number];
  const values = Array.from(movable(choice.data));
  const chosen = Array.from({ length: rows }, (_, row) =>
    chosenOf(values.slice(row * experts, (row + 1) * experts), attrs),
  );
  return { dtype: "i32", shape: [rows, attrs.count], data: Float64Array.from(chosen.flat()) };
}

export function grouped(chosen: TensorValue, experts: number): TensorValue {
  const positions: number[][] = Array.from({ length: experts }, () => []);
  chosen.data.forEach((expert: number | bigint, at: number) => positions[Number(expert)]!.push(at));
  const present = positions.flatMap((rows, expert) => (rows.length > 0 ? [expert] : []));
  const list = new Array<number>(experts).fill(0);
  const starts = new Array<number>(experts + 1).fill(chosen.data.length);
  let start = 0;
  present.forEach((expert, group) => {
    list[group] = expert;
    starts[group] = start;
    start += positions[expert]!.length;
  });
  const data = Float64Array.from([...list, ...starts, ...positions.flat()]);
  return { dtype: "i32", shape: [data.length], data };
}

/** Each row by itself: the oracle does not trust the groups. */
export function multipliedByExpert(
  x: TensorValue,
  weights: TensorValue,
  chosen: TensorValue,
  where: string,
): TensorValue {
  const [experts, depth, width] = weights.shape as [number, number, number];
  const [rows, each] = chosen.shape as [number, number];
  const perToken = x.shape.length === 2;
  const data = new Float64Array(rows * each * width);
  for (let at = 0; at < rows * each; at++) {
    const expert = Number(chosen.data[at]);
    if (!(expert >= 0 && expert < experts))
      throw new FarrierError("E_RT_INDEX", `expert ${expert} of ${experts}`, { where });
    const from = (perToken ? Math.floor(at / each) : at) * depth;
    const matrix = expert * depth * width;
    const product = multiplied(
      { ...x, shape: [1, depth], data: x.data.slice(from, from + depth) },
      {
        ...weights,
        shape: [depth, width],
        data: movable(weights.data).subarray(matrix, matrix + depth * width),
      },
      [1, width],
    );
    data.set(movable(product.data), at * width);
  }
  return { dtype: x.dtype, shape: [rows, each, width], data };
}
