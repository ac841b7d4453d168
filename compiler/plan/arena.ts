/**
 * Offsets for temporaries whose lifetimes overlap. Greedy by size: the largest first, each at the
 * lowest offset that is free over its lifetime (Pisarchyk and Lee, "Efficient Memory Management for
 * Deep Neural Net Inference", 2020).
 */

export interface Lifetime {
  readonly id: string;
  readonly bytes: number;
  /** Steps of the first write and of the last use, inclusive. */
  readonly first: number;
  readonly last: number;
}

export interface Arena {
  readonly offsets: ReadonlyMap<string, number>;
  readonly bytes: number;
}

/** What cp.async, vector loads and cache lines want. */
const alignment = 256;
const alignUp = (value: number): number => Math.ceil(value / alignment) * alignment;

export function planArena(lifetimes: readonly Lifetime[]): Arena {
  const bySize = [...lifetimes].sort(
    (a, b) => b.bytes - a.bytes || a.first - b.first || (a.id < b.id ? -1 : 1),
  );
  const placed: { lifetime: Lifetime; offset: number }[] = [];
  const offsets = new Map<string, number>();
  let bytes = 0;
  for (const lifetime of bySize) {
    const beside = placed.filter(
      ({ lifetime: other }) => other.first <= lifetime.last && lifetime.first <= other.last,
    );
    beside.sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of beside) {
      if (offset + alignUp(lifetime.bytes) <= other.offset) break;
      offset = Math.max(offset, other.offset + alignUp(other.lifetime.bytes));
    }
    placed.push({ lifetime, offset });
    offsets.set(lifetime.id, offset);
    bytes = Math.max(bytes, offset + alignUp(lifetime.bytes));
  }
  return { offsets, bytes };
}
