/** What a tile of keys does to a warp's rows: scores, online softmax, weighed values, merging. */
import { combineAll, warpReduce } from "./reduction.js";
import { immediate, vector, type Block, type PtxBuilder, type Value } from "./builder.js";
import { binaryInstruction, ptx, unaryInstruction } from "./instructions.js";
import type { PtxKernel } from "./kernel.js";
import type { AttentionPlace, AttentionRow, AttentionShape } from "./simt-attention-shape.js";

const log2e = immediate(Math.fround(Math.LOG2E), "f32");
export const minusInfinity = immediate(-Infinity, "f32");

/** This lane's key times the rows of the warp. */
export function scoreDots(
  b: PtxBuilder,
  shape: AttentionShape,
  place: AttentionPlace,
  read: Value,
  local: Value,
  count: number,
): Value[] {
  const { depth, strideK } = shape;
  const fromK = b.op("mad.lo.s32", "s32", local, strideK * 4, read);
  const fromQ = b.op("mad.lo.s32", "s32", place.row, count * depth * 4, place.shared);
  // Few rows: several chains hide the latency of one.
  const chains = count < 4 ? 4 : 1;
  const sums = Array.from({ length: count }, () =>
    Array.from({ length: chains }, () => b.op(ptx.move("f32"), "f32", "0f00000000")),
  );
  const part = (from: number, to: number): void => {
    for (let d = from; d < to; d += 4) {
      const key = loadShared(b, fromK, d * 4, 4);
      sums.forEach((chain, i) => {
        const query = loadShared(b, fromQ, (i * depth + d) * 4, 4);
        for (let q = 0; q < 4; q++)
          b.line(ptx.fma.f32!, chain[q % chains]!, query[q]!, key[q]!, chain[q % chains]!);
      });
    }
  };
  const unrolled = 32;
  b.repeat(Math.floor(depth / unrolled), () => {
    part(0, unrolled);
    b.line(binaryInstruction.add.s32!, fromK, fromK, unrolled * 4);
    b.line(binaryInstruction.add.s32!, fromQ, fromQ, unrolled * 4);
  });
  part(0, depth % unrolled);
  return sums.map((chain) => combineAll(b, "sum", chain));
}

/** Online softmax: new maximum, this lane's weight, and the factor for what was summed before. */
export function softmaxStep(
  b: PtxBuilder,
  row: AttentionRow,
  score: Value,
): { weight: Value; correction: Value } {
  const highest = b.op(binaryInstruction.max.f32!, "f32", row.max, warpReduce(b, "max", score));
  // While everything is masked the maximum is minus infinity, and weights must come out as zero.
  const none = b.op(ptx.setp("eq", "f32"), "pred", highest, minusInfinity);
  const base = b.op(ptx.select("f32"), "f32", "0f00000000", highest, none);
  const weight = power(b, score, base);
  const correction = power(b, row.max, base);
  b.line(ptx.fma.f32!, row.sum, row.sum, correction, weight);
  b.assign(row.max, highest);
  return { weight, correction };
}

/** e^(x - base), for x at most base. */
function power(b: PtxBuilder, x: Value, base: Value): Value {
  const difference = b.op(binaryInstruction.sub.f32!, "f32", x, base);
  const scaled = b.op(binaryInstruction.mul.f32!, "f32", difference, log2e);
  return b.op(unaryInstruction.exp2.f32!, "f32", scaled);
}

export function storeWeights(
  b: PtxBuilder,
  place: AttentionPlace,
  weights: readonly Value[],
): void {
  const width = Math.min(4, weights.length);
  const own = b.op("mad.lo.s32", "s32", place.lane, weights.length * 4, place.weights);
  for (let i = 0; i < weights.length; i += width)
    b.line(
      ptx.storeShared("f32", width),
      `[${own.text}+${i * 4}]`,
      vector(weights.slice(i, i + width)),
    );
  b.raw(ptx.warpBarrier);
}

