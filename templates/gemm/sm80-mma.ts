/**
 * Family gemm for sm_80, f16 and bf16: `mma.sync` on tiles that `cp.async` brings, prologues through
 * registers, stores from accumulators staged in shared memory.
 */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { mul, one } from "../../compiler/codegen/expressions.js";
import { blocksOf, volume } from "../../compiler/codegen/ptx/geometry.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import { gemmCandidates, residentBlocks } from "./sm80-mma-candidates.js";
import { openBlock } from "./sm80-mma-block.js";
import { emitStatistics, emitStorePass } from "./sm80-mma-epilogue.js";
import { GemmProduct } from "./sm80-mma-product.js";
import { GemmTiles } from "./sm80-mma-tiles.js";
import {
  gemmShape,
  gemmSources,
  type GemmShape,
  type Sm80MmaGemmConfig,
} from "./sm80-mma-shape.js";

/** Holes of `sm80-mma.ptx.hbs` besides the kernel's header: lines of text, in the order of the skeleton. */
interface GemmView {
  /** Blocks that a multiprocessor should hold: bounds the registers of a thread. */
  readonly resident: number;
  readonly entry: string[];
  /** Places of the block, the warp and the thread; lane addresses; zeroed accumulators. */
  readonly setup: string[];
  readonly firstB: string[];
  readonly statistics: boolean;
  readonly statisticsOfRows: string[];
  /** What a thread needs of its rows of A, statistics included. */
  readonly rows: string[];
  readonly firstA: string[];
  /** Before the loop over tiles; a round of it; the predicate that another follows. */
  readonly before: string[];
  readonly tile: string[];
  readonly more: string;
  readonly passes: {
    readonly stage: string[];
    readonly before: string[];
    readonly rows: string[];
  }[];
}

function grid(desc: GemmDesc, shape: GemmShape): KernelText["launch"] & { kind: "gpu" } {
  const { bm, bn, raster } = shape.config;
  const [rows, columns] = [blocksOf(desc.mExtent, bm), blocksOf(shape.columns, bn)];
  const batch = volume(desc.batchExtents);
  return {
    kind: "gpu",
    grid: raster === 0 ? [rows, columns, batch] : [mul(rows, columns), one, batch],
    threads: shape.threads,
    sharedBytes: shape.sharedBytes,
  };
}

function render(desc: GemmDesc, config: Sm80MmaGemmConfig, target: Target): KernelText {
  const shape = gemmShape(desc, config, gemmSources(desc));
  const block = openBlock(desc, shape, target);
  const { kernel, setup, rows } = block;
  const { b } = kernel;
  const tiles = b.into(setup, () => new GemmTiles(block));
  const product = b.into(setup, () => new GemmProduct(block, tiles));
  const sections = {
    firstB: kernel.section(),
    statistics: kernel.section(),
    firstA: kernel.section(),
    before: kernel.section(),
    tile: kernel.section(),
  };
  tiles.first("b", sections.firstB);
  if (desc.stages.length > 0) {
    const { tile, m0, shared, warp, lane } = block;
    const base = b.into(sections.statistics, () => integer(b, "add", shared, shape.statsOffset));
    const warps = shape.threads / 32;
    const place = { desc, tile, m0, rows: config.bm, base, warp, warps, lane };
    emitStatistics(place, sections.statistics);
    tiles.bindRowStatistics();
  }
  tiles.first("a", sections.firstA);
  const more = product.loop(sections.before, sections.tile);
  const passes = Array.from({ length: shape.passes }, (_, pass) =>
    emitStorePass(block, product.accumulators, pass),
  );
  const view: GemmView = {
    resident: residentBlocks(shape),
    entry: kernel.entry.lines(),
    setup: setup.lines(),
    firstB: sections.firstB.lines(),
    statistics: desc.stages.length > 0,
    statisticsOfRows: sections.statistics.lines(),
    rows: rows.lines(),
    firstA: sections.firstA.lines(),
    before: sections.before.lines(),
    tile: sections.tile.lines(),
    more: more.text,
    passes: passes.map((pass) => ({
      stage: pass.stage.lines(),
      before: pass.before.lines(),
      rows: pass.rows.lines(),
    })),
  };
  return kernel.render("gemm/sm80-mma.ptx.hbs", grid(desc, shape), { ...view });
}

export const sm80MmaGemm: FamilyTemplate<"gemm", Sm80MmaGemmConfig> = {
  family: "gemm",
  candidates: gemmCandidates,
  render,
};
