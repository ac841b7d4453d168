/** What both roles of a block share, and the tiles that it walks: registers that every part uses. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import { bug } from "../../compiler/errors.js";
import { add, div, int } from "../../compiler/codegen/expressions.js";
import { address, type Block, type Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope } from "../../compiler/codegen/ptx/expr.js";
import { bindBox, blocksOf, extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";
import {
  barrierBytes,
  initialise,
  mbarrier,
  type RingLayout,
} from "../../compiler/codegen/ptx/mbarrier.js";
import { increase, integer, isHalf, type HalfType } from "../../compiler/codegen/ptx/mma.js";
import { groupThreads, rowElements } from "../../compiler/codegen/ptx/wgmma.js";
import type { GemmSources } from "./sm80-mma-shape.js";
import { groups, type WgmmaShape } from "./sm90a-wgmma-shape.js";

export interface WgmmaBlock {
  readonly desc: GemmDesc;
  readonly sources: GemmSources;
  readonly shape: WgmmaShape;
  readonly dtype: HalfType;
  readonly kernel: PtxKernel;
  readonly root: Scope;
  /** Binds the batch coordinates. */
  readonly batch: Scope;
  readonly setup: Block;
  readonly thread: Value;
  /** Which warpgroup: the last fills the stages. */
  readonly group: Value;
  readonly fills: Value;
  /** Address of dynamic shared memory. */
  readonly shared: Value;
  readonly ring: RingLayout;
  /** Tiles along rows and columns, and all of them. */
  readonly tilesM: Value;
  readonly tilesN: Value;
  readonly tiles: Value;
}

export function openBlock(
  desc: GemmDesc,
  sources: GemmSources,
  shape: WgmmaShape,
  target: Target,
): WgmmaBlock {
  const { dtype } = desc;
  if (!isHalf(dtype)) throw bug(`wgmma multiplies no ${dtype} here`);
  const kernel = new PtxKernel(desc.operands, target);
  const setup = kernel.section();
  const root = Scope.root(kernel);
  const batch = root.child({ block: setup });
  const { b } = kernel;
  const { bm, bn, stages, turns } = shape.config;
  return b.into(setup, () => {
    const thread = kernel.special("%tid.x");
    const own = integer(b, "div", thread, groupThreads);
    // Read from one lane: ptxas then knows that it is the same in all of a warp.
    const group = b.op(ptx.shuffleIndex, "s32", own, 0, "0x1f", "0xffffffff");
    const shared = b.op("mov.u32", "s32", sharedSymbol);
    const ring: RingLayout = {
      stages,
      stageBytes: shape.stageBytes,
      base: shared,
      barriers: integer(b, "add", shared, shape.barriersOffset),
    };
    const leader = b.op(ptx.setp("eq", "s32"), "pred", thread, 0);
    // A lane of each warp that shares a tile arrives.
    const empty = (groups / turns) * 4;
    initialise(b, ring, { full: groupThreads, empty }, leader);
    for (let turn = 0; turn < turns && turns > 1; turn++) {
      const place = address(shared, shape.turnsOffset + turn * barrierBytes);
      b.lineIf(leader, mbarrier.init, place, empty);
    }
    bindBox(
      batch,
      kernel.special("%ctaid.z"),
      desc.batch.map((coord, i) => ({ coord, extent: desc.batchExtents[i]! })),
    );
    const rows =
      desc.rows === undefined
        ? extentValue(root, blocksOf(desc.mExtent, bm), "s32")
        : batch.index(div(add(desc.rows, int(bm - 1)), int(bm)));
    const tilesM = b.inRegister(rows);
    const tilesN = b.inRegister(extentValue(root, blocksOf(sources.columns, bn), "s32"));
    return {
      desc,
      sources,
      shape,
      dtype,
      kernel,
      root,
      batch,
      setup,
      thread,
      group,
      fills: b.op(ptx.setp("eq", "s32"), "pred", group, groups),
      shared,
      ring,
      tilesM,
      tilesN,
      tiles: integer(b, "mul", tilesM, tilesN),
    };
  });
}

/** Where a tile begins. */
export interface Origin {
  /** First row and first physical column. */
  readonly m0: Value;
  readonly n0: Value;
}

/** Tiles of a block, each `grid` after the one before: who fills walks all, who multiplies its turns. */
export class TileWalk {
  readonly #block: WgmmaBlock;
  readonly #index: Value;
  readonly #stride: Value;

  /**
   * Writes the first tile's index to the current block, and leaves to `end` if there is none.
   * `turns`: each warpgroup that multiplies walks its own; 1: all.
   */
  constructor(block: WgmmaBlock, end: string, turns: number) {
    const { kernel, desc, group, tiles } = block;
    const { b } = kernel;
    const [own, grid] = [kernel.special("%ctaid.x"), kernel.special("%nctaid.x")];
    this.#block = block;
    this.#index =
      turns === 1 ? b.op("mov.b32", "s32", own) : b.op(ptx.mad.s32!, "s32", group, grid, own);
    this.#stride = integer(b, "mul", grid, turns);
    // The grid counts the rows that there may be, and the first turn.
    if (desc.rows !== undefined || turns > 1)
      b.branch(end, b.op(ptx.setp("ge", "s32"), "pred", this.#index, tiles));
  }

  /** Groups of `raster` rows of tiles are walked column by column. */
  origin(): Origin {
    const { kernel, shape, tilesM, tilesN } = this.#block;
    const { b } = kernel;
    const { bm, bn, raster } = shape.config;
    const width = integer(b, "mul", tilesN, raster);
    const band = b.op("div.u32", "s32", this.#index, width);
    const inside = integer(b, "sub", this.#index, integer(b, "mul", band, width));
    const first = integer(b, "mul", band, raster);
    const height = integer(b, "min", integer(b, "sub", tilesM, first), raster);
    const column = b.op("div.u32", "s32", inside, height);
    const row = integer(
      b,
      "add",
      first,
      integer(b, "sub", inside, integer(b, "mul", column, height)),
    );
    return { m0: integer(b, "mul", row, bm), n0: integer(b, "mul", column, bn) };
  }

  /** Goes on to the next tile: the predicate that there is one. */
  next(): Value {
    const { kernel, tiles } = this.#block;
    const { b } = kernel;
    increase(b, this.#index, this.#stride);
    return b.op(ptx.setp("lt", "s32"), "pred", this.#index, tiles);
  }
}

/** How many stages a tile takes. */
export const depthSteps = ({ root, desc }: WgmmaBlock): Value =>
  extentValue(root, blocksOf(desc.kExtent, rowElements), "s32");

/** A tile's stages, in a register that counts them down. */
export const depthCounter = (block: WgmmaBlock): Value =>
  block.kernel.b.op("mov.b32", "s32", depthSteps(block));

/** Counts one stage: the predicate that there is another. */
export function countDown(block: WgmmaBlock, counter: Value): Value {
  const { b } = block.kernel;
  increase(b, counter, -1);
  return b.op(ptx.setp("gt", "s32"), "pred", counter, 0);
}
