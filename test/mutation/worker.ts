/** One round of the search in a thread of its own, which may hang or run out of memory. */
import "./counters.js";
import { parentPort, workerData } from "node:worker_threads";
import { counters } from "./counters.js";
import { explore } from "./explore.js";
import { readers, type ReaderName } from "./readers.js";

export interface Round {
  readonly reader: ReaderName;
  readonly seed: number;
  readonly executions: number;
  readonly corpus: readonly Uint8Array[];
  readonly words: readonly string[];
  readonly root: string;
  /** Executions, the length of the current input, and the input itself. */
  readonly watched: SharedArrayBuffer;
}

/** Where the watched input begins. */
export const watchedHeader = 8;

const { reader: name, root, watched, corpus, ...rest } = workerData as Round;
const reader = readers[name];
const numbers = new Int32Array(watched, 0, 2);
const shown = new Uint8Array(watched, watchedHeader);
// Errors are answers here: their stacks are wanted only where one is none.
Error.stackTraceLimit = 0;
parentPort?.postMessage(
  explore({
    ...rest,
    reader,
    counters,
    corpus: corpus.length > 0 ? corpus : reader.seeds(root),
    onInput(bytes, executions) {
      shown.set(bytes.subarray(0, shown.length));
      numbers[1] = bytes.length;
      Atomics.store(numbers, 0, executions);
    },
  }),
);
