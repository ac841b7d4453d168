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
  /** 1: both warpgroups that multiply share a tile's rows; 2: they take tiles in turn, so that one stores while the other multiplies. */
  readonly turns: 1 | 2;
  /** Tiles of A and B in shared memory. */
  readonly stages: number;
  /** Rows of tiles that are walked together so that their B stays in L2. */
  readonly raster: number;
}

export interface WgmmaShape {
  readonly config: Sm90aWgmmaGemmConfig;
  readonly threads: number;
  /** Rows of a warpgroup's part of a tile, in products of 64. */
  readonly tall: number;
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
  /** Where each warp stages accumulators, so many columns at a time: words of a row, bytes of a warp. */
  readonly stagingOffset: number;
  readonly staged: number;
  readonly stagedStride: number;
  readonly stagedGap: number;
  readonly stagedBytes: number;
  readonly sharedBytes: number;
}

/** Warpgroups that multiply; one more fills the stages. */
export const groups = 2;

/** Registers of a thread that multiplies and of one that fills: 64 K for a block's 384 in all. */
export const registers = { multiply: 232, fill: 40 } as const;

/** Rows of accumulators that a warp holds of each product. */
export const warpRows = 16;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** `statistics`: how many values each row has. */
export function wgmmaShape(config: Sm90aWgmmaGemmConfig, statistics: number): WgmmaShape {
  const { bm, bn, turns, stages } = config;
  const tall = (bm * turns) / groups / groupRows;
  const statsBytes = statistics * warpRows * 4;
  const stageBytes = (bm + bn) * rowBytes;
  const barriersOffset = stages * stageBytes;
  const turnsOffset = barriersOffset + stages * 2 * barrierBytes;
  const statsOffset = roundUp(turnsOffset + turns * barrierBytes, 128);
  const stagingOffset = statsOffset + roundUp(groups * 4 * tall * statsBytes, 128);
  const staged = bn % 64 === 0 ? 64 : 32;
  const stride = stagedStride(staged);
  const stagedBytes = warpRows * stride * 4;
  return {
    config,
    threads: (groups + 1) * groupThreads,
    tall,
    a: tileLayout(bm, rowElements / 8),
    b: tileLayout(bn, rowElements / 8),
    bOffset: bm * rowBytes,
    stageBytes,
    barriersOffset,
    turnsOffset,
    statsOffset,
    statsBytes,
    stagingOffset,
    staged,
    stagedStride: stride,
    // What the stride leaves free.
    stagedGap: staged === 64 ? 4 : 0,
    stagedBytes,
    sharedBytes: stagingOffset + groups * 4 * stagedBytes,
  };
}
