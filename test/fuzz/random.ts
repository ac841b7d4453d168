/** Choices from a seed: the same integer makes the same graph on every machine. */
import { random } from "../graphs.js";

/** Extents at the edges of tiles, vectors and unrolled loops, and primes between them. */
const edges = [
  ...[1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129],
  ...[5, 11, 13, 19, 23, 29, 37, 41, 53, 61, 73, 89, 97, 101, 113],
];

export class Rng {
  readonly next: () => number;

  constructor(seed: number) {
    // Neighbouring seeds give unrelated streams.
    const next = random(Math.imul(seed ^ (seed >>> 16), 0x9e3779b1) ^ Math.floor(seed / 2 ** 32));
    next();
    this.next = next;
  }

  /** An integer in [low, high]. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  float(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)]!;
  }

  /** One item, each as likely as its weight says. */
  weighted<T>(items: readonly (readonly [weight: number, item: T])[]): T {
    let at = this.next() * items.reduce((total, [weight]) => total + weight, 0);
    for (const [weight, item] of items) {
      at -= weight;
      if (at < 0) return item;
    }
    return items[items.length - 1]![1];
  }

  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.int(0, i);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }

  /** An extent of at most `most`, mostly at the edge of a tile. */
  extent(most: number): number {
    if (most <= 1) return 1;
    if (this.chance(0.15)) return this.int(1, Math.min(most, 129));
    const fitting = edges.filter((edge) => edge <= most);
    return this.pick(fitting);
  }

  /** A shape of at most `most` elements. */
  shape(rank: number, most: number): number[] {
    const dims: number[] = [];
    let left = most;
    for (let axis = 0; axis < rank; axis++) {
      const axesLeft = rank - axis;
      const share = axesLeft === 1 ? left : Math.max(1, Math.floor(left ** this.float(0.2, 0.7)));
      const dim = this.extent(Math.min(129, share));
      dims.push(dim);
      left = Math.max(1, Math.floor(left / dim));
    }
    return this.shuffle(dims);
  }
}
