/** What a run records: `bench/results/DAY-cpu.json`. */
import type { Timing } from "./timing.js";

export interface Row {
  readonly name: string;
  /** Per output. */
  readonly relRms: Readonly<Record<string, number>>;
  /** Null where the gate failed or a side refused: `failed` says why. */
  readonly farrier: Timing | null;
  readonly peer: Timing | null;
  readonly failed?: string;
}

export interface Results {
  readonly date: string;
  readonly commit: string;
  readonly cpu: string;
  readonly cores: number;
  readonly threads: number;
  readonly isa: string;
  readonly flags: readonly string[];
  readonly peer: string;
  readonly node: string;
  readonly compiler: string;
  /** Of the machine, one minute, before the first and after the last model. */
  readonly load: readonly [number, number];
  readonly rows: readonly Row[];
}

/** Above 1: farrier takes less time. */
export const ratioOf = ({ farrier, peer }: Row, time: "median" | "min" | "cpu"): number | null =>
  farrier === null || peer === null ? null : peer[time] / farrier[time];