export function weighValues(
  b: PtxBuilder,
  shape: AttentionShape,
  place: AttentionPlace,
  read: Value,
  rows: readonly AttentionRow[],
): void {
  const { run, groups, strideV, strideK, tileKeys } = shape;
  const column = b.op("mad.lo.s32", "s32", place.lane, run * 4, read);
  const fromV = b.op("mad.lo.s32", "s32", place.key, 32 * strideV * 4, column);
  const weights = b.op(ptx.move("s32"), "s32", place.weights);
  const width = Math.min(4, rows.length);
  const unrolled = 8;
  b.repeat(32 / unrolled, () => {
    for (let key = 0; key < unrolled; key++) {
      const each = Array.from({ length: rows.length / width }, (_, i) =>
        loadShared(b, weights, (key * rows.length + i * width) * 4, width),
      ).flat();
      const values = Array.from({ length: groups }, (_, i) =>
        loadShared(b, fromV, (tileKeys * strideK + key * strideV + i * 32 * run) * 4, run),
      ).flat();
      rows.forEach((row, i) =>
        row.acc.forEach((acc, j) => b.line(ptx.fma.f32!, acc, each[i]!, values[j]!, acc)),
      );
    }
    b.line(binaryInstruction.add.s32!, weights, weights, unrolled * rows.length * 4);
    b.line(binaryInstruction.add.s32!, fromV, fromV, unrolled * strideV * 4);
  });
}

/** Warps with other keys give what they have to the first, which merges in their order. */
export function mergeWarps(
  kernel: PtxKernel,
  shape: AttentionShape,
  warpKeys: number,
  place: AttentionPlace,
  rows: readonly AttentionRow[],
): { give: Block; take: Block; other: Value } {
  const [give, take] = [kernel.section(), kernel.section()];
  const { b } = kernel;
  const values = rows.length * shape.run * shape.groups * 32;
  const size = (values + 2 * rows.length) * 4;
  const part = (key: Value | number): { own: Value; common: Value } => {
    const slot = b.op("mad.lo.s32", "s32", place.row, warpKeys - 1, key);
    const common = b.op("mad.lo.s32", "s32", slot, size, place.slots);
    return { own: b.op("mad.lo.s32", "s32", place.lane, 4, common), common };
  };
  if (warpKeys === 1) return { give, take, other: b.reg("pred") };
  const other = b.into(give, () => {
    const isOther = b.op(ptx.setp("ne", "s32"), "pred", place.key, 0);
    const { own, common } = part(b.op(binaryInstruction.sub.s32!, "s32", place.key, 1));
    rows
      .flatMap((row) => row.acc)
      .forEach((acc, i) =>
        b.lineIf(isOther, ptx.storeShared("f32", 1), `[${own.text}+${i * 128}]`, acc),
      );
    // Every lane has the same: they all write it.
    rows
      .flatMap((row) => [row.max, row.sum])
      .forEach((value, i) =>
        b.lineIf(
          isOther,
          ptx.storeShared("f32", 1),
          `[${common.text}+${values * 4 + i * 4}]`,
          value,
        ),
      );
    return isOther;
  });
  b.into(take, () => {
    for (let from = 0; from < warpKeys - 1; from++) {
      const { own, common } = part(from);
      rows.forEach((row, i) =>
        mergeRow(b, row, own, i * row.acc.length * 128, common, values * 4 + i * 8),
      );
    }
  });
  return { give, take, other };
}

function mergeRow(
  b: PtxBuilder,
  row: AttentionRow,
  own: Value,
  valuesAt: number,
  common: Value,
  statisticsAt: number,
): void {
  const [max] = loadShared(b, common, statisticsAt, 1);
  const [sum] = loadShared(b, common, statisticsAt + 4, 1);
  const highest = b.op(binaryInstruction.max.f32!, "f32", row.max, max!);
  const none = b.op(ptx.setp("eq", "f32"), "pred", highest, minusInfinity);
  const base = b.op(ptx.select("f32"), "f32", "0f00000000", highest, none);
  const [mine, theirs] = [power(b, row.max, base), power(b, max!, base)];
  b.line(binaryInstruction.mul.f32!, row.sum, row.sum, mine);
  b.line(ptx.fma.f32!, row.sum, sum!, theirs, row.sum);
  row.acc.forEach((acc, j) => {
    const [value] = loadShared(b, own, valuesAt + j * 128, 1);
    b.line(binaryInstruction.mul.f32!, acc, acc, mine);
    b.line(ptx.fma.f32!, acc, value!, theirs, acc);
  });
  b.assign(row.max, highest);
}

function loadShared(b: PtxBuilder, base: Value, offset: number, width: number): Value[] {
  const registers = b.regs("f32", width);
  b.line(ptx.loadShared("f32", width), vector(registers), `[${base.text}+${offset}]`);
  return registers;
}
