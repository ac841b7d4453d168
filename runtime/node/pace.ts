/**
 * Which runs on a CPU are made on JavaScript's own thread: the way to another thread and back takes
 * about 20 µs, which is much of a short run. Timers and I/O get their turn at least every millisecond.
 */

/** Milliseconds that a run may take, by the last one of its shapes. */
const longest = 0.5;
/** Milliseconds in a row, and what a run counts at least, with what is done around it. */
const inRow = 1;
const least = 0.02;
/** Shapes that are remembered. */
const most = 256;

export class Pace {
  readonly #last = new Map<string, number>();
  #spent = 0;

  /** Whether the next run of these shapes is made here. */
  here(shapes: string): boolean {
    const expected = this.#last.get(shapes) ?? Infinity;
    return expected <= longest && this.#spent + expected <= inRow;
  }

  /** Notes what a run took, in milliseconds, and where it was made. */
  took(shapes: string, time: number, here: boolean): void {
    if (this.#last.size >= most && !this.#last.has(shapes)) this.#last.clear();
    this.#last.set(shapes, time);
    this.#spent = here ? this.#spent + Math.max(time, least) : 0;
  }
}
