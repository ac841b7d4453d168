/** The role that fills stages: each of its threads copies its chunks of A and B, 16 bytes at a time. */
import { alignmentOf } from "../../compiler/codegen/affine.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import { address } from "../../compiler/codegen/ptx/builder.js";
import type { Scope } from "../../compiler/codegen/ptx/expr.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { barrierBytes, mbarrier, RingPosition } from "../../compiler/codegen/ptx/mbarrier.js";
import { increase, integer } from "../../compiler/codegen/ptx/mma.js";
import { TileCopy, chunkBytesBelow, type CopySource } from "../../compiler/codegen/ptx/mma-copy.js";
import { chunkElements, type TileLayout } from "../../compiler/codegen/ptx/mma-layout.js";
import { groupThreads, rowElements } from "../../compiler/codegen/ptx/wgmma.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { TileWalk, countDown, depthCounter, type WgmmaBlock } from "./sm90a-wgmma-block.js";

/** One operand: what of it this thread copies. */
interface Operand {
  readonly copy: TileCopy;
  readonly source: CopySource;
  readonly across: Expr;
  readonly extent: Expr;
  /** Rows of a tile. */
  readonly rows: number;
}

/** An operand in one tile: a lane for each pass, and how many rows there are from this thread's first on. */
interface TileRows {
  readonly operand: Operand;
  readonly scope: Scope;
  /** Null: all rows of the tile exist. */
  readonly left: Value | null;
}

/** The text of the role: before its loop over tiles, before the loop over depth, that loop, after it. */
export interface FillText {
  readonly before: Block;
  readonly tile: Block;
  readonly step: Block;
  readonly moreSteps: Value;
  readonly after: Block;
  readonly moreTiles: Value;
}

export function emitFill(block: WgmmaBlock, end: string): FillText {
  const { kernel, shape, sources, desc } = block;
  const { b } = kernel;
  const [before, tile, step, after] = [
    kernel.section(),
    kernel.section(),
    kernel.section(),
    kernel.section(),
  ];
  const { walk, position, operands } = b.into(before, () => {
    const thread = integer(b, "mod", block.thread, groupThreads);
    const operand = (
      layout: TileLayout,
      source: CopySource,
      across: Expr,
      extent: Expr,
      offset: number,
    ): Operand => ({
      copy: new TileCopy(b, layout, groupThreads, thread, integer(b, "add", block.shared, offset)),
      source,
      across,
      extent,
      rows: layout.rows,
    });
    return {
      walk: new TileWalk(block, end, 1),
      position: new RingPosition(b, block.ring, 1),
      operands: [
        operand(shape.a, sources.a.copy!, desc.m, desc.mExtent, 0),
        operand(shape.b, sources.b.copy!, sources.column, sources.columns, shape.bOffset),
      ],
    };
  });
  const state = b.into(tile, () => {
    const { m0, n0 } = walk.origin();
    const [a, y] = operands as [Operand, Operand];
    return {
      rows: [tileRows(block, tile, a, m0), tileRows(block, tile, y, n0)],
      along: b.op("mov.b32", "s32", integer(b, "mul", a.copy.column, chunkElements)),
      steps: depthCounter(block),
    };
  });
  const moreSteps = b.into(step, () => {
    const barriers = position.barriers();
    position.wait(address(barriers, barrierBytes));
    for (const rows of state.rows) copyRows(block, step, rows, state.along, position.offset());
    b.line(mbarrier.arriveWithCopies, address(barriers));
    position.advance();
    increase(b, state.along, rowElements);
    return countDown(block, state.steps);
  });
  const moreTiles = b.into(after, () => walk.next());
  return { before, tile, step, moreSteps, after, moreTiles };
}

function tileRows(block: WgmmaBlock, tile: Block, operand: Operand, origin: Value): TileRows {
  const { batch, kernel } = block;
  const { b } = kernel;
  const { copy, across, extent, rows } = operand;
  const { passes, rowsPerPass } = copy.plan;
  const first = integer(b, "add", origin, copy.row);
  const whole = alignmentOf(extent, rows) === rows;
  const left = whole
    ? null
    : integer(b, "sub", b.inRegister(extentValue(batch, extent, "s32")), first);
  // Where a row's place is itself loaded, it is only loaded of rows that exist.
  const guard =
    left === null
      ? null
      : Array.from({ length: passes }, (_, pass) => exists(block, left, pass * rowsPerPass));
  const scope = batch
    .child({ block: tile, lanes: passes, guard })
    .bind(across, first, { step: rowsPerPass });
  return { operand, scope, left };
}

const exists = ({ kernel: { b } }: WgmmaBlock, left: Value, row: number): Value =>
  b.op(ptx.setp("gt", "s32"), "pred", left, row);

/** Copies of rows that exist, zeros beyond the depth; other rows give sums that nobody stores. */
function copyRows(
  block: WgmmaBlock,
  step: Block,
  { operand, scope, left }: TileRows,
  along: Value,
  offset: Value,
): void {
  const { desc, batch, kernel } = block;
  const { b } = kernel;
  const { copy, source } = operand;
  const whole = alignmentOf(desc.kExtent, rowElements) === rowElements;
  const bytes = whole
    ? null
    : chunkBytesBelow(
        b,
        along,
        extentValue(batch, desc.kExtent, "s32"),
        alignmentOf(desc.kExtent, chunkElements) === chunkElements,
      );
  const here = scope.child({ block: step }).bind(desc.k, along, { multiple: chunkElements });
  copy.issue(here, source, copy.target(offset), (pass) => ({
    guard: left === null ? null : exists(block, left, pass * copy.plan.rowsPerPass),
    bytes,
  }));
}
