/** Two contenders in turns of short slices, so that both see the same machine. */

export type Body = () => Promise<unknown>;

export interface Timing {
  /** Of each round's runs, the median: milliseconds. */
  readonly rounds: readonly number[];
  /** Median of the rounds. */
  readonly median: number;
  /** The fastest of all runs. */
  readonly min: number;
  /** The least that a run took of all cores together, waiting in loops included. */
  readonly cpu: number;
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

interface Run {
  readonly time: number;
  readonly cpu: number;
}

async function once(body: Body): Promise<Run> {
  const [start, before] = [performance.now(), process.cpuUsage()];
  await body();
  const { user, system } = process.cpuUsage(before);
  return { time: performance.now() - start, cpu: (user + system) / 1000 };
}

/** Threads of the other side may still look for work: they are given time to go to sleep. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

async function slice(body: Body, length: number): Promise<Run[]> {
  await settle();
  const warm = performance.now();
  for (let i = 0; i < 2 || performance.now() - warm < length / 10; i++) await body();
  const runs: Run[] = [];
  for (let spent = 0; runs.length < 3 || spent < length; spent += runs.at(-1)!.time)
    runs.push(await once(body));
  return runs;
}

/** Rounds of one slice each, in alternating order. */
export async function interleaved<K extends string>(
  bodies: Readonly<Record<K, Body>>,
  { rounds, slice: length }: Plan,
): Promise<Record<K, Timing>> {
  const names = Object.keys(bodies) as K[];
  const slices = new Map(names.map((name) => [name, [] as Run[][]]));
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse())
      slices.get(name)!.push(await slice(bodies[name], length));
  }
  return Object.fromEntries(
    names.map((name) => {
      const own = slices.get(name)!;
      const medians = own.map((runs) => median(runs.map(({ time }) => time)));
      const all = own.flat();
      const timing: Timing = {
        rounds: medians.map((value) => Number(value.toFixed(4))),
        median: median(medians),
        min: Math.min(...all.map(({ time }) => time)),
        cpu: Math.min(...all.map(({ cpu }) => cpu)),
        runs: all.length,
      };
      return [name, timing];
    }),
  ) as Record<K, Timing>;
}
