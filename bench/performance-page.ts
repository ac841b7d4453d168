/** Puts generated text between the marks of its generator in docs/performance.md. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../compiler/version.js";

/** @param generator its path from the root, which the marks name */
export function intoPerformancePage(generator: string, text: string): void {
  const place = path.join(packageRoot(), "docs", "performance.md");
  const [start, end] = [`<!-- ${generator} -->`, `<!-- end of ${generator} -->`];
  const page = readFileSync(place, "utf8");
  const [from, to] = [page.indexOf(start), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/performance.md has no ${start} … ${end}`);
  writeFileSync(place, `${page.slice(0, from + start.length)}\n\n${text}\n\n${page.slice(to)}`);
}

/** A file's path from the root. */
export const fromRoot = (file: string): string => path.relative(packageRoot(), path.resolve(file));

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
