/** Row statistics before the product and the stores after it. */
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Scope } from "../../compiler/codegen/ptx/expr.js";
import { param } from "../../compiler/codegen/expressions.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { address } from "../../compiler/codegen/ptx/builder.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { increase, integer } from "../../compiler/codegen/ptx/mma.js";
import {
  emitStagedStores,
  stageAccumulators,
  stagedLanes,
  type StagedLayout,
} from "../../compiler/codegen/ptx/mma-staged.js";
import { bindStatistics, emitRowStatistics } from "../../compiler/codegen/ptx/mma-stats.js";
import { scaled, type GemmBlock } from "./sm80-mma-block.js";
import { columnPlace, rowPlace, type Place } from "./store-scopes.js";

/** A tile's rows, whose statistics warps share out. */
export interface StatisticsPlace {
  readonly desc: GemmDesc;
  readonly tile: Scope;
  /** The tile's first row, and how many it has. */
  readonly m0: Value;
  readonly rows: number;
  /** Where they go in shared memory: [stage][row] of f32. */
  readonly base: Value;
  readonly warp: Value;
  readonly warps: number;
  readonly lane: Value;
}

/** A warp per row; rows that do not exist have none. */
export function emitStatistics(place: StatisticsPlace, into: Block): void {
  const { desc, tile, m0, rows, base, warp, warps, lane } = place;
  const { b } = tile;
  b.into(into, () => {
    const row = b.op("mov.b32", "s32", warp);
    const [loop, done] = [b.label("statistics"), b.label("known")];
    if (warps > rows) b.branch(done, b.op(ptx.setp("ge", "s32"), "pred", row, rows));
    b.place(loop);
    const m = integer(b, "add", m0, row);
    b.branch(done, b.op(ptx.setp("ge", "s32"), "pred", m, extentValue(tile, desc.mExtent, "s32")));
    const inner = b.block.section();
    b.into(inner, () => {
      const scope = tile.child({ block: inner }).bind(desc.m, m);
      const values = emitRowStatistics(scope, {
        stages: desc.stages,
        k: desc.k,
        kExtent: desc.kExtent,
        lane,
      });
      const at = b.op("mad.lo.s32", "s32", row, 4, base);
      const leader = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
      values.forEach((value, i) => {
        b.lineIf(leader, ptx.storeShared("f32", 1), address(at, i * rows * 4), value);
      });
    });
    increase(b, row, warps);
    b.branch(loop, b.op(ptx.setp("lt", "s32"), "pred", row, rows));
    b.place(done);
  });
}

/** One pass over the accumulators: staging them, what comes before the loop over rows, and that loop. */
export interface StorePass {
  readonly stage: Block;
  readonly before: Block;
  readonly rows: Block;
}

type Tiles = readonly (readonly (readonly Value[])[])[];

export function emitStorePass(block: GemmBlock, accumulators: Tiles, pass: number): StorePass {
  const { desc, shape, kernel, lane, shared, thread } = block;
  const { b } = kernel;
  const { config, passes, stagedRows } = shape;
  const parts = { stage: kernel.section(), before: kernel.section(), rows: kernel.section() };
  const layout: StagedLayout = {
    stride: shape.stagedStride,
    rows: stagedRows,
    slices: config.warpsK,
    gap: 0,
  };
  const perPass = accumulators.length / passes;
  b.into(parts.stage, () => {
    const place = {
      layout,
      base: shared,
      lane,
      row: scaled(block, block.warpM, perPass * 16),
      column: scaled(block, block.warpN, shape.warpColumns),
      slice: block.warpK,
    };
    stageAccumulators(b, place, accumulators.slice(pass * perPass, (pass + 1) * perPass));
  });
  emitStagedStores(b, parts.before, parts.rows, {
    layout,
    base: shared,
    thread,
    threads: shape.threads,
    columns: config.bn,
    group: desc.group,
    lanes: stagedLanes(config.bn, stagedRows, desc.group, shape.threads, 8),
    stores: desc.stores,
    columnScope: (column) =>
      columnScope(
        block,
        parts.before,
        column,
        stagedLanes(config.bn, stagedRows, desc.group, shape.threads, 8),
      ),
    rowScope: (row) => rowScope(block, parts.rows, row, pass),
    accumulators: Array.from({ length: desc.group }, (_, i) => param(`acc${i}`, "f32")),
  });
  return parts;
}

function columnScope(block: GemmBlock, before: Block, column: Value, lanes: number): Place {
  const { desc, shape, kernel, tile, n0 } = block;
  const { b } = kernel;
  const n = integer(b, "add", integer(b, "div", n0, desc.group), column);
  return columnPlace(desc, tile, before, n, { columns: shape.config.bn / desc.group, lanes });
}

function rowScope(block: GemmBlock, into: Block, row: Value, pass: number): Place {
  const { desc, shape, kernel, tile, m0, shared } = block;
  const { b } = kernel;
  const inTile = rowInTile(block, row, pass);
  const place = rowPlace(desc, tile, into, integer(b, "add", m0, inTile), shape.config.bm);
  const base = integer(b, "add", shared, shape.statsOffset);
  bindStatistics(place.scope, desc.stages, inTile, shape.config.bm, base);
  return place;
}

/** Row of the tile that stands in a staged row: each pass takes the same share of every warp's rows. */
function rowInTile(block: GemmBlock, row: Value, pass: number): Value {
  const { shape, kernel } = block;
  const { b } = kernel;
  if (shape.passes === 1) return row;
  const share = shape.warpRows / shape.passes;
  const warp = integer(b, "div", row, share);
  const inside = integer(b, "add", integer(b, "mod", row, share), pass * share);
  return integer(b, "add", integer(b, "mul", warp, shape.warpRows), inside);
}
