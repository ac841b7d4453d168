/** Configurations of the sm_80 tensor-core attention and the sizes that follow from them. */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import { bug } from "../../compiler/errors.js";
import { constValue, mul, rangeOf } from "../../compiler/codegen/expressions.js";
import { fits32 } from "../../compiler/codegen/ptx/expr.js";
import { isHalf } from "../../compiler/codegen/ptx/mma.js";
import { copySource, type CopySource } from "../../compiler/codegen/ptx/mma-copy.js";
import { fewBlocks, partsOf } from "./sm80-mma-parts.js";
import {
  stagedStride,
  tileBytes,
  tileLayout,
  type TileLayout,
} from "../../compiler/codegen/ptx/mma-layout.js";

export interface Sm80MmaAttentionConfig {
  /** 16-row tiles of a warp. */
  readonly tilesM: number;
  /** Warps along rows, and along the keys of a step. */
  readonly warpsM: number;
  readonly warpsK: number;
  /** Keys of a step of the block. */
  readonly bn: number;
  /** Steps in shared memory, one of which is being computed. */
  readonly stages: number;
  /** Query fragments stay in registers, or are read again at every step. */
  readonly keepQueries: boolean;
  /** Keys are divided among the blocks of the grid: see `sm80-mma-parts.ts`. */
  readonly split: boolean;
}

export interface AttentionShape {
  readonly config: Sm80MmaAttentionConfig;
  readonly threads: number;
  /** Rows of a block: a row is a query of one of the heads that share a key head, heads fastest. */
  readonly bm: number;
  /** Keys of a warp in each step. */
  readonly warpKeys: number;
  readonly depth: number;
  readonly width: number;
  readonly queries: TileLayout;
  readonly keys: TileLayout;
  readonly values: TileLayout;
  readonly keysOffset: number;
  readonly valuesOffset: number;
  readonly stageBytes: number;
  readonly stagedStride: number;
  /** Maxima and sums of the warps that share rows, or of the parts. */
  readonly mergeOffset: number;
  /** What the last part to arrive is told by. */
  readonly flagOffset: number;
  readonly sharedBytes: number;
}

export interface AttentionSources {
  readonly queries: CopySource | null;
  readonly keys: CopySource | null;
  readonly values: CopySource | null;
}

export const attentionSources = (desc: AttentionDesc): AttentionSources => ({
  queries: copySource(desc.queries, desc.d, desc.dtype),
  keys: copySource(desc.keys, desc.d, desc.dtype),
  values: copySource(desc.values, desc.e, desc.dtype),
});

function literal(extent: AttentionDesc["extents"]["d"]): number {
  const value = constValue(extent);
  if (value === null) throw bug("attention's depths are literals");
  return value;
}

/** Chunks of a row padded to whole k16 steps. */
const chunksOf = (elements: number): number => 2 * Math.ceil(elements / 16);

export function attentionShape(
  desc: AttentionDesc,
  config: Sm80MmaAttentionConfig,
): AttentionShape {
  const { tilesM, warpsM, warpsK, bn, stages, split } = config;
  const [depth, width] = [literal(desc.extents.d), literal(desc.extents.e)];
  const bm = 16 * tilesM * warpsM;
  const queries = tileLayout(bm, chunksOf(depth));
  const keys = tileLayout(bn, chunksOf(depth));
  const values = tileLayout(bn, chunksOf(width));
  const keysOffset = tileBytes(queries);
  const stageBytes = tileBytes(keys) + tileBytes(values);
  const stride = stagedStride(chunksOf(width) * 8);
  const mergeOffset = Math.max(
    keysOffset + stages * stageBytes,
    Math.ceil((warpsK * bm * stride * 4) / 128) * 128,
  );
  const flagOffset = mergeOffset + (warpsK > 1 || split ? warpsK * bm * 8 : 0);
  return {
    config,
    threads: warpsM * warpsK * 32,
    bm,
    warpKeys: bn / warpsK,
    depth,
    width,
    queries,
    keys,
    values,
    keysOffset,
    valuesOffset: tileBytes(keys),
    stageBytes,
    stagedStride: stride,
    mergeOffset,
    flagOffset,
    sharedBytes: flagOffset + (split ? 16 : 0),
  };
}

/** A lane holds its part of its rows' values; the depth is bounded by shared memory alone. */
const mostValues = 256;
/** Keys beyond it leave room for short steps only. */
const deep = 256;

function unsupported(desc: AttentionDesc, target: Target): boolean {
  const { extents } = desc;
  if (!isHalf(desc.dtype) || target.language !== "ptx") return true;
  const [depth, width] = [constValue(extents.d), constValue(extents.e)];
  if (depth === null || width === null || depth % 8 !== 0 || width % 8 !== 0) return true;
  if (width > mostValues || desc.score.type !== "f32") return true;
  return ![mul(extents.q, extents.r), extents.b, extents.g].every(fits32);
}

