/** The counters of instrumented files: made before any of these is loaded. */

interface WithCounters {
  farrierCounters?: Uint8Array;
}

/** The first argument of a round's process is how many there are. */
const points = Number(process.argv[2] ?? 0);

export const counters = ((globalThis as WithCounters).farrierCounters ??= new Uint8Array(points));
