/** The reference of `sample`: whole rows sorted, which the kernels never do. */
import type { TensorValue } from "./tensor.js";

/** Indices of `values` by value, the largest first; NaN is below everything. */
const descending = (values: readonly number[]): number[] =>
  values.map((_, index) => index).sort((a, b) => values[b]! - values[a]! || a - b);

/** The lowest value that may be chosen. */
function lowest(values: readonly number[], count: number, mass: number): number {
  const order = descending(values);
  const inCount = count > 0 && count < values.length ? values[order[count - 1]!]! : -Infinity;
  if (!(mass < 1)) return inCount;
  const weights = order.map((index) =>
    values[index]! >= inCount ? Math.exp(values[index]! - values[order[0]!]!) : 0,
  );
  const wanted = mass * weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  const end = weights.findIndex((weight) => (sum += weight) >= wanted);
  return values[order[Math.max(0, end)]!]!;
}

/** Of each row. */
export interface SampleLimits {
  readonly temperature: TensorValue;
  readonly count: TensorValue;
  readonly mass: TensorValue;
}

export function sampled(
  values: TensorValue,
  noise: TensorValue,
  { temperature, count, mass }: SampleLimits,
): TensorValue {
  const [rows, extent] = values.shape as [number, number];
  const rowOf = (x: TensorValue, row: number): number[] =>
    Array.from({ length: extent }, (_, i) => Number(x.data[row * extent + i]));
  const chosen = Array.from({ length: rows }, (_, row) => {
    const warm = Number(temperature.data[row]) > 0;
    const divisor = warm ? Number(temperature.data[row]) : 1;
    const known = rowOf(values, row).map((x) => (Number.isNaN(x) ? -Infinity : x / divisor));
    const least = lowest(known, Number(count.data[row]), Number(mass.data[row]));
    const scores = rowOf(noise, row).map((x, i) =>
      known[i]! >= least ? known[i]! + (warm ? x : 0) : -Infinity,
    );
    return scores.reduce((best, score, i) => (score > scores[best]! ? i : best), 0);
  });
  return { dtype: "i64", shape: [rows], data: BigInt64Array.from(chosen.map(BigInt)) };
}
