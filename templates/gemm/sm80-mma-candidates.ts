/** Legal configurations of the sm_80 tensor-core gemm, best first by a model of its time. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import { dtypes } from "../../compiler/ir/dtype.js";
import { rangeOf } from "../../compiler/codegen/expressions.js";
import { fits32 } from "../../compiler/codegen/ptx/expr.js";
import { isHalf } from "../../compiler/codegen/ptx/mma.js";
import {
  gemmShape,
  gemmSources,
  type GemmShape,
  type GemmSources,
  type Sm80MmaGemmConfig,
} from "./sm80-mma-shape.js";

/** How many configurations the tuner may try. */
const kept = 32;
const maxAccumulators = 128;

/** Cycles and bytes per cycle of one multiprocessor, fitted to an H200: see docs/performance.md. */
const machine = {
  multiprocessors: 132,
  /** Multiply-adds of 16-bit `mma.sync`. */
  products: 1000,
  shared: 128,
  dram: 17.5,
  l2: 38,
  /** Of one tile that is waited for. */
  arriving: 80,
  /** From a request to its data: in L2, and in DRAM under load. */
  latency: 270,
  dramLatency: 3000,
  sharedBytes: 164 * 1024,
  registers: 65536,
} as const;

/** Whether no tensor core multiplies this: its types, its packing, or extents beyond 32 bits. */
export function unsupported(desc: GemmDesc, target: Target, sources: GemmSources): boolean {
  if (!isHalf(desc.dtype) || target.language !== "ptx") return true;
  const packing = target.packing(desc.dtype);
  const rows =
    packing.columns === 1 &&
    packing.rows === 8 &&
    packing.columnMajor &&
    packing.dtype === desc.dtype;
  if (desc.b.kind === "packed" && !rows) return true;
  if (desc.b.kind === "strided" && desc.group !== 1) return true;
  if (desc.stages.some((stage) => stage.body.type !== "f32")) return true;
  return ![desc.mExtent, sources.columns, desc.kExtent].every(fits32);
}

const powers = (from: number, to: number): number[] => {
  const list: number[] = [];
  for (let value = from; value <= to; value *= 2) list.push(value);
  return list;
};

interface Warps {
  readonly warpsM: number;
  readonly warpsN: number;
  readonly warpsK: number;
}

/** Ways to cut a tile among four or eight warps (two where a tile is tiny). */
function warpLayouts(bm: number, bn: number, bk: number, rowsOfB: boolean): Warps[] {
  const layouts: Warps[] = [];
  for (const warpsM of powers(1, Math.min(4, bm / 16)))
    for (const warpsN of powers(1, Math.min(8, bn / 8)))
      for (const warpsK of powers(1, bm >= 64 ? 1 : Math.min(8, bk / 16))) {
        const warps = warpsM * warpsN * warpsK;
        const [rows, columns, steps] = [bm / warpsM, bn / warpsN, bk / 16 / warpsK];
        const narrow = columns < 16 && (rowsOfB || steps % 2 !== 0);
        const large = (rows / 16) * (columns / 8) * 4 > maxAccumulators;
        if (warps >= 4 && warps <= 8 && rows <= 64 && columns <= 64 && !narrow && !large)
          layouts.push({ warpsM, warpsN, warpsK });
      }
  return layouts;
}

function* configurations(
  rows: number,
  columns: number,
  rowsOfB: boolean,
): Generator<Sm80MmaGemmConfig> {
  const enough = (extent: number, smallest: number): number =>
    Math.max(smallest, 2 ** Math.ceil(Math.log2(extent)));
  for (const bm of powers(16, Math.min(128, enough(rows, 16))))
    for (const bn of powers(rowsOfB ? 16 : 8, Math.min(256, enough(columns, 16)))) {
      if (bm * bn > 128 * 256 || (bm >= 64 && bn < 32)) continue;
      for (const bk of bm >= 64 ? [32, 64] : [64, 128])
        for (const warps of warpLayouts(bm, bn, bk, rowsOfB))
          for (const stages of bm >= 64 ? [2, 3, 4] : [3, 4, 6, 8]) {
            const raster = rows > 8 * bm ? 8 : 0;
            yield { bm, bn, bk, stages, ...warps, raster };
          }
    }
}

interface Sizes {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly batch: number;
  readonly stages: number;
  readonly multiprocessors: number;
}

/** Registers of a thread: accumulators, fragments (twice, where read ahead), computed chunks and the rest. */
function registersOf(shape: GemmShape): number {
  const [tall, wide] = [shape.warpRows / 16, shape.warpColumns / 8];
  const ahead = shape.steps % 2 === 0 && wide > 1 ? 2 : 1;
  const computed = [shape.a, shape.b]
    .filter(({ copy }) => copy === null)
    .reduce(
      (sum, { layout }) => sum + 24 + Math.ceil((layout.rows * layout.chunks) / shape.threads) * 6,
      0,
    );
  return tall * wide * 4 + ahead * (tall * 4 + wide * 2) + computed + 48;
}

