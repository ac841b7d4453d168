/** Two contenders in turns of short slices, so that both see the same machine. */

export type Body = () => Promise<unknown>;

export interface Timing {
  /** Of each round's runs, the median: milliseconds. */
  readonly rounds: readonly number[];
  /** Median of the rounds. */
  readonly median: number;
  /** The fastest of all runs. */
  readonly min: number;
  readonly runs: number;
}

export interface Plan {
  readonly rounds: number;
  /** Milliseconds of a slice's timed runs, at least. */
  readonly slice: number;
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

const once = async (body: Body): Promise<number> => {
  const start = performance.now();
  await body();
  return performance.now() - start;
};

/** Threads of the other side may still look for work: they are given time to go to sleep. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

async function slice(body: Body, length: number): Promise<number[]> {
  await settle();
  const warm = performance.now();
  for (let i = 0; i < 2 || performance.now() - warm < length / 10; i++) await body();
  const times: number[] = [];
  for (let spent = 0; times.length < 3 || spent < length; spent += times.at(-1)!)
    times.push(await once(body));
  return times;
}

/** Rounds of one slice each, in alternating order. */
export async function interleaved<K extends string>(
  bodies: Readonly<Record<K, Body>>,
  { rounds, slice: length }: Plan,
): Promise<Record<K, Timing>> {
  const names = Object.keys(bodies) as K[];
  const times = new Map(names.map((name) => [name, [] as number[][]]));
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse())
      times.get(name)!.push(await slice(bodies[name], length));
  }
  return Object.fromEntries(
    names.map((name) => {
      const slices = times.get(name)!;
      const medians = slices.map(median);
      const timing: Timing = {
        rounds: medians.map((value) => Number(value.toFixed(4))),
        median: median(medians),
        min: Math.min(...slices.flat()),
        runs: slices.flat().length,
      };
      return [name, timing];
    }),
  ) as Record<K, Timing>;
}
