/** Times of a run's launches beside their floors. */
import type { Profile } from "../../../runtime/node/index.js";
import type { EntryReport, KernelReport } from "../../bundle/report.js";
import { floorValue } from "../../plan/floor-expr.js";
import type { Rates } from "./rates.js";

/** Times are milliseconds, of one launch. */
export interface LaunchProfile extends Omit<KernelReport, "writes" | "floor" | "config"> {
  /** Its number in the plan. */
  readonly number: number;
  /** Without what a mark takes. */
  readonly ms: number;
  /** Of all launches. */
  readonly share: number;
  readonly floorMs: number;
  /** What its floor is the time of. */
  readonly holds: "memory" | "arithmetic";
  /** Bytes. */
  readonly read: number;
  readonly written: number;
  readonly operations: number;
  readonly dtype: string | null;
}

/** A profile of one entry at one size. */
export interface Measured {
  readonly entry: string;
  readonly target: string;
  readonly device: string;
  readonly sizes: Readonly<Record<string, number>>;
  /** How far caches are filled; null without caches. */
  readonly context: number | null;
  readonly repeat: number;
  readonly rates: Rates;
  /** A run as it is: on a GPU as a graph. */
  readonly runMs: number;
  readonly launchesMs: number;
  readonly floorMs: number;
  /** What a mark between two launches takes; it is not in their times. */
  readonly markMs: number;
  readonly launches: readonly LaunchProfile[];
}

/**
 * @param names what floors are over: symbols, and inputs with `@` before their names
 * @throws FarrierError E_BUNDLE_FORMAT where the report is another plan's
 */
export function launchesOf(
  profile: Profile,
  kernels: EntryReport["kernels"],
  rates: Rates,
  names: Readonly<Record<string, number>>,
): LaunchProfile[] {
  const times = profile.steps.map(({ ms }) => Math.max(0, ms - profile.markMs));
  const all = times.reduce((sum, ms) => sum + ms, 0);
  return kernels.map(({ writes: _, config: __, floor, ...kernel }, number) => {
    const [read, written, operations] = [floor.read, floor.written, floor.operations].map((expr) =>
      floorValue(expr, names),
    ) as [number, number, number];
    const memory = (1e3 * (read + written)) / rates.bytes;
    const rate = floor.dtype === null ? undefined : rates.operations[floor.dtype];
    const arithmetic = rate === undefined ? 0 : (1e3 * operations) / rate;
    const ms = times[number] ?? 0;
    return {
      ...kernel,
      // Plans of the same launches may have other kernels.
      symbol: profile.steps[number]?.kernel ?? kernel.symbol,
      number,
      ms,
      share: all === 0 ? 0 : ms / all,
      floorMs: Math.max(memory, arithmetic),
      holds: memory >= arithmetic ? "memory" : "arithmetic",
      read,
      written,
      operations,
      dtype: floor.dtype,
    };
  });
}
