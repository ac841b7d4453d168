/** One round of the search in a process of its own, which may hang or run out of memory. */
import "./counters.js";
import { counters } from "./counters.js";
import { explore } from "./explore.js";
import { readers, type ReaderName } from "./readers.js";
import { WatchedFile } from "./watched.js";

export interface Round {
  readonly reader: ReaderName;
  readonly seed: number;
  readonly executions: number;
  /** After so many seconds no execution is begun. */
  readonly seconds: number;
  readonly corpus: readonly Uint8Array[];
  readonly words: readonly string[];
  /** The package's directory. */
  readonly root: string;
  /** The file of `watched.ts`. */
  readonly watched: string;
}

function run({ reader: name, root, watched, corpus, ...rest }: Round): void {
  const reader = readers[name];
  const file = new WatchedFile(watched);
  const made = explore({
    ...rest,
    reader,
    counters,
    corpus: corpus.length > 0 ? corpus : reader.seeds(root),
    onInput: (bytes, executions) => file.write(bytes, executions),
  });
  process.send?.(made, () => process.disconnect());
}

// Errors are answers here: their stacks are wanted only where one is none.
Error.stackTraceLimit = 0;
process.once("message", run);
