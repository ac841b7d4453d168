/**
 * IEEE f32 gemm for sm_80, without tf32: tiles of A and B in shared memory, products in registers.
 * Where there are few rows, groups of threads split k inside the block and add up in order.
 */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { rangeOf } from "../../compiler/codegen/expressions.js";
import { blocksOf, volume } from "../../compiler/codegen/ptx/geometry.js";
import { SimtGemm } from "../../compiler/codegen/ptx/simt-gemm.js";
import {
  gemmShape,
  gemmThreads,
  lanesOfB,
  physicalColumns,
  type SimtGemmConfig,
} from "../../compiler/codegen/ptx/simt-gemm-shape.js";

const shapes: readonly SimtGemmConfig[] = [
  { bm: 1, bn: 32, bk: 4, tm: 1, tn: 4, groups: 32, stages: 3 },
  { bm: 8, bn: 32, bk: 4, tm: 4, tn: 4, groups: 16, stages: 4 },
  { bm: 16, bn: 32, bk: 8, tm: 4, tn: 4, groups: 8, stages: 3 },
  { bm: 32, bn: 32, bk: 16, tm: 4, tn: 4, groups: 2, stages: 3 },
  { bm: 64, bn: 64, bk: 16, tm: 8, tn: 4, groups: 1, stages: 3 },
  { bm: 128, bn: 64, bk: 16, tm: 8, tn: 8, groups: 1, stages: 2 },
  { bm: 128, bn: 128, bk: 16, tm: 8, tn: 8, groups: 1, stages: 2 },
];

/** Time of the whole product in steps of one multiprocessor's fused multiply-adds. */
function cost(desc: GemmDesc, config: SimtGemmConfig, target: Target): number {
  const rows = rangeOf(desc.mExtent).max;
  const columns = rangeOf(physicalColumns(desc)).max;
  const batch = rangeOf(volume(desc.batchExtents)).max;
  const blocks = Math.ceil(rows / config.bm) * Math.ceil(columns / config.bn) * batch;
  const waves = Math.ceil(blocks / (target.multiprocessors ?? 1));
  const { bm, bn, tm, tn } = config;
  // Each operand of a fused multiply-add comes from shared memory once per `tm` or `tn` uses.
  const traffic = 1 + 2 / tm + 2 / tn;
  return waves * bm * bn * traffic + waves * 256;
}

function candidates(desc: GemmDesc, target: Target): readonly SimtGemmConfig[] {
  if (desc.dtype !== "f32") return [];
  const limit = target.sharedBytes ?? 48 * 1024;
  return shapes
    .filter((config) => gemmShape(desc, config, lanesOfB(desc, config)).total <= limit)
    .map((config) => ({ config, cost: cost(desc, config, target) }))
    .sort((p, q) => p.cost - q.cost)
    .map(({ config }) => config);
}

function render(desc: GemmDesc, config: SimtGemmConfig, target: Target): KernelText {
  const work = new SimtGemm(desc, config, target);
  const view = work.emit();
  const launch = {
    kind: "gpu",
    grid: [
      blocksOf(desc.mExtent, config.bm),
      blocksOf(physicalColumns(desc), config.bn),
      volume(desc.batchExtents),
    ],
    threads: gemmThreads(config),
    sharedBytes: work.shape.total,
  } as const;
  // Left alone, ptxas gives tiles of 16 accumulators all 255, and spills.
  const mostRegisters = config.tm * config.tn <= 16 ? 224 : 255;
  return work.kernel.render("gemm/sm80-simt.ptx.hbs", launch, { ...view, mostRegisters });
}

export const sm80SimtGemm: FamilyTemplate<"gemm", SimtGemmConfig> = {
  family: "gemm",
  candidates,
  render,
};
