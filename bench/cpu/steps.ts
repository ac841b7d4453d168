/** farrier's time by kernel: where a model's time goes. */
import type { Profile } from "../../runtime/node/index.js";

/** One line for each kernel, the most expensive first. */
export function stepLines({ steps }: Profile): string[] {
  const byKernel = new Map<string, { family: string; label: string; ms: number; count: number }>();
  for (const { kernel, family, label, ms } of steps) {
    const seen = byKernel.get(kernel) ?? { family, label, ms: 0, count: 0 };
    byKernel.set(kernel, { ...seen, ms: seen.ms + ms, count: seen.count + 1 });
  }
  return [...byKernel.values()]
    .sort((x, y) => y.ms - x.ms)
    .map(
      ({ family, label, ms, count }) =>
        `  ${ms.toFixed(3)} ms in ${count} × ${family}: ${label.slice(0, 90)}`,
    );
}
