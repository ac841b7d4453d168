/**
 * Products of a warpgroup on sm_90a, of tiles of 16-bit elements in shared memory: rows of 128 bytes
 * along k, their 16-byte chunks swizzled as `tileLayout` does for eight chunks.
 */
import { vector, type PtxBuilder, type Value } from "./builder.js";
import type { HalfType } from "./mma.js";

/** Threads of a warpgroup, and rows of one of its products. */
export const groupThreads = 128;
export const groupRows = 64;

/** Elements of a tile's row: 128 bytes, the widest swizzle. */
export const rowElements = 64;
export const rowBytes = 128;
/** Depth of one product. */
export const stepElements = 16;

export const wgmma = {
  /** D (64 × columns, f32) += A (64 × 16) · B (16 × columns), both described in shared memory. */
  multiply: (dtype: HalfType, columns: number) =>
    `wgmma.mma_async.sync.aligned.m64n${columns}k16.f32.${dtype}.${dtype}`,
  /** Registers written before are there for the products after. */
  fence: "wgmma.fence.sync.aligned;",
  commit: "wgmma.commit_group.sync.aligned;",
  wait: (groups: number) => `wgmma.wait_group.sync.aligned ${groups};`,
  /** What threads and their copies wrote is there for the products after. */
  proxyFence: "fence.proxy.async.shared::cta;",
  registers: (more: boolean, count: number) =>
    `setmaxnreg.${more ? "inc" : "dec"}.sync.aligned.u32 ${count};`,
} as const;

/** Bytes are counted in chunks of 16 in a matrix descriptor. */
export const descriptorUnit = 16;

/** The low word of a descriptor besides the address: the leading dimension, which this swizzle ignores. */
export const descriptorLow = 1 << 16;

/** The high word: eight rows of 128 bytes from one group of rows to the next; the 128-byte swizzle. */
export const descriptorHigh = ((8 * rowBytes) / descriptorUnit) | (1 << 30);

/** `accumulators` += a · b; registers in the order of their columns, as [columns / 8][4] of `mma.sync`. */
export function multiplyGroup(
  b: PtxBuilder,
  dtype: HalfType,
  accumulators: readonly Value[],
  x: Value,
  y: Value,
  add: Value,
): void {
  const columns = accumulators.length * 2;
  // Neither negated nor transposed.
  b.line(wgmma.multiply(dtype, columns), vector(accumulators), x, y, add, 1, 1, 0, 0);
}
