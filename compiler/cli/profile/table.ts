/** A profile as text. */
import { bytesText } from "../output.js";
import type { LaunchProfile, Measured } from "./measured.js";
import type { Rates } from "./rates.js";
import { rowsOf, type Row } from "./rows.js";

export const columns = ["share", "launches", "µs", "floor", "of it", "held by", "family"] as const;

export function tableText(measured: Measured): string {
  const rows = rowsOf(measured.launches);
  const cells = rows.map(cellsOf);
  const widths = columns.map((name, i) =>
    Math.max(name.length, ...cells.map((each) => each[i]!.length)),
  );
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, i) => (i < 5 ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)))
      .join("  ");
  const indent = " ".repeat(line(columns).length + 2);
  return [
    ...headerLines(measured),
    `${line(columns)}  computes`,
    ...rows.flatMap((row, i) => [
      `${line(cells[i]!)}  ${row.computes}`,
      ...fusedLines(row.launches[0]!).map((text) => `${indent}${text}`),
    ]),
  ].join("\n");
}

const us = (ms: number): string => (ms * 1e3).toFixed(ms < 0.0995 ? 2 : 1);
const percent = (part: number): string => `${(part * 100).toFixed(part < 0.0995 ? 1 : 0)} %`;

/** How much of the time the floor is. */
const reached = (floorMs: number, ms: number): string => (ms === 0 ? "–" : percent(floorMs / ms));

export const cellsOf = ({ launches, ms, floorMs, share }: Row): string[] => [
  percent(share),
  String(launches.length),
  us(ms),
  us(floorMs),
  reached(floorMs, ms),
  launches[0]!.holds,
  launches[0]!.family,
];

/** What fused, as `explain` says it. */
export function fusedLines({ family, prologue, epilogue }: LaunchProfile): string[] {
  return [
    ...(prologue.length > 0 ? [`before it: ${prologue.join(", ")}`] : []),
    ...(family !== "map" && epilogue.length > 0 ? [`after it:  ${epilogue.join(", ")}`] : []),
  ];
}

const inCaches =
  "faster than memory: what launches read was in caches, whose bytes the floors count all the same";

/** The run and what it is compared with: also the head of the page. */
export function headerLines(measured: Measured): string[] {
  const { entry, device, target, repeat, rates, runMs, launchesMs, floorMs, markMs } = measured;
  const moved = measured.launches.reduce((sum, { read, written }) => sum + read + written, 0);
  return [
    `${entry} at ${sizesText(measured)} on ${device} (${target}): ${us(runMs)} µs a run, median of ${repeat}`,
    `${measured.launches.length} launches of ${us(launchesMs)} µs in all, each between marks of ${us(markMs)} µs that are taken off`,
    ...(floorMs > launchesMs ? [inCaches] : []),
    `floors of ${us(floorMs)} µs, ${reached(floorMs, runMs)} of the run: ${bytesText(moved)} moved, ${ratesText(rates)}`,
  ];
}

export function sizesText({ sizes, context }: Pick<Measured, "sizes" | "context">): string {
  const named = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  const filled = context === null ? [] : [`${context} ids in the cache`];
  return [...named, ...filled].join(", ") || "fixed shapes";
}

function ratesText({ bytes, operations, source }: Rates): string {
  const rate = operations["bf16"];
  const arithmetic = rate === undefined ? "" : `, ${(rate / 1e12).toPrecision(3)} TFLOP/s`;
  const memory =
    bytes < 1e12 ? `${(bytes / 1e9).toPrecision(3)} GB/s` : `${(bytes / 1e12).toPrecision(3)} TB/s`;
  return `${memory}${arithmetic} (${source})`;
}
