/** Seeded numbers that are the same on every machine (xorshift, 32 bits). */

export type Random = () => number;

/** From 0 below 2³². */
export function seeded(seed: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x6d2b79f5) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

export function fillUniform(
  values: Float32Array,
  seed: number,
  mean: number,
  spread: number,
): void {
  const next = seeded(seed);
  const scale = (2 * spread) / 2 ** 32;
  for (let i = 0; i < values.length; i++) values[i] = mean - spread + next() * scale;
}
