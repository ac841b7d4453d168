/** Which tile a block has, which part of it a warp has: registers that every part of the kernel uses. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import { bug } from "../../compiler/errors.js";
import type { Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope } from "../../compiler/codegen/ptx/expr.js";
import {
  bindBox,
  blocksOf,
  endWithoutRows,
  extentValue,
} from "../../compiler/codegen/ptx/geometry.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";
import type { Block } from "../../compiler/codegen/ptx/builder.js";
import { integer, isHalf, type HalfType } from "../../compiler/codegen/ptx/mma.js";
import type { GemmShape } from "./sm80-mma-shape.js";

export interface GemmBlock {
  readonly desc: GemmDesc;
  readonly shape: GemmShape;
  readonly dtype: HalfType;
  readonly kernel: PtxKernel;
  readonly root: Scope;
  /** Binds the batch coordinates. */
  readonly tile: Scope;
  readonly setup: Block;
  /** What depends on rows of A, after their statistics. */
  readonly rows: Block;
  readonly thread: Value;
  readonly lane: Value;
  readonly warp: Value;
  /** This warp's part: along rows, columns and depth; null where there is one. */
  readonly warpM: Value | null;
  readonly warpN: Value | null;
  readonly warpK: Value | null;
  /** First row and first physical column of the tile. */
  readonly m0: Value;
  readonly n0: Value;
  /** Address of dynamic shared memory. */
  readonly shared: Value;
}

export function openBlock(desc: GemmDesc, shape: GemmShape, target: Target): GemmBlock {
  const { dtype } = desc;
  if (!isHalf(dtype)) throw bug(`mma.sync multiplies no ${dtype}`);
  const kernel = new PtxKernel(desc.operands, target);
  const setup = kernel.section();
  const rows = kernel.section();
  const root = Scope.root(kernel);
  const tile = root.child({ block: setup });
  const { b } = kernel;
  const { warpsM, warpsN, warpsK } = shape.config;
  return b.into(setup, () => {
    const thread = kernel.special("%tid.x");
    const warp = integer(b, "shr", thread, 5);
    const along = (count: number, below: number): Value | null =>
      count === 1 ? null : integer(b, "mod", integer(b, "div", warp, below), count);
    const [m0, n0] = tileOrigin(root, desc, shape);
    bindBox(
      tile,
      kernel.special("%ctaid.z"),
      desc.batch.map((coord, i) => ({ coord, extent: desc.batchExtents[i]! })),
    );
    if (desc.rows !== undefined) endWithoutRows(tile, m0, desc.rows);
    return {
      desc,
      shape,
      dtype,
      kernel,
      root,
      tile,
      setup,
      thread,
      warp,
      rows,
      lane: integer(b, "and", thread, 31),
      warpM: along(warpsM, 1),
      warpN: along(warpsN, warpsM),
      warpK: along(warpsK, warpsM * warpsN),
      m0,
      n0,
      shared: b.op("mov.u32", "s32", sharedSymbol),
    };
  });
}

/** Groups of `raster` rows of tiles are walked column by column; without it the grid is the tiles. */
function tileOrigin(root: Scope, desc: GemmDesc, shape: GemmShape): readonly [Value, Value] {
  const { b, kernel } = root;
  const { bm, bn, raster } = shape.config;
  const x = kernel.special("%ctaid.x");
  if (raster === 0) {
    const y = kernel.special("%ctaid.y");
    return [integer(b, "mul", x, bm), integer(b, "mul", y, bn)];
  }
  const rows = b.inRegister(extentValue(root, blocksOf(desc.mExtent, bm), "s32"));
  const columns = b.inRegister(extentValue(root, blocksOf(shape.columns, bn), "s32"));
  const width = integer(b, "mul", columns, raster);
  const group = b.op("div.u32", "s32", x, width);
  const inside = integer(b, "sub", x, integer(b, "mul", group, width));
  const first = integer(b, "mul", group, raster);
  const height = integer(b, "min", integer(b, "sub", rows, first), raster);
  const column = b.op("div.u32", "s32", inside, height);
  const row = integer(b, "add", first, b.op("rem.u32", "s32", inside, height));
  return [integer(b, "mul", row, bm), integer(b, "mul", column, bn)];
}

/** `part * size`, null where there is one part. */
export function scaled(block: GemmBlock, part: Value | null, size: number): Value | null {
  return part === null ? null : integer(block.kernel.b, "mul", part, size);
}
