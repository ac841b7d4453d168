/**
 * Family reduce for sm_80. Where the axis is contiguous a warp or a block has a row; else a thread
 * has columns. Short rows are unrolled: what a stage loads or computes stays in registers for the
 * next. Longer rows are walked once per stage.
 */
import type { ReduceDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { isOp, one, rangeOf } from "../../compiler/codegen/expressions.js";
import { blocksOf, volume } from "../../compiler/codegen/ptx/geometry.js";
import { RowReduction } from "../../compiler/codegen/ptx/row-reduction.js";
import { contiguousAccesses, widestLanes } from "../../compiler/codegen/ptx/widest.js";

export interface Sm80ReduceConfig {
  /** `rows`: threads share a row. `columns`: each thread has rows that are neighbours in memory. */
  readonly layout: "rows" | "columns";
  readonly threads: number;
  /** Threads of a row: 32, or all of the block. */
  readonly rowThreads: number;
  /** Consecutive elements (of the axis, or of the last row coordinate) that a thread has at a time. */
  readonly lanes: number;
  /** Unrolled steps along the axis; 0 is a loop. */
  readonly chunks: number;
}

const mostElements = 32;

function candidates(desc: ReduceDesc, target: Target): readonly Sm80ReduceConfig[] {
  const bodies = [
    ...desc.stages.map((stage) => stage.body),
    ...desc.elementStores.flatMap((store) => [store.offset, store.value]),
  ];
  const extent = rangeOf(desc.axisExtent).max;
  const rows = rangeOf(volume(desc.extents)).max;
  const last = desc.coords.at(-1);
  const { axis, axisExtent, elementStores, operands } = desc;
  if (last !== undefined && isOp(last, "coord")) {
    const along = contiguousAccesses(bodies, elementStores, axis, last);
    const across = contiguousAccesses(bodies, elementStores, last, axis);
    if (across > along)
      return columnConfigs(
        extent,
        widestLanes(operands, bodies, elementStores, last, desc.extents.at(-1)!),
      );
  }
  const along = widestLanes(operands, bodies, elementStores, axis, axisExtent);
  const lanes = Math.max(1, along);
  const crowded = rows >= 2 * (target.multiprocessors ?? 1);
  const byRow = [32, 128, 256, 512, 1024].flatMap((rowThreads): Sm80ReduceConfig[] => {
    const chunks = Math.ceil(extent / (rowThreads * lanes));
    // Threads without an element are no use.
    if (rowThreads > 32 && rowThreads * lanes >= 2 * extent) return [];
    const held = chunks * lanes <= mostElements;
    const threads = rowThreads === 32 ? 128 : rowThreads;
    return held || rowThreads >= 256
      ? [{ layout: "rows", threads, rowThreads, lanes, chunks: held ? chunks : 0 }]
      : [];
  });
  // Many rows keep every multiprocessor busy: few threads a row. Few rows need all the threads.
  const enough = (config: Sm80ReduceConfig): boolean =>
    config.chunks * lanes > 0 && config.chunks * lanes <= (crowded ? 16 : Math.max(4, lanes));
  return [...byRow.filter(enough), ...byRow.filter((config) => !enough(config)).reverse()];
}

function columnConfigs(extent: number, across: number): Sm80ReduceConfig[] {
  const configs: Sm80ReduceConfig[] = [];
  for (let lanes = Math.min(4, Math.max(1, across)); lanes >= 1; lanes /= 2) {
    const chunks = extent * lanes <= mostElements ? extent : 0;
    configs.push({ layout: "columns", threads: 128, rowThreads: 1, lanes, chunks });
  }
  return configs.reverse();
}

function render(desc: ReduceDesc, config: Sm80ReduceConfig, target: Target): KernelText {
  const work = new RowReduction(desc, config, target);
  const view = work.emit();
  const rows = volume(desc.extents);
  const blockRows =
    config.layout === "columns"
      ? config.threads * config.lanes
      : config.threads / config.rowThreads;
  const launch = {
    kind: "gpu",
    grid: [blocksOf(rows, blockRows), one, one],
    threads: config.threads,
    sharedBytes: work.sharedBytes,
  } as const;
  return work.kernel.render("reduce/sm80.ptx.hbs", launch, { ...view });
}

export const sm80Reduce: FamilyTemplate<"reduce", Sm80ReduceConfig> = {
  family: "reduce",
  candidates,
  render,
};
