/** The counters of instrumented files: made before any of these is loaded. */
import { workerData } from "node:worker_threads";

interface WithCounters {
  farrierCounters?: Uint8Array;
}

const { points = 0 } = (workerData ?? {}) as { points?: number };

export const counters = ((globalThis as WithCounters).farrierCounters ??= new Uint8Array(points));
