/**
 * Barriers that stand in shared memory, on which threads and copies arrive, and the ring of stages
 * that producers fill and consumers empty between two such barriers each.
 */
import { address, type PtxBuilder, type Value } from "./builder.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { increase, integer } from "./mma.js";

export const mbarrier = {
  /** How many arrivals complete a phase. */
  init: "mbarrier.init.shared.b64",
  arrive: "mbarrier.arrive.shared.b64",
  /** Arrives once all copies that this thread began have landed; counted as one of the arrivals. */
  arriveWithCopies: "cp.async.mbarrier.arrive.noinc.shared.b64",
  /** Whether the phase of this parity is complete; waits a while for it. */
  tryWait: "mbarrier.try_wait.parity.shared.b64",
} as const;

/** Bytes of one barrier. */
export const barrierBytes = 8;

/** Waits that fail before a kernel that hangs is ended: far longer than any that succeeds. */
const patience = 1 << 24;

/** Waits until the phase of `parity` of the barrier at `place` is complete; traps if it never is. */
export function waitFor(b: PtxBuilder, place: string, parity: Value): void {
  const [again, ready] = [b.label("wait"), b.label("ready")];
  const tries = b.op("mov.b32", "s32", 0);
  b.place(again);
  b.branch(ready, b.op(mbarrier.tryWait, "pred", place, parity));
  increase(b, tries, 1);
  b.branch(again, b.op(ptx.setp("lt", "s32"), "pred", tries, patience));
  b.raw(ptx.trap);
  b.place(ready);
}

export interface RingLayout {
  readonly stages: number;
  readonly stageBytes: number;
  /** Where the stages and, for each of them, the barriers "full" and "empty" begin. */
  readonly base: Value;
  readonly barriers: Value;
}

/** Initialises the barriers of a ring; by one thread. */
export function initialise(
  b: PtxBuilder,
  ring: RingLayout,
  arrivals: { readonly full: number; readonly empty: number },
  leader: Value,
): void {
  for (let stage = 0; stage < ring.stages; stage++) {
    const at = stage * 2 * barrierBytes;
    b.lineIf(leader, mbarrier.init, address(ring.barriers, at), arrivals.full);
    b.lineIf(leader, mbarrier.init, address(ring.barriers, at + barrierBytes), arrivals.empty);
  }
}

/** The stage of a ring that a role comes to next. */
export class RingPosition {
  readonly #b: PtxBuilder;
  readonly #ring: RingLayout;
  readonly #stage: Value;
  readonly #parity: Value;

  /** Begins at the first stage. Stages are empty at first: `parity` is 1 for who fills them. */
  constructor(b: PtxBuilder, ring: RingLayout, parity: 0 | 1) {
    this.#b = b;
    this.#ring = ring;
    this.#stage = b.op("mov.b32", "s32", 0);
    this.#parity = b.op("mov.b32", "s32", parity);
  }

  /** `scale` times the bytes from the first stage to this one. */
  offset(scale = 1): Value {
    return integer(this.#b, "mul", this.#stage, this.#ring.stageBytes * scale);
  }

  /** The address of this stage's barriers: "full", then "empty". */
  barriers(): Value {
    const { barriers } = this.#ring;
    return this.#b.op(ptx.mad.s32!, "s32", this.#stage, 2 * barrierBytes, barriers);
  }

  wait(place: string): void {
    waitFor(this.#b, place, this.#parity);
  }

  /** Goes on by as many stages, which are another's. */
  skip(count: Value): void {
    const b = this.#b;
    const { stages } = this.#ring;
    const total = b.op(binaryInstruction.add.s32!, "s32", this.#stage, count);
    const turns = b.op(binaryInstruction.div.u32!, "s32", total, stages);
    b.line(binaryInstruction.mod.u32!, this.#stage, total, stages);
    const odd = integer(b, "and", turns, 1);
    b.line(binaryInstruction.xor.s32!, this.#parity, this.#parity, odd);
  }

  advance(): void {
    const b = this.#b;
    increase(b, this.#stage, 1);
    const end = b.op(ptx.setp("eq", "s32"), "pred", this.#stage, this.#ring.stages);
    b.lineIf(end, ptx.move("s32"), this.#stage, 0);
    b.lineIf(end, binaryInstruction.xor.s32!, this.#parity, this.#parity, 1);
  }
}