export function registersOf(shape: AttentionShape): number {
  const { tilesM, keepQueries } = shape.config;
  const output = Math.ceil(shape.width / 16) * 8;
  const scores = (shape.warpKeys / 8) * 4;
  const queries = Math.ceil(shape.depth / 16) * 4;
  return tilesM * (output + scores + (keepQueries ? queries : 4) + 8) + 56;
}

const sharedOfMultiprocessor = 164 * 1024;
/** An H200's: the text runs on any GPU, and is chosen for this one. */
const multiprocessors = 132;

export function residentBlocks(shape: AttentionShape): number {
  const byShared = Math.floor(sharedOfMultiprocessor / (shape.sharedBytes + 1024));
  const byRegisters = Math.floor(65536 / (shape.threads * registersOf(shape)));
  return Math.max(1, Math.min(byShared, byRegisters));
}

function* configurations(
  depth: number,
  rows: number,
  few: boolean,
): Generator<Sm80MmaAttentionConfig> {
  for (const [tilesM, warpsM, warpsK] of [
    [1, 1, 2],
    [1, 1, 4],
    [1, 1, 8],
    ...(depth > deep ? ([[1, 2, 1]] as const) : []),
    [1, 2, 2],
    [1, 2, 4],
    [1, 4, 1],
    [1, 4, 2],
    [1, 8, 1],
    [2, 4, 1],
  ] as const)
    for (const bn of [...(depth > deep ? [16] : []), 32, 64, 128])
      for (const stages of [2, 3, 4, 5])
        for (const keepQueries of [true, false])
          if ((bn / warpsK) % 16 === 0) {
            const split = few && rows <= 16 * tilesM * warpsM;
            yield { tilesM, warpsM, warpsK, bn, stages, keepQueries, split };
          }
}

/** Cycles from a request to its data, where all multiprocessors ask at once. */
const requested = 1500;

/** Estimated cycles of the slowest multiprocessor. */
function estimate(desc: AttentionDesc, shape: AttentionShape): number {
  const { extents } = desc;
  const size = (extent: AttentionDesc["extents"]["b"], cap: number): number =>
    Math.min(cap, rangeOf(extent).max);
  const rows = size(mul(extents.q, extents.r), 2 ** 20);
  const heads = size(mul(extents.b, extents.g), 2 ** 20);
  const { bm, threads, config } = shape;
  const parts = config.split ? rangeOf(partsOf(desc)).max : 1;
  const keys = Math.max(64, Math.ceil(size(extents.k, 32768) / parts));
  const blocks = Math.ceil(rows / bm) * Math.max(heads, config.split ? 2 * multiprocessors : 0);
  const rounds = Math.ceil(blocks / multiprocessors);
  const resident = Math.min(residentBlocks(shape), rounds);
  const steps = Math.ceil(keys / config.bn);
  const depth = shape.depth + shape.width;
  const tensor = (bm * config.bn * depth) / 1024;
  const warps = threads / 32;
  const read =
    (config.warpsM * config.bn * depth + (config.keepQueries ? 0 : bm * shape.depth)) * 2;
  const shared = (read + config.bn * depth * 2) / 128;
  const exponentials = (bm * config.bn) / 16;
  const busy = resident * warps;
  // A warp waits for itself between products and softmax: other warps fill in.
  const bubble = 500 / Math.max(1, Math.min(4, busy / 4));
  const computing = rounds * steps * (Math.max(tensor, shared) + exponentials * 0.6 + bubble);
  const flight = resident * (config.stages - 1) * shape.stageBytes;
  const moving = (rounds * steps * config.bn * depth * 2) / Math.min(20, flight / 1000);
  const ending = (bm * shape.width * 8 * config.warpsK) / 128 + 1500;
  if (!config.split) return Math.max(computing, moving) + rounds * ending;
  // A part is short: what is asked for is waited for and multiplied, in turn.
  const waits = Math.ceil(rounds / resident) * Math.ceil(steps / (config.stages - 1));
  return computing + moving + (waits * requested) / resident + rounds * ending;
}

export function attentionCandidates(
  desc: AttentionDesc,
  target: Target,
): readonly Sm80MmaAttentionConfig[] {
  if (unsupported(desc, target)) return [];
  const limit = target.sharedBytes ?? 48 * 1024;
  const scored: { config: Sm80MmaAttentionConfig; cycles: number }[] = [];
  const rows = rangeOf(mul(desc.extents.q, desc.extents.r)).max;
  const few = target.blocksMeet === true && fewBlocks(desc);
  for (const config of configurations(constValue(desc.extents.d)!, rows, few)) {
    const shape = attentionShape(desc, config);
    if (
      shape.sharedBytes > limit ||
      registersOf(shape) > 250 ||
      registersOf(shape) * shape.threads > 65536
    )
      continue;
    scored.push({ config, cycles: estimate(desc, shape) });
  }
  return scored
    .sort((x, y) => x.cycles - y.cycles)
    .slice(0, 24)
    .map(({ config }) => config);
}