/** Blocks of a multiprocessor that shared memory and registers allow. */
export function residentBlocks(shape: GemmShape): number {
  const byShared = Math.floor(machine.sharedBytes / (shape.sharedBytes + 1024));
  const byRegisters = Math.floor(machine.registers / (shape.threads * registersOf(shape)));
  return Math.max(1, Math.min(byShared, byRegisters));
}

/** Estimated cycles: the slowest of tensor cores, shared memory, L2, DRAM and latency. */
export function estimate(shape: GemmShape, sizes: Sizes): number {
  const { bm, bn, bk, stages, warpsM, warpsN, warpsK } = shape.config;
  const { rows, columns, depth, batch, multiprocessors } = sizes;
  const [tall, wide] = [Math.ceil(rows / bm), Math.ceil(columns / bn)];
  const blocks = tall * wide * batch;
  const tiles = Math.ceil(depth / bk);
  const used = Math.min(blocks, multiprocessors);
  const rounds = Math.ceil(blocks / multiprocessors);
  const resident = Math.min(residentBlocks(shape), rounds);
  const tensor = (bm * bn * bk) / machine.products;
  const fragments = warpsM * warpsN * (shape.warpRows + shape.warpColumns) * bk * 2;
  const shared = (fragments + (bm + bn) * bk * 2) / machine.shared;
  const valid = Math.min(bm, rows);
  const body = shape.a.copy === null ? 1.65 : 1;
  // Barriers and first fragments show where few warps share a multiprocessor.
  const bubble = (165 + 30 * (shape.steps % 2)) / Math.min(2, resident);
  // What was asked for must be there when the tile before it has been multiplied.
  const arrival = machine.latency + ((valid + bn) * bk * 2) / machine.arriving;
  const stall = Math.max(0, arrival - (stages - 1.7) * tensor * resident) / resident;
  // A block that is alone on its multiprocessor has nothing beside its own waits.
  const product = Math.max(tensor, shared) * (resident === 1 ? 1.09 : 1);
  const computing = rounds * tiles * (product * body + bubble + stall);
  const traffic = (batch * (wide * rows + tall * columns) * depth * 2) / used;
  const flight = resident * (stages - 1) * (valid + bn) * bk * 2;
  const dram =
    (batch * (columns * depth + rows * depth + rows * columns) * 2) /
    Math.min(used * 1.5, multiprocessors);
  const moving = Math.max(
    traffic / Math.min(machine.l2, flight / machine.latency),
    dram / Math.min(machine.dram, flight / machine.dramLatency),
  );
  const statistics =
    (sizes.stages *
      Math.ceil((valid * 32) / shape.threads) *
      Math.ceil(depth / 2048) *
      900 *
      rounds) /
    resident;
  const storing = ((rounds * bm * bn * 8 * warpsK) / machine.shared) * 3 + 600;
  const starting = machine.latency + 250 * stages;
  return Math.max(computing, moving) + statistics + storing + starting;
}

const memo = new Map<string, readonly Sm80MmaGemmConfig[]>();

export function gemmCandidates(desc: GemmDesc, target: Target): readonly Sm80MmaGemmConfig[] {
  const sources = gemmSources(desc);
  if (unsupported(desc, target, sources)) return [];
  const sizes: Sizes = {
    rows: rangeOf(desc.mExtent).max,
    columns: rangeOf(sources.columns).max,
    depth: rangeOf(desc.kExtent).max,
    batch: desc.batchExtents.reduce((product, extent) => product * rangeOf(extent).max, 1),
    stages: desc.stages.length,
    multiprocessors: machine.multiprocessors,
  };
  const limit = target.sharedBytes ?? 48 * 1024;
  const key = JSON.stringify([
    sizes,
    limit,
    sources.rowsOfB,
    sources.a.copy === null,
    dtypes[desc.dtype].bits,
    desc.group,
  ]);
  const known = memo.get(key);
  if (known !== undefined) return known;
  const scored: { config: Sm80MmaGemmConfig; cycles: number }[] = [];
  for (const config of configurations(sizes.rows, sizes.columns, sources.rowsOfB)) {
    const shape = gemmShape(desc, config, sources);
    if (shape.sharedBytes > limit || registersOf(shape) > 248 || config.bn % desc.group !== 0)
      continue;
    scored.push({ config, cycles: estimate(shape, sizes) });
  }
  const best = scored
    .sort((x, y) => x.cycles - y.cycles)
    .slice(0, kept)
    .map(({ config }) => config);
  memo.set(key, best);
  return best;
}
