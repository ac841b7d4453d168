/**
 * IEEE f32 attention for sm_80: online softmax over tiles of keys in shared memory. Where there are
 * few rows, warps of the block take other keys of the same rows and merge in order. It takes what the
 * tensor cores' own does not: f32, and rows of f16 and bf16 that are no whole 16-byte chunks.
 */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { constValue, rangeOf } from "../../compiler/codegen/expressions.js";
import { blocksOf } from "../../compiler/codegen/ptx/geometry.js";
import { SimtAttention } from "../../compiler/codegen/ptx/simt-attention.js";
import {
  attentionRows,
  attentionShape,
  type SimtAttentionConfig,
} from "../../compiler/codegen/ptx/simt-attention-shape.js";

/** A lane holds its part of its rows' values; the depth is bounded by shared memory alone. */
const mostValues = 256;

const shapes: readonly SimtAttentionConfig[] = [8, 4, 2, 1].flatMap((rows) =>
  [
    { warpRows: 8, warpKeys: 1 },
    { warpRows: 4, warpKeys: 1 },
    { warpRows: 2, warpKeys: 2 },
    { warpRows: 1, warpKeys: 4 },
    { warpRows: 1, warpKeys: 2 },
    { warpRows: 1, warpKeys: 1 },
  ].flatMap((warps) => [2, 1].map((stages) => ({ rows, ...warps, stages }))),
);

/** Time in shared-memory reads per key: blocks in waves, each with its warps' rows. */
function cost(desc: AttentionDesc, config: SimtAttentionConfig, target: Target): number {
  const { extents } = desc;
  const { rows, warpRows, warpKeys, stages } = config;
  const { blockRows, total } = attentionShape(desc, config);
  const blocks =
    Math.ceil(rangeOf(attentionRows(desc)).max / blockRows) *
    rangeOf(extents.g).max *
    rangeOf(extents.b).max;
  const resident = Math.max(1, Math.floor((160 * 1024) / total));
  const waves = Math.ceil(blocks / ((target.multiprocessors ?? 1) * resident));
  // Four warps of a multiprocessor run at a time; a key is read once for all rows of a warp.
  const perKey =
    ((rows + 3) / warpKeys) * Math.max(1, (Math.min(resident, blocks) * warpRows * warpKeys) / 4);
  return waves * perKey * (stages === 1 ? 1.3 : 1);
}

function candidates(desc: AttentionDesc, target: Target): readonly SimtAttentionConfig[] {
  const [d, e] = [constValue(desc.extents.d), constValue(desc.extents.e)];
  if (desc.dtype === "f64" || d === null || e === null || e > mostValues) return [];
  const limit = target.sharedBytes ?? 48 * 1024;
  return shapes
    .filter((config) => attentionShape(desc, config).total <= limit)
    .map((config) => ({ config, cost: cost(desc, config, target) }))
    .sort((p, q) => p.cost - q.cost)
    .map(({ config }) => config);
}

function render(desc: AttentionDesc, config: SimtAttentionConfig, target: Target): KernelText {
  const work = new SimtAttention(desc, config, target);
  const view = work.emit();
  const { extents } = desc;
  const launch = {
    kind: "gpu",
    grid: [blocksOf(attentionRows(desc), work.shape.blockRows), extents.g, extents.b],
    threads: work.shape.threads,
    sharedBytes: work.shape.total,
  } as const;
  return work.kernel.render("attention/sm80-simt.ptx.hbs", launch, { ...view });
}

export const sm80SimtAttention: FamilyTemplate<"attention", SimtAttentionConfig> = {
  family: "attention",
  candidates,
  render,
};
