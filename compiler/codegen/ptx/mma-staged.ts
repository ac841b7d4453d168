/**
 * From accumulators to stores: fragments are staged as f32 in shared memory, then threads walk rows
 * with consecutive columns each, so that bodies are written once, and load and store 16 bytes at a time.
 */
import { bug } from "../../errors.js";
import type { Store } from "../../kernel/desc.js";
import type { Expr } from "../../scalar/expr.js";
import { address, vector, type Block, type PtxBuilder, type Value } from "./builder.js";
import type { Scope } from "./expr.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { emitStores } from "./memory.js";
import { increase, integer } from "./mma.js";

export interface StagedLayout {
  /** Words of a row. */
  readonly stride: number;
  readonly rows: number;
  /** Partial sums, added in order. */
  readonly slices: number;
  /** Words left free after each 32 columns, so that reads of four words meet no bank twice; else 0. */
  readonly gap: number;
}

/** Where a warp's fragments go. */
export interface StagedPlace {
  readonly layout: StagedLayout;
  readonly base: Value;
  readonly lane: Value;
  /** First row, first column and slice of the warp; null is 0. */
  readonly row: Value | null;
  readonly column: Value | null;
  readonly slice: Value | null;
}

/** Stores the 16 × 8 accumulators `tiles[i][j]` of a warp. */
export function stageAccumulators(
  b: PtxBuilder,
  place: StagedPlace,
  tiles: readonly (readonly (readonly Value[])[])[],
): void {
  const { layout, lane } = place;
  if (layout.gap > 0 && place.column !== null) throw bug("gaps from a column known at run time");
  let row = integer(b, "shr", lane, 2);
  if (place.row !== null) row = integer(b, "add", row, place.row);
  if (place.slice !== null)
    row = integer(b, "add", row, integer(b, "mul", place.slice, layout.rows));
  let column = integer(b, "mul", integer(b, "and", lane, 3), 2);
  if (place.column !== null) column = integer(b, "add", column, place.column);
  const word = integer(b, "add", integer(b, "mul", row, layout.stride), column);
  const first = integer(b, "add", integer(b, "mul", word, 4), place.base);
  tiles.forEach((line, i) => {
    line.forEach((acc, j) => {
      for (const half of [0, 1]) {
        const along = j * 8 + layout.gap * (j >> 2);
        const at = ((i * 16 + half * 8) * layout.stride + along) * 4;
        b.line(
          ptx.storeShared("f32", 2),
          address(first, at),
          vector(acc.slice(2 * half, 2 * half + 2)),
        );
      }
    });
  });
}

export interface StagedStores {
  readonly layout: StagedLayout;
  readonly base: Value;
  readonly thread: Value;
  readonly threads: number;
  /** Columns of a tile in shared memory, and how many of them make one logical column. */
  readonly columns: number;
  readonly group: number;
  /** Logical columns that a thread takes together. */
  readonly lanes: number;
  readonly stores: readonly Store[];
  /** A scope that binds the logical column, `lanes` lanes from `column` on; its text goes before the loop. */
  readonly columnScope: (column: Value) => { readonly scope: Scope; readonly inside: Value | null };
  /** A scope that binds the row of the tile in `row`, with text in the current block; null `inside`: it always exists. */
  readonly rowScope: (row: Value) => { readonly scope: Scope; readonly inside: Value | null };
  /** Params of accumulator i. */
  readonly accumulators: readonly Expr[];
}

/** Lanes that leave no thread without work, at most `most`. */
export function stagedLanes(
  columns: number,
  rows: number,
  group: number,
  threads: number,
  most: number,
): number {
  let lanes = Math.min(most, columns / group);
  while (lanes > 1 && (columns / group / lanes) * rows < threads) lanes /= 2;
  return lanes;
}

/** The loop over rows: text before it into the current block, its body with labels into `body`. */
export function emitStagedStores(
  b: PtxBuilder,
  before: Block,
  body: Block,
  options: StagedStores,
): void {
  const { layout, thread, threads, columns, group, lanes } = options;
  const perRow = columns / group / lanes;
  const rowsPerPass = Math.max(1, Math.floor(threads / perRow));
  const [done, loop, skip] = [b.label("stored"), b.label("rows"), b.label("absent")];
  b.into(before, () => {
    const row = b.op("mov.b32", "s32", integer(b, "div", thread, perRow));
    const part = integer(b, "mod", thread, perRow);
    const column = integer(b, "mul", part, lanes);
    const { scope: columnScope, inside } = options.columnScope(column);
    let staged = integer(b, "mul", column, group);
    if (layout.gap > 0) {
      const gaps = integer(b, "mul", integer(b, "div", staged, 32), layout.gap);
      staged = integer(b, "add", staged, gaps);
    }
    const word = integer(b, "add", integer(b, "mul", row, layout.stride), staged);
    const place = b.op("mad.lo.s32", "s32", word, 4, options.base);
    b.into(body, () => {
      if (inside !== null) b.branch(done, inside, true);
      // Threads left over by rows of an uneven number of parts would write a row twice.
      const busy = rowsPerPass * perRow;
      if (busy < threads) b.branch(done, b.op(ptx.setp("ge", "s32"), "pred", thread, busy));
      const beyond = b.op(ptx.setp("ge", "s32"), "pred", row, layout.rows);
      if (rowsPerPass > layout.rows) b.branch(done, beyond);
      const loops = layout.rows > rowsPerPass;
      if (loops) b.place(loop);
      const { scope: rowScope, inside: exists } = options.rowScope(row);
      if (exists !== null) b.branch(skip, exists, true);
      const sums = readSums(b, options, place);
      const scope = columnScope.child({ also: [rowScope], block: body, lanes });
      options.accumulators.forEach((leaf, i) => {
        scope.bindLanes(
          leaf,
          Array.from({ length: lanes }, (_, lane) => sums[lane * group + i]!),
        );
      });
      emitStores(scope, options.stores);
      if (exists !== null) b.place(skip);
      if (loops) {
        increase(b, row, rowsPerPass);
        increase(b, place, rowsPerPass * layout.stride * 4);
        b.branch(loop, b.op(ptx.setp("lt", "s32"), "pred", row, layout.rows));
      }
      b.place(done);
    });
  });
}

/** A thread's columns of one row, slices added in order. */
function readSums(b: PtxBuilder, { layout, lanes, group }: StagedStores, place: Value): Value[] {
  const count = lanes * group;
  const width = Math.min(4, count);
  const read = (slice: number): Value[] =>
    Array.from({ length: count / width }, (_, i) => {
      const registers = b.regs("f32", width);
      const at = address(place, (slice * layout.rows * layout.stride + i * width) * 4);
      b.line(ptx.loadShared("f32", width), vector(registers), at);
      return registers;
    }).flat();
  let sums = read(0);
  for (let slice = 1; slice < layout.slices; slice++) {
    const more = read(slice);
    sums = sums.map((sum, i) => b.op(binaryInstruction.add.f32!, "f32", sum, more[i]!));
  }
  return sums;
}
