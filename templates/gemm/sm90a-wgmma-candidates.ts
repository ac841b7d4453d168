/** Legal configurations of the sm_90a gemm, best first by a model of its time. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import { postorder, rangeOf } from "../../compiler/codegen/expressions.js";
import { legal } from "../../compiler/codegen/ptx/legal.js";
import { rowBytes, rowElements } from "../../compiler/codegen/ptx/wgmma.js";
import { unsupported } from "./sm80-mma-candidates.js";
import { gemmSources, type GemmSources } from "./sm80-mma-shape.js";
import { wgmmaShape, type Sm90aWgmmaGemmConfig } from "./sm90a-wgmma-shape.js";

type Tile = Pick<Sm90aWgmmaGemmConfig, "bm" | "bn" | "turns">;

const each = (bm: number, turns: 1 | 2, columns: readonly number[]): Tile[] =>
  columns.map((bn) => ({ bm, bn, turns }));

/** 128 sums a thread at most. */
const tiles: readonly Tile[] = [
  ...each(128, 1, [256, 224, 192, 160]),
  ...each(128, 2, [128, 96, 64]),
  ...each(64, 2, [256, 192, 128, 96, 64]),
];

const mostStages = 8;

/** With fewer, `mma.sync` with narrow tiles wins. */
const fewestRows = 65;

/** Cycles, and bytes in a cycle, fitted to an H200: see docs/performance.md. */
const machine = {
  /** Multiply-adds of one multiprocessor, as far as power lets it. */
  products: 2048 / 1.174,
  /** Of one multiprocessor from L2, of all from memory. */
  l2: 56,
  dram: 2250,
  /** Of a stage besides, from asking for one to having it, and before a kernel's first. */
  stage: 101,
  latency: 2350,
  start: 4500,
  /** Storing: of a tile, of each of its sums by width of staging, and of each operation on one. */
  stores: 1100,
  sum: { 64: 0.092, 32: 0.136 } as Readonly<Record<number, number>>,
  operation: 0.01,
} as const;

/** Operands that threads copy as they are, k contiguous, on the one architecture that has `wgmma`. */
const plain = (target: Target, { a, b, rowsOfB }: GemmSources): boolean =>
  target.ptx?.target === "sm_90a" && a.copy !== null && b.copy !== null && !rowsOfB;

/** Rows of tiles walked together: those whose rows of A and columns of B that 132 blocks read are fewest. */
function rasterOf({ bm, bn }: Tile, blocks: number): number {
  const read = (rows: number): number => rows * bm + Math.ceil(blocks / rows) * bn;
  return [4, 8, 16].reduce((best, rows) => (read(rows) < read(best) ? rows : best));
}

/** Each tile that has three stages or more, with as many as fit. */
function* configurations(
  desc: GemmDesc,
  target: Target,
  blocks: number,
): Generator<Sm90aWgmmaGemmConfig> {
  const fits = (config: Sm90aWgmmaGemmConfig): boolean =>
    wgmmaShape(config, desc.stages.length).sharedBytes <= (target.sharedBytes ?? 0);
  for (const tile of tiles) {
    const raster = rasterOf(tile, blocks);
    for (let stages = mostStages; stages >= 3; stages--)
      if (fits({ ...tile, stages, raster })) {
        yield { ...tile, stages, raster };
        break;
      }
  }
}

interface Sizes {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly batch: number;
  readonly blocks: number;
  /** Of the bodies that are stored, for each sum. */
  readonly operations: number;
}

/** Operations of the stores' bodies for each sum. */
function operationsOf(desc: GemmDesc): number {
  let count = 0;
  postorder(
    desc.stores.map(({ value }) => legal(value)),
    ({ args, type }) => {
      if (args.length > 0 && type === "f32") count++;
    },
  );
  return count / desc.group;
}

/** Estimated cycles: rounds of tiles, each the slowest of products, L2 and latency; or memory. */
export function estimate(config: Sm90aWgmmaGemmConfig, sizes: Sizes): number {
  const { bm, bn, turns, stages } = config;
  const { staged } = wgmmaShape(config, 0);
  const { rows, columns, depth, batch, blocks, operations } = sizes;
  const rounds = Math.ceil((Math.ceil(rows / bm) * Math.ceil(columns / bn) * batch) / blocks);
  const bytes = (Math.min(bm, rows) + bn) * rowBytes;
  const step = Math.max(
    (bm * bn * rowElements) / machine.products + machine.stage,
    bytes / machine.l2,
    machine.latency / (stages - 1),
  );
  const product = Math.ceil(depth / rowElements) * step;
  const moving = machine.stores + bm * bn * machine.sum[staged]!;
  const bodies = operations * bm * bn * machine.operation;
  // One turn's bodies hide behind the next one's products, computed by half of the warps; of what
  // moves through shared memory, which products need too, little hides.
  const computed =
    turns === 1
      ? rounds * (product + moving + bodies)
      : rounds * Math.max(product + 0.72 * moving, product / 2 + moving + bodies) + 2 * bodies;
  const moved = (batch * (rows * depth + columns * depth + rows * columns) * 2) / machine.dram;
  // What is hidden shows a little.
  return Math.max(computed, moved) + 0.1 * Math.min(computed, moved) + machine.start;
}

export function wgmmaCandidates(desc: GemmDesc, target: Target): readonly Sm90aWgmmaGemmConfig[] {
  const sources = gemmSources(desc);
  if (unsupported(desc, target, sources) || !plain(target, sources)) return [];
  const sizes: Sizes = {
    rows: rangeOf(desc.mExtent).max,
    columns: rangeOf(sources.columns).max,
    depth: rangeOf(desc.kExtent).max,
    batch: desc.batchExtents.reduce((product, extent) => product * rangeOf(extent).max, 1),
    blocks: target.multiprocessors ?? 1,
    operations: operationsOf(desc),
  };
  if (sizes.rows < fewestRows) return [];
  return [...configurations(desc, target, sizes.blocks)]
    .map((config) => ({ config, cycles: estimate(config, sizes) }))
    .sort((x, y) => x.cycles - y.cycles)
    .map(({ config }) => config);
}
