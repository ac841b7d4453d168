/** The product of the tiles that have arrived, and the loop that keeps others on their way. */
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import { blocksOf, extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import {
  MatrixReader,
  increase,
  integer,
  multiply,
  turn,
  zeroed,
} from "../../compiler/codegen/ptx/mma.js";
import { scaled, type GemmBlock } from "./sm80-mma-block.js";
import type { GemmTiles, Pending } from "./sm80-mma-tiles.js";

export class GemmProduct {
  readonly block: GemmBlock;
  readonly accumulators: readonly (readonly (readonly Value[])[])[];
  readonly #tiles: GemmTiles;
  readonly #readA: MatrixReader;
  readonly #readB: MatrixReader;

  /** Writes lane addresses to the block's setup. */
  constructor(block: GemmBlock, tiles: GemmTiles) {
    this.block = block;
    this.#tiles = tiles;
    const { shape, kernel, shared } = block;
    const { b } = kernel;
    const baseB = integer(b, "add", shared, shape.bOffset);
    this.#readA = this.#readerOfA(shared);
    this.#readB = this.#readerOfB(baseB);
    this.accumulators = Array.from({ length: shape.warpRows / 16 }, () =>
      Array.from({ length: shape.warpColumns / 8 }, () => zeroed(b, 4)),
    );
  }

  #readerOfA(base: Value): MatrixReader {
    const { block } = this;
    const { shape, lane, kernel } = block;
    return new MatrixReader(
      kernel.b,
      {
        layout: shape.a.layout,
        pattern: "rows",
        transposed: false,
        lane,
        base,
        row: scaled(block, block.warpM, shape.warpRows),
        chunk: scaled(block, block.warpK, shape.steps * 2),
      },
      shape.steps * 2,
    );
  }

  #readerOfB(base: Value): MatrixReader {
    const { block } = this;
    const { shape, lane, kernel } = block;
    const columns = scaled(
      block,
      block.warpN,
      shape.rowsOfB ? shape.warpColumns / 8 : shape.warpColumns,
    );
    const depth = scaled(block, block.warpK, shape.rowsOfB ? shape.steps * 16 : shape.steps * 2);
    return new MatrixReader(
      kernel.b,
      {
        layout: shape.b.layout,
        lane,
        base,
        pattern: shape.rowsOfB ? "rows" : this.#deep ? "deep" : "columns",
        transposed: shape.rowsOfB,
        row: shape.rowsOfB ? depth : columns,
        chunk: shape.rowsOfB ? columns : depth,
      },
      shape.rowsOfB ? shape.warpColumns / 8 : shape.steps * 2,
    );
  }

  /** A warp with eight columns reads two k16 steps at a time. */
  get #deep(): boolean {
    return this.block.shape.warpColumns === 8;
  }

  /** Fragments of k16 step `step` of the tile `offset` bytes into the ring. */
  #fragments(offset: Value): (step: number) => { a: Value[][]; b: Value[][] } {
    const { shape } = this.block;
    const [readA, readB] = [this.#readA.at(offset), this.#readB.at(offset)];
    const deep = new Map<number, Value[]>();
    const columns = (step: number): Value[][] => {
      if (this.#deep && !shape.rowsOfB) {
        const pair = deep.get(step >> 1) ?? readB(0, (step & ~1) * 2);
        deep.set(step >> 1, pair);
        return [pair.slice((step & 1) * 2, (step & 1) * 2 + 2)];
      }
      return Array.from({ length: shape.warpColumns / 16 }, (_, pair) => {
        const four = shape.rowsOfB ? readB(step * 16, pair * 2) : readB(pair * 16, step * 2);
        return [four.slice(0, 2), four.slice(2, 4)];
      }).flat();
    };
    return (step) => ({
      a: this.accumulators.map((_, i) => readA(i * 16, step * 2)),
      b: columns(step),
    });
  }

  #multiply(fragments: { a: Value[][]; b: Value[][] }): void {
    const { b } = this.block.kernel;
    fragments.a.forEach((a, i) => {
      // Back and forth, so that neighbouring products share a fragment.
      const order = fragments.b.map((_, j) => (i % 2 === 0 ? j : fragments.b.length - 1 - j));
      for (const j of order)
        multiply(b, this.block.dtype, this.accumulators[i]![j]!, a, fragments.b[j]!);
    });
  }

  /** The loop over tiles: setup before it, its body, and the predicate that there is another round. */
  loop(before: Block, body: Block): Value {
    const { kernel, shape, desc, root } = this.block;
    const { b } = kernel;
    const { stages, bk } = shape.config;
    const ring = stages * shape.stageBytes;
    const state = b.into(before, () => ({
      tiles: b.op("mov.b32", "s32", extentValue(root, blocksOf(desc.kExtent, bk), "s32")),
      k0: b.op("mov.b32", "s32", (stages - 1) * bk),
      read: b.op("mov.b32", "s32", 0),
      write: b.op("mov.b32", "s32", (stages - 1) * shape.stageBytes),
    }));
    const pipelined = shape.steps % 2 === 0 && !this.#deep;
    const arrive = (): void => {
      b.raw(ptx.copyWait(stages - 2));
      b.raw(ptx.barrier);
    };
    const start = (): Pending => {
      const exists = this.#tiles.exists(state.k0);
      const pending = (["b", "a"] as const).flatMap((which) =>
        this.#tiles.issue(which, body, state.k0, state.write, exists),
      );
      b.raw(ptx.copyCommit);
      return pending;
    };
    const advance = (): void => {
      increase(b, state.k0, bk);
      turn(b, state.write, shape.stageBytes, ring);
    };
    if (pipelined) this.#pipelined(before, body, state.read, ring, { arrive, start, advance });
    else
      b.into(body, () => {
        arrive();
        const pending = start();
        const fragments = this.#fragments(state.read);
        for (let step = 0; step < shape.steps; step++) this.#multiply(fragments(step));
        for (const store of pending) store();
        advance();
        turn(b, state.read, shape.stageBytes, ring);
      });
    return b.into(body, () => {
      increase(b, state.tiles, -1);
      return b.op(ptx.setp("gt", "s32"), "pred", state.tiles, 0);
    });
  }

  /** Fragments are read one k16 step ahead, the first of a tile right after the barrier before it. */
  #pipelined(
    before: Block,
    body: Block,
    read: Value,
    ring: number,
    { arrive, start, advance }: { arrive: () => void; start: () => Pending; advance: () => void },
  ): void {
    const { kernel, shape } = this.block;
    const { b } = kernel;
    const kept = b.into(before, () => {
      arrive();
      return this.#fragments(read)(0);
    });
    b.into(body, () => {
      let [current, now] = [kept, this.#fragments(read)];
      let pending: Pending = [];
      for (let step = 0; step < shape.steps; step++) {
        const last = step === shape.steps - 1;
        if (last) {
          for (const store of pending) store();
          arrive();
          turn(b, read, shape.stageBytes, ring);
          now = this.#fragments(read);
        }
        const next = now(last ? 0 : step + 1);
        if (step === 0) pending = start();
        this.#multiply(current);
        current = next;
      }
      advance();
      [...current.a, ...current.b].flat().forEach((value, i) => {
        b.line("mov.b32", [...kept.a, ...kept.b].flat()[i]!, value);
      });
    });
  }
}
