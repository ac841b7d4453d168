/** Row statistics before the product and the stores after it. */
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import type { Scope } from "../../compiler/codegen/ptx/expr.js";
import { alignmentOf } from "../../compiler/codegen/affine.js";
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

/** A warp per row; rows that do not exist have none. */
export function emitStatistics(block: GemmBlock, into: Block): void {
  const { desc, shape, kernel, tile, warp, lane, m0, shared } = block;
  const { b } = kernel;
  const warps = shape.threads / 32;
  const { bm } = shape.config;
  b.into(into, () => {
    const row = b.op("mov.b32", "s32", warp);
    const [loop, done] = [b.label("statistics"), b.label("known")];
    if (warps > bm) b.branch(done, b.op(ptx.setp("ge", "s32"), "pred", row, bm));
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
      const place = b.op("mad.lo.s32", "s32", row, 4, integer(b, "add", shared, shape.statsOffset));
      const leader = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
      values.forEach((value, i) => {
        b.lineIf(leader, ptx.storeShared("f32", 1), address(place, i * bm * 4), value);
      });
    });
    increase(b, row, warps);
    b.branch(loop, b.op(ptx.setp("lt", "s32"), "pred", row, bm));
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

function columnScope(
  block: GemmBlock,
  before: Block,
  column: Value,
  lanes: number,
): { scope: Scope; inside: Value | null } {
  const { desc, shape, kernel, tile, n0 } = block;
  const { b } = kernel;
  const tileColumns = shape.config.bn / desc.group;
  const n = integer(b, "add", integer(b, "div", n0, desc.group), column);
  const extent = extentValue(tile, desc.nExtent, "s32");
  const whole = alignmentOf(desc.nExtent, tileColumns) === tileColumns;
  const together = alignmentOf(desc.nExtent, lanes) === lanes;
  const guard = whole
    ? null
    : Array.from({ length: together ? 1 : lanes }, (_, lane) =>
        b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", n, lane), extent),
      );
  const scope = tile
    .child({ block: before, lanes, guard })
    .bind(desc.n, n, { step: 1, multiple: lanes });
  return { scope, inside: together && guard !== null ? guard[0]! : null };
}

function rowScope(
  block: GemmBlock,
  into: Block,
  row: Value,
  pass: number,
): { scope: Scope; inside: Value | null } {
  const { desc, shape, kernel, tile, m0, shared } = block;
  const { b } = kernel;
  const inTile = rowInTile(block, row, pass);
  const m = integer(b, "add", m0, inTile);
  const whole = alignmentOf(desc.mExtent, shape.config.bm) === shape.config.bm;
  const inside = whole
    ? null
    : b.op(ptx.setp("lt", "s32"), "pred", m, extentValue(tile, desc.mExtent, "s32"));
  const scope = tile.child({ block: into }).bind(desc.m, m);
  bindStatistics(
    scope,
    desc.stages,
    inTile,
    shape.config.bm,
    integer(b, "add", shared, shape.statsOffset),
  );
  return { scope, inside };
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
