/** Pages of a model's caches: which sequence has which, and the table that a run is given. */
import { badInput, FarrierRuntimeError } from "./errors.js";
import type { Model } from "./model.js";

/** What a bundle with paged caches says of its pool. */
export interface PageLayout {
  readonly pages: number;
  /** Positions of a page. */
  readonly pageSize: number;
  /** Pages of a sequence at most. */
  readonly perSequence: number;
}

const tableName = "block_table";

/** null where the model's caches are contiguous, or where it has none. */
export function pageLayoutOf(model: Model): PageLayout | null {
  const table = model.entries
    .flatMap(({ inputs }) => inputs)
    .find(({ name }) => name === tableName);
  const perSequence = table?.shape[1];
  const [pages, , pageSize] = model.states[0]?.shape ?? [];
  if (typeof perSequence !== "number" || pages === undefined || pageSize === undefined) return null;
  return { pages, pageSize, perSequence };
}

const device = 4;

/** The pages of a pool, shared out to sequences as these grow. */
export class PageAllocator {
  readonly layout: PageLayout;
  readonly #free: number[];
  readonly #taken = new Map<number, number[]>();

  constructor(layout: PageLayout) {
    this.layout = layout;
    // The page that was given back last is the first to be taken again.
    this.#free = Array.from({ length: layout.pages }, (_, i) => layout.pages - 1 - i);
  }

  /** Pages that no sequence has. */
  get free(): number {
    return this.#free.length;
  }

  pagesFor(positions: number): number {
    return Math.ceil(positions / this.layout.pageSize);
  }

  /**
   * Gives `sequence` the pages that its first `positions` positions need; those that it has stay.
   * @throws FarrierRuntimeError E_RT_INDEX, E_RT_OOM, and nothing is taken
   */
  grow(sequence: number, positions: number): void {
    const { pageSize, perSequence } = this.layout;
    if (positions > perSequence * pageSize)
      throw badInput(
        "E_RT_INDEX",
        `sequence ${sequence} has ${positions} positions, a row of the table ${perSequence} pages of ${pageSize}`,
      );
    const own = this.#taken.get(sequence) ?? [];
    const more = this.pagesFor(positions) - own.length;
    if (more > this.free) throw exhausted(`sequence ${sequence}`, more, this.free, this.layout);
    for (let i = 0; i < more; i++) own.push(this.#free.pop()!);
    this.#taken.set(sequence, own);
  }

  /** Takes the pages of a sequence that has ended. */
  release(sequence: number): void {
    this.#free.push(...(this.#taken.get(sequence) ?? []).reverse());
    this.#taken.delete(sequence);
  }

  /** The model's `block_table`, a row for each of `sequences`; -1 where it has no page. */
  table(sequences: readonly number[]): number[][] {
    return sequences.map((sequence) => {
      const own = this.#taken.get(sequence) ?? [];
      return Array.from({ length: this.layout.perSequence }, (_, i) => own[i] ?? -1);
    });
  }
}

/** A pool without the pages that `who` needs. */
export function exhausted(
  who: string,
  needed: number,
  free: number,
  { pages, pageSize }: PageLayout,
): FarrierRuntimeError {
  const what = `${who} needs ${needed} pages of ${pageSize} positions more than it has; of ${pages}, ${free} are free`;
  const hint = "end other sequences, ask for fewer ids, or compile with more --cache-tokens";
  return new FarrierRuntimeError("E_RT_OOM", `E_RT_OOM: ${what} (${hint})`, device);
}
