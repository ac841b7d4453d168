/** The role that multiplies: what has arrived, one stage behind what it gives back. */
import { address, type Value } from "../../compiler/codegen/ptx/builder.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import {
  barrierBytes,
  mbarrier,
  RingPosition,
  waitFor,
} from "../../compiler/codegen/ptx/mbarrier.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import {
  descriptorHigh,
  descriptorLow,
  descriptorUnit,
  groupRows,
  multiplyGroup,
  rowBytes,
  rowElements,
  stepElements,
  wgmma,
} from "../../compiler/codegen/ptx/wgmma.js";
import { countDown, depthCounter, depthSteps, type WgmmaBlock } from "./sm90a-wgmma-block.js";

/** Barriers of this turn and of the next, and the parity of the phase to wait for. */
interface Turn {
  readonly own: Value;
  readonly next: Value;
  readonly parity: Value;
}

export class GroupProduct {
  readonly #block: WgmmaBlock;
  readonly #position: RingPosition;
  /** Low words of the descriptors of this warpgroup's rows of A and columns of B in the first stage. */
  readonly #lowA: Value;
  readonly #lowB: Value;
  readonly #high: Value;
  readonly #leader: Value;
  readonly #always: Value;
  /** Barriers of the stage before, and whether this thread is to give it back. */
  readonly #before: Value;
  readonly #gives: Value;
  readonly #turn: Turn | null;
  /** For each product of 64 rows, registers in the order of the instruction. */
  readonly #accumulators: readonly (readonly Value[])[];

  /** Writes places and descriptors to the current block. */
  constructor(block: WgmmaBlock, lane: Value) {
    this.#block = block;
    const { kernel, shape, shared, group } = block;
    const { bn, turns } = shape.config;
    const { b } = kernel;
    const low = (first: Value): Value =>
      integer(b, "add", integer(b, "div", first, descriptorUnit), descriptorLow);
    const partBytes = shape.tall * groupRows * rowBytes;
    this.#lowA = low(
      turns > 1 ? shared : integer(b, "add", shared, integer(b, "mul", group, partBytes)),
    );
    this.#lowB = low(integer(b, "add", shared, shape.bOffset));
    this.#high = b.op("mov.b32", "s32", descriptorHigh);
    this.#leader = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
    this.#always = b.op(ptx.setp("eq", "s32"), "pred", this.#high, this.#high);
    this.#position = new RingPosition(b, block.ring, 0);
    if (turns > 1) this.#position.skip(integer(b, "mul", group, depthSteps(block)));
    this.#turn = turns > 1 ? this.#turnOf(group) : null;
    this.#before = b.op("mov.b32", "s32", block.ring.barriers);
    this.#gives = b.reg("pred");
    this.#accumulators = Array.from({ length: shape.tall }, () => b.regs("f32", bn / 2));
  }

  /** Accumulators of 16 rows of each product of 64: [columns / 8][4]. */
  get tiles(): readonly (readonly (readonly Value[])[])[] {
    return this.#accumulators.map((registers) =>
      Array.from({ length: registers.length / 4 }, (_, i) => registers.slice(4 * i, 4 * i + 4)),
    );
  }

  /**
   * Parity tells apart neighbouring phases only: stages are waited for once those before them have
   * been. The first turn waits for nobody at first.
   */
  #turnOf(turn: Value): Turn {
    const { kernel, shared, shape } = this.#block;
    const { b } = kernel;
    const barriers = integer(b, "add", shared, shape.turnsOffset);
    const other = integer(b, "xor", turn, 1);
    return {
      own: b.op(ptx.mad.s32!, "s32", turn, barrierBytes, barriers),
      next: b.op(ptx.mad.s32!, "s32", other, barrierBytes, barriers),
      parity: b.op("mov.b32", "s32", other),
    };
  }

  /** Zeroes the sums, and waits for the turn: the counter of the tile's steps. */
  begin(): Value {
    const { b } = this.#block.kernel;
    for (const register of this.#accumulators.flat()) b.line("mov.f32", register, "0f00000000");
    b.line("not.pred", this.#gives, this.#always);
    if (this.#turn !== null) {
      const { own, parity } = this.#turn;
      waitFor(b, address(own), parity);
      b.line(binaryInstruction.xor.s32!, parity, parity, 1);
    }
    return depthCounter(this.#block);
  }

  /** One stage. It is given back once the next has begun, so that the tensor cores never wait. */
  step(counter: Value): Value {
    const { kernel, dtype } = this.#block;
    const { b } = kernel;
    const position = this.#position;
    const barriers = position.barriers();
    position.wait(address(barriers));
    b.raw(wgmma.proxyFence);
    b.raw(wgmma.fence);
    const offset = integer(b, "div", position.offset(), descriptorUnit);
    const [a, y] = [integer(b, "add", this.#lowA, offset), integer(b, "add", this.#lowB, offset)];
    for (let k = 0; k < rowElements / stepElements; k++) {
      const along = (k * stepElements * 2) / descriptorUnit;
      const right = this.#descriptor(integer(b, "add", y, along));
      this.#accumulators.forEach((registers, i) => {
        const rows = (i * groupRows * rowBytes) / descriptorUnit;
        const left = this.#descriptor(integer(b, "add", a, along + rows));
        multiplyGroup(b, dtype, registers, left, right, this.#always);
      });
    }
    b.raw(wgmma.commit);
    b.raw(wgmma.wait(1));
    this.#giveBack(this.#gives);
    b.line(ptx.move("s32"), this.#before, barriers);
    b.line(ptx.move("pred"), this.#gives, this.#leader);
    position.advance();
    return countDown(this.#block, counter);
  }

  /** Lets the next turn begin, waits for the last products of a tile, gives back their stage and passes over the other turns'. */
  finish(): void {
    const { kernel, shape } = this.#block;
    const { b } = kernel;
    if (this.#turn !== null)
      b.lineIf(this.#leader, mbarrier.arrive, b.reg("u64"), address(this.#turn.next));
    b.raw(wgmma.wait(0));
    this.#giveBack(this.#gives);
    const others = shape.config.turns - 1;
    if (others > 0) this.#position.skip(integer(b, "mul", depthSteps(this.#block), others));
  }

  #giveBack(guard: Value): void {
    const { b } = this.#block.kernel;
    b.lineIf(guard, mbarrier.arrive, b.reg("u64"), address(this.#before, barrierBytes));
  }

  #descriptor(low: Value): Value {
    const { b } = this.#block.kernel;
    const word = b.reg("u64");
    b.line(ptx.move("u64"), word, `{${low.text}, ${this.#high.text}}`);
    return word;
  }
}
