/** Configurations of the f32 gemm: its tile, its shared memory and the holes of its template. */
import type { GemmDesc } from "../../kernel/desc.js";
import { packedOffset, type PackedLayout } from "../../kernel/packing.js";
import { add, ceilDiv, coord, int, load, mul, zero } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { statisticsBytes } from "./row-statistics.js";
import { tileLanes } from "./stage.js";
import { widestLanes } from "./widest.js";

export interface SimtGemmConfig {
  /** Tile of a block. */
  readonly bm: number;
  readonly bn: number;
  /** k that one group of threads multiplies per step. */
  readonly bk: number;
  /** Tile of a thread; `tn` is a multiple of 4. */
  readonly tm: number;
  readonly tn: number;
  /** Groups of threads that share the tile and split k. */
  readonly groups: number;
  /** Buffers in shared memory. */
  readonly stages: number;
}

/** Holes of `gemm/sm80-simt.ptx.hbs` besides the kernel's header. */
export type SimtGemmView = {
  readonly index: string[];
  readonly normalised: boolean;
  readonly statistics: string[];
  readonly setup: string[];
  readonly started: string;
  readonly step: string;
  readonly pending: number;
  readonly stage: string[];
  readonly compute: string[];
  readonly store: string[];
  readonly more: string;
  readonly steps: string;
  readonly split: boolean;
  readonly give: string[];
  readonly other: string;
  readonly take: string[];
  readonly epilogue: string[];
};

export const groupThreads = (config: SimtGemmConfig): number =>
  (config.bm / config.tm) * (config.bn / config.tn);
export const gemmThreads = (config: SimtGemmConfig): number => groupThreads(config) * config.groups;

/** Physical columns of B. */
export const physicalColumns = (desc: GemmDesc): Expr => mul(desc.nExtent, int(desc.group));

export interface GemmShape {
  /** k of a step, all groups together. */
  readonly depth: number;
  readonly strideA: number;
  readonly strideB: number;
  readonly bytesA: number;
  readonly slot: number;
  readonly statistics: number;
  readonly total: number;
}

export function gemmShape(desc: GemmDesc, config: SimtGemmConfig, lanesB: number): GemmShape {
  const { bm, bn, bk, tm, tn, groups, stages } = config;
  const depth = bk * groups;
  // Rows of A four words further apart than a power of two: neighbouring rows lie in other banks.
  const strideA = depth + 4;
  const strideB = lanesB === 4 ? bn : bn + 4;
  const bytesA = bm * strideA * 4;
  const slot = bytesA + depth * strideB * 4;
  const merge = (groups - 1) * groupThreads(config) * tm * tn * 4;
  const statistics = Math.max(slot * stages, merge);
  return {
    depth,
    strideA,
    strideB,
    bytesA,
    slot,
    statistics,
    total: statistics + statisticsBytes(desc.stages, bm),
  };
}

/** Element of B over k and a column coordinate, and the columns that exist. */
export function elementOfB(
  desc: GemmDesc,
  layout: PackedLayout,
): { value: Expr; column: Expr; extent: Expr } {
  if (desc.b.kind === "strided")
    return { value: desc.b.value, column: desc.n, extent: desc.nExtent };
  const extent = mul(ceilDiv(physicalColumns(desc), int(layout.columns)), int(layout.columns));
  const column = coord("packed column", extent);
  const { first = zero } = desc.b;
  return {
    value: load(
      desc.b.operand,
      add(first, packedOffset(layout, desc.k, column, desc.kExtent)),
      "f32",
    ),
    column,
    extent,
  };
}

/** Elements per access of B's tile along the columns. */
export function lanesOfB(desc: GemmDesc, config: SimtGemmConfig): number {
  if (desc.b.kind === "packed") return 4;
  const widest = widestLanes(desc.operands, [desc.b.value], [], desc.n, desc.nExtent);
  return tileLanes(desc.b.value, desc.n, widest, config.bn);
}
