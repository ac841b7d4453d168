/** Configurations of the f32 attention: its tiles, its shared memory, the holes of its template. */
import type { AttentionDesc } from "../../kernel/desc.js";
import { constValue, mul } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import type { Value } from "./builder.js";
import type { Scope } from "./expr.js";

export interface SimtAttentionConfig {
  /** Rows (queries of all heads of a key head) of a warp. */
  readonly rows: number;
  /** Warps with other rows, and warps with other keys of the same rows. */
  readonly warpRows: number;
  readonly warpKeys: number;
  /** Buffers for tiles of keys and values: 1 or 2. */
  readonly stages: number;
}

/** Holes of `attention/sm80-simt.ptx.hbs` besides the kernel's header. */
export type SimtAttentionView = {
  readonly index: string[];
  readonly queries: string[];
  readonly setup: string[];
  readonly ahead: boolean;
  readonly started: string;
  readonly step: string;
  readonly stage: string[];
  readonly compute: string[];
  readonly store: string[];
  readonly advance: string[];
  readonly more: string;
  readonly steps: string;
  readonly total: string[];
  readonly split: boolean;
  readonly give: string[];
  readonly other: string;
  readonly take: string[];
  readonly finish: string[];
};

export interface AttentionShape {
  readonly blockRows: number;
  readonly tileKeys: number;
  readonly threads: number;
  /** Depths padded to whole vectors. */
  readonly depth: number;
  readonly strideK: number;
  readonly strideV: number;
  readonly slot: number;
  /** Value columns of a lane: `groups` runs of `run` neighbours. */
  readonly run: number;
  readonly groups: number;
  readonly weights: number;
  readonly slots: number;
  readonly total: number;
}

export function attentionShape(desc: AttentionDesc, config: SimtAttentionConfig): AttentionShape {
  const { rows, warpRows, warpKeys, stages } = config;
  const depth = Math.ceil(constValue(desc.extents.d)! / 4) * 4;
  const columns = constValue(desc.extents.e)!;
  const cover = (run: number): number => Math.ceil(columns / (32 * run)) * run;
  const run = [4, 2, 1].reduce((best, each) => (cover(each) < cover(best) ? each : best));
  const groups = cover(run) / run;
  const tileKeys = 32 * warpKeys;
  const blockRows = rows * warpRows;
  const warps = warpRows * warpKeys;
  // An odd number of 16-byte words: lanes that read one column of 8 rows meet 8 banks.
  const strideK = 4 * ((depth / 4) | 1);
  const strideV = Math.max(Math.ceil(columns / 4) * 4, groups * run * 32);
  const slot = tileKeys * (strideK + strideV) * 4;
  const weights = blockRows * depth * 4;
  const slots = weights + warps * 32 * rows * 4;
  const merge = (warpKeys - 1) * warpRows * rows * (groups * run * 32 + 2) * 4;
  const total = slots + Math.max(slot * stages, merge);
  return {
    blockRows,
    tileKeys,
    threads: 32 * warps,
    depth,
    strideK,
    strideV,
    slot,
    run,
    groups,
    weights,
    slots,
    total,
  };
}

/** Queries of all heads of a key head: the rows that share its keys. */
export const attentionRows = (desc: AttentionDesc): Expr => mul(desc.extents.q, desc.extents.r);

export interface AttentionRow {
  readonly scope: Scope;
  readonly inside: Value;
  /** Running maximum, this lane's part of the sum, and the weighed values. */
  readonly max: Value;
  readonly sum: Value;
  readonly acc: Value[];
}

export interface AttentionPlace {
  readonly lane: Value;
  /** Which rows and which keys the warp has. */
  readonly row: Value;
  readonly key: Value;
  /** First row of the block. */
  readonly first: Value;
  /** Shared addresses: queries, this warp's weights, tiles of keys and values. */
  readonly shared: Value;
  readonly weights: Value;
  readonly slots: Value;
}
