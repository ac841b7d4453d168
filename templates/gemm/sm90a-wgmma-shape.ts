/** Configurations of the sm_90a gemm and the sizes that follow from them. */
import { barrierBytes } from "../../compiler/codegen/ptx/mbarrier.js";
import {
  stagedStride,
  tileLayout,
  type TileLayout,
} from "../../compiler/codegen/ptx/mma-layout.js";
import {
  groupRows,
  groupThreads,
  rowBytes,
  rowElements,
} from "../../compiler/codegen/ptx/wgmma.js";

export interface Sm90aWgmmaGemmConfig {
  /** Rows and physical columns of a block's tile. */
  readonly bm: number;
  readonly bn: number;
  /** Tiles of A and B in shared memory. */
  readonly stages: number;
  /** Warpgroups that share a tile, along rows and columns. */
  readonly groupsM: number;
  readonly groupsN: number;
  /** How many such sets take tiles in turn: one stores while the next multiplies. */
  readonly turns: number;
  /** Columns of accumulators that a warp stages at a time for its stores. */
  readonly staged: number;
  /** Rows of tiles that are walked together so that their B stays in L2. */
  readonly raster: number;
}

export interface WgmmaShape {
  readonly config: Sm90aWgmmaGemmConfig;
  readonly threads: number;
  /** Warpgroups that multiply; one more fills the stages. */
  readonly groups: number;
  /** Rows of a warpgroup's tile, in products of 64, and its columns. */
  readonly tall: number;
  readonly columns: number;
  readonly a: TileLayout;
  readonly b: TileLayout;
  readonly bOffset: number;
  readonly stageBytes: number;
  /** Barriers of the ring's stages, then one for each turn. */
  readonly barriersOffset: number;
  readonly turnsOffset: number;
  /** Where each warp has its rows' statistics, [product][statistic][row] of f32; bytes of a product's. */
  readonly statsOffset: number;
  readonly statsBytes: number;
  /** Where each warp stages accumulators: words of a row, bytes of a warp. */
  readonly stagingOffset: number;
  readonly stagedStride: number;
  readonly stagedGap: number;
  readonly stagedBytes: number;
  readonly sharedBytes: number;
  /** Registers of a thread that fills and of one that multiplies; null: all have what a block allows. */
  readonly registers: { readonly fill: number; readonly multiply: number } | null;
}

/** Rows of accumulators that a warp holds of each product. */
export const warpRows = 16;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** By the number of warpgroups that multiply: 64 K registers in all, in units of 8 a thread. */
const registersOf: { readonly [groups: number]: WgmmaShape["registers"] } = {
  1: null,
  2: { fill: 40, multiply: 232 },
  3: { fill: 32, multiply: 160 },
};

/** `statistics`: how many values each row has. */
export function wgmmaShape(config: Sm90aWgmmaGemmConfig, statistics: number): WgmmaShape {
  const { bm, bn, stages, groupsM, groupsN, turns, staged } = config;
  const groups = groupsM * groupsN * turns;
  const tall = bm / groupsM / groupRows;
  const statsBytes = statistics * warpRows * 4;
  const stageBytes = (bm + bn) * rowBytes;
  const barriersOffset = stages * stageBytes;
  const turnsOffset = barriersOffset + stages * 2 * barrierBytes;
  const statsOffset = roundUp(turnsOffset + turns * barrierBytes, 128);
  const stagingOffset = statsOffset + roundUp(groups * 4 * tall * statsBytes, 128);
  const stride = stagedStride(staged);
  const stagedBytes = warpRows * stride * 4;
  return {
    config,
    threads: (groups + 1) * groupThreads,
    groups,
    tall,
    columns: bn / groupsN,
    a: tileLayout(bm, rowElements / 8),
    b: tileLayout(bn, rowElements / 8),
    bOffset: bm * rowBytes,
    stageBytes,
    barriersOffset,
    turnsOffset,
    statsOffset,
    statsBytes,
    stagingOffset,
    stagedStride: stride,
    // What the stride leaves free.
    stagedGap: staged === 64 ? 4 : 0,
    stagedBytes,
    sharedBytes: stagingOffset + groups * 4 * stagedBytes,
    registers: registersOf[groups] ?? null,
  };
}
