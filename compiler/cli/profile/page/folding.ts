/** Layers that are alike, so that a drawing shows one of them. */

/** Launches `start` to before `start + period · count`, each alike the one `period` before it. */
export interface Repeats {
  readonly start: number;
  readonly period: number;
  readonly count: number;
}

/** Fewer are drawn as they are. */
const leastCount = 3;

/** The repetition that leaves the fewest launches to draw. @param kinds equal for launches that are alike */
export function repeatsOf(kinds: readonly string[]): Repeats | null {
  let best: Repeats | null = null;
  const saved = ({ period, count }: Repeats): number => period * (count - 1);
  for (let period = 1; period * leastCount <= kinds.length; period++) {
    let start = 0;
    for (let at = period; at <= kinds.length; at++) {
      if (at < kinds.length && kinds[at] === kinds[at - period]) continue;
      const found = { start, period, count: Math.floor((at - start) / period) };
      if (found.count >= leastCount && (best === null || saved(found) > saved(best))) best = found;
      start = at - period + 1;
    }
  }
  return best;
}

/** The launch that is drawn for a launch. */
export function drawnFor(repeats: Repeats | null, launch: number): number {
  if (repeats === null) return launch;
  const { start, period, count } = repeats;
  const past = launch - start;
  return past < 0 || past >= period * count ? launch : start + (past % period);
}
