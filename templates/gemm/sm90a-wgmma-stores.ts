/** Row statistics before a tile's product and its stores after it; each warp stores its own rows. */
import { immediate, type Value } from "../../compiler/codegen/ptx/builder.js";
import { param } from "../../compiler/codegen/expressions.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import {
  emitStagedStores,
  stageAccumulators,
  stagedLanes,
} from "../../compiler/codegen/ptx/mma-staged.js";
import { bindStatistics } from "../../compiler/codegen/ptx/mma-stats.js";
import { groupRows } from "../../compiler/codegen/ptx/wgmma.js";
import { emitStatistics } from "./sm80-mma-epilogue.js";
import type { Origin, WgmmaBlock } from "./sm90a-wgmma-block.js";
import { warpRows } from "./sm90a-wgmma-shape.js";
import { columnPlace, rowPlace, type Place } from "./store-scopes.js";

/** A warp among those that multiply. */
export interface StoringWarp {
  readonly lane: Value;
  /** Its first row in the tile. */
  readonly row: Value;
  /** Where its rows' statistics stand, and where it stages its sums. */
  readonly statistics: Value;
  readonly staging: Value;
}

/** Statistics of the warp's rows into its own place in shared memory. */
export function emitTileStatistics(block: WgmmaBlock, { m0 }: Origin, own: StoringWarp): void {
  const { desc, shape, kernel, batch } = block;
  const { b } = kernel;
  if (desc.stages.length === 0) return;
  const first = integer(b, "add", m0, own.row);
  for (let product = 0; product < shape.tall; product++) {
    const place = {
      desc,
      tile: batch,
      m0: integer(b, "add", first, product * groupRows),
      rows: warpRows,
      base: integer(b, "add", own.statistics, product * shape.statsBytes),
      warp: immediate(0, "s32"),
      warps: 1,
      lane: own.lane,
    };
    emitStatistics(place, b.block.section());
  }
  b.raw(ptx.warpBarrier);
}

type Tiles = readonly (readonly (readonly Value[])[])[];

/** All stores of a tile, into the current block. */
export function emitTileStores(
  block: WgmmaBlock,
  origin: Origin,
  own: StoringWarp,
  sums: Tiles,
): void {
  const { staged, config } = block.shape;
  sums.forEach((line, product) => {
    for (let column = 0; column < config.bn; column += staged) {
      const part = line.slice(column / 8, (column + staged) / 8);
      emitStores(block, origin, own, part, { row: product * groupRows, column });
    }
  });
}

/** Stores of 16 rows and `staged` columns of a warp, which begin at `at` of its tile. */
function emitStores(
  block: WgmmaBlock,
  { m0, n0 }: Origin,
  own: StoringWarp,
  sums: readonly (readonly Value[])[],
  at: { readonly row: number; readonly column: number },
): void {
  const { desc, shape, kernel, batch } = block;
  const { b } = kernel;
  const { bm, bn } = shape.config;
  const { staged } = shape;
  const layout = { stride: shape.stagedStride, rows: warpRows, slices: 1, gap: shape.stagedGap };
  const { staging: base, lane } = own;
  stageAccumulators(b, { layout, base, lane, row: null, column: null, slice: null }, [sums]);
  b.raw(ptx.warpBarrier);
  const [before, rows] = [b.block.section(), b.block.section()];
  const lanes = stagedLanes(staged, warpRows, desc.group, 32, 8);
  const columnScope = (column: Value): Place => {
    const physical = integer(b, "add", n0, at.column);
    const n = integer(b, "add", integer(b, "div", physical, desc.group), column);
    return columnPlace(desc, batch, before, n, { columns: bn / desc.group, lanes });
  };
  const rowScope = (row: Value): Place => {
    const inTile = integer(b, "add", integer(b, "add", row, own.row), at.row);
    const place = rowPlace(desc, batch, rows, integer(b, "add", m0, inTile), bm);
    const statistics = integer(b, "add", own.statistics, (at.row / groupRows) * shape.statsBytes);
    bindStatistics(place.scope, desc.stages, row, warpRows, statistics);
    return place;
  };
  emitStagedStores(b, before, rows, {
    layout,
    base,
    thread: lane,
    threads: 32,
    columns: staged,
    group: desc.group,
    lanes,
    stores: desc.stores,
    columnScope,
    rowScope,
    accumulators: Array.from({ length: desc.group }, (_, i) => param(`acc${i}`, "f32")),
  });
  b.raw(ptx.warpBarrier);
}
