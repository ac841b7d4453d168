/** Launches that are alike, as rows: the same kernel on the same amounts, in each layer of a model. */
import { numbered } from "../../bundle/report-words.js";
import type { LaunchProfile } from "./measured.js";

/** Times are milliseconds, of one launch; the share is of all of them. */
export interface Row {
  readonly launches: readonly LaunchProfile[];
  readonly computes: string;
  readonly ms: number;
  readonly floorMs: number;
  readonly share: number;
}

/** Those that take the most time first. */
export function rowsOf(launches: readonly LaunchProfile[]): Row[] {
  const groups = new Map<string, LaunchProfile[]>();
  for (const launch of launches) {
    const { symbol, read, written, operations, prologue, epilogue } = launch;
    const computes = launch.computes.replace(/\d+/g, "#");
    const key = JSON.stringify([symbol, computes, read, written, operations, prologue, epilogue]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [launch]);
    else group.push(launch);
  }
  return [...groups.values()].map(rowOf).sort((a, b) => b.share - a.share);
}

function rowOf(launches: readonly LaunchProfile[]): Row {
  const sum = (of: (launch: LaunchProfile) => number): number =>
    launches.reduce((total, launch) => total + of(launch), 0);
  const names = numbered([...new Set(launches.map(({ computes }) => computes))]);
  const more = names.length > 2 ? ` and ${names.length - 1} more` : "";
  return {
    launches,
    computes: more === "" ? names.join(", ") : `${names[0]!}${more}`,
    ms: sum(({ ms }) => ms) / launches.length,
    floorMs: launches[0]!.floorMs,
    share: sum(({ share }) => share),
  };
}
