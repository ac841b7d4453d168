/** After the last key: warps that share rows are merged in order, sums divide, results are stored. */
import { param } from "../../compiler/codegen/expressions.js";
import { address, immediate, type Block, type Value } from "../../compiler/codegen/ptx/builder.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import {
  emitStagedStores,
  stageAccumulators,
  stagedLanes,
} from "../../compiler/codegen/ptx/mma-staged.js";
import { overLanes } from "../../compiler/codegen/ptx/mma-stats.js";
import { emitJoin } from "./sm80-mma-parts.js";
import type { AttentionSteps, LaneRow } from "./sm80-mma-steps.js";

const [add, mul, max] = [
  binaryInstruction.add.f32!,
  binaryInstruction.mul.f32!,
  binaryInstruction.max.f32!,
];

export interface FinishBlocks {
  /** Maxima and sums of the warps, read back after a barrier. */
  readonly publish: Block;
  readonly scale: Block;
  /** Parts of the keys become one, in the last block. */
  readonly join: Block | null;
  readonly before: Block;
  readonly rows: Block;
}

export function emitFinish(steps: AttentionSteps): FinishBlocks {
  const { block } = steps;
  const { kernel, shape, lane, shared } = block;
  const { b } = kernel;
  const blocks = {
    publish: kernel.section(),
    scale: kernel.section(),
    join: block.part === null ? null : emitJoin(steps, block.part),
    before: kernel.section(),
    rows: kernel.section(),
  };
  const sums = b.into(blocks.publish, () =>
    steps.rows.flat().map((row) => overLanes(b, add, row.sum, [2, 1])),
  );
  const merged = shape.config.warpsK > 1;
  const { split } = shape.config;
  const slot = b.into(blocks.publish, () => (merged || split ? publish(steps, sums) : null));
  b.into(blocks.scale, () => {
    steps.rows.flat().forEach((row, index) => {
      const factor =
        slot === null || !merged
          ? reciprocal(steps, sums[index]!)
          : mergedFactor(steps, row, slot, index);
      const [tile, half] = [index >> 1, index & 1];
      for (const acc of steps.output[tile]!)
        for (const x of acc.slice(2 * half, 2 * half + 2)) b.line(mul, x, x, factor);
    });
    stageAccumulators(
      b,
      {
        layout: { stride: shape.stagedStride, rows: shape.bm, slices: shape.config.warpsK, gap: 0 },
        base: shared,
        lane,
        row: block.warpM === null ? null : integer(b, "mul", block.warpM, 16 * shape.config.tilesM),
        column: null,
        slice: block.warpK,
      },
      steps.output,
    );
  });
  emitStores(steps, blocks.before, blocks.rows);
  return blocks;
}

/** 1 / sum; 0 where every key was masked. */
export function reciprocal(steps: AttentionSteps, sum: Value): Value {
  const { b } = steps.block.kernel;
  const empty = b.op(ptx.setp("eq", "f32"), "pred", sum, immediate(0, "f32"));
  const inverse = b.op(binaryInstruction.div.f32!, "f32", immediate(1, "f32"), sum);
  return b.op("selp.f32", "f32", immediate(0, "f32"), inverse, empty);
}

/** Writes maximum and sum of each row of this warp; returns the place of the lane's first row. */
function publish(steps: AttentionSteps, sums: readonly Value[]): Value {
  const { block } = steps;
  const { kernel, shape, lane, warpM, warpK, shared } = block;
  const { b } = kernel;
  let row = integer(b, "shr", lane, 2);
  if (warpM !== null)
    row = integer(b, "add", row, integer(b, "mul", warpM, 16 * shape.config.tilesM));
  const slot = b.op("mad.lo.s32", "s32", row, 8, integer(b, "add", shared, shape.mergeOffset));
  const own =
    warpK === null ? slot : integer(b, "add", slot, integer(b, "mul", warpK, shape.bm * 8));
  const leader = b.op(ptx.setp("eq", "s32"), "pred", integer(b, "and", lane, 3), 0);
  steps.rows.flat().forEach(({ top }, index) => {
    b.lineIf(
      leader,
      ptx.storeShared("f32", 2),
      address(own, index * 64),
      `{${top.text}, ${sums[index]!.text}}`,
    );
  });
  return slot;
}

/** What this warp's part of a row weighs in the whole, the sum of all warps' parts divided out. */
function mergedFactor(steps: AttentionSteps, row: LaneRow, slot: Value, index: number): Value {
  const { b } = steps.block.kernel;
  const { top, sum } = mergedRow(steps, slot, index * 64);
  return b.op(mul, "f32", steps.weight(row.top, steps.shift(top)), reciprocal(steps, sum));
}

/** Maximum and sum of a row over the warps that share it, published `offset` bytes from `slot`. */
function mergedRow(
  steps: AttentionSteps,
  slot: Value,
  offset: number,
): { readonly top: Value; readonly sum: Value } {
  const { shape, kernel } = steps.block;
  const { b } = kernel;
  const parts = Array.from({ length: shape.config.warpsK }, (_, warp) => {
    const [top, sum] = [b.reg("f32"), b.reg("f32")];
    b.line(
      ptx.loadShared("f32", 2),
      `{${top.text}, ${sum.text}}`,
      address(slot, warp * shape.bm * 8 + offset),
    );
    return { top, sum };
  });
  const top = parts
    .slice(1)
    .reduce((best, part) => b.op(max, "f32", best, part.top), parts[0]!.top);
  const shift = steps.shift(top);
  const sum = parts
    .map((part) => b.op(mul, "f32", part.sum, steps.weight(part.top, shift)))
    .reduce((sum, part) => b.op(add, "f32", sum, part));
  return { top, sum };
}

/** Maximum and sum of row `row` of the block, once they are published. */
export function publishedRow(
  steps: AttentionSteps,
  row: Value,
): { readonly top: Value; readonly sum: Value } {
  const { shared, shape, kernel } = steps.block;
  const place = integer(kernel.b, "add", shared, shape.mergeOffset);
  return mergedRow(steps, kernel.b.op("mad.lo.s32", "s32", row, 8, place), 0);
}

function emitStores(steps: AttentionSteps, before: Block, rows: Block): void {
  const { block } = steps;
  const { desc, kernel, shape, shared, thread, tile } = block;
  const { b } = kernel;
  const lanes = stagedLanes(shape.width, shape.bm, 1, shape.threads, 8);
  emitStagedStores(b, before, rows, {
    layout: {
      stride: shape.stagedStride,
      rows: shape.bm,
      slices: shape.config.split ? 1 : shape.config.warpsK,
      gap: 0,
    },
    base: shared,
    thread,
    threads: shape.threads,
    columns: shape.width,
    group: 1,
    lanes,
    stores: desc.stores,
    columnScope: (column) => ({
      scope: tile
        .child({ block: before, lanes })
        .bind(desc.e, column, { step: 1, multiple: lanes }),
      inside: null,
    }),
    rowScope: (row) => {
      const place = block.rowPlace(integer(b, "add", block.row0, row));
      const scope = tile.child({ block: rows }).bind(desc.q, place.query).bind(desc.r, place.head);
      return { scope, inside: place.exists };
    },
    accumulators: [param("acc", "f32")],
  });
}
