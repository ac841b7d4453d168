/** Which rows and keys a block has, and the tiles of queries, keys and values on their way. */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { Target } from "../../compiler/kernel/target.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { bug } from "../../compiler/errors.js";
import { max, min, mul, zero } from "../../compiler/codegen/expressions.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope } from "../../compiler/codegen/ptx/expr.js";
import { blocksOf, extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";
import { legal } from "../../compiler/codegen/ptx/legal.js";
import { integer, isHalf, type HalfType } from "../../compiler/codegen/ptx/mma.js";
import {
  TileCopy,
  both,
  chunkBytesBelow,
  packedChunk,
  type CopySource,
  type PassRange,
} from "../../compiler/codegen/ptx/mma-copy.js";
import { chunkElements, type TileLayout } from "../../compiler/codegen/ptx/mma-layout.js";
import { slope } from "../../compiler/codegen/ptx/mma-score.js";
import { keyPart, workspaceOf, type KeyPart } from "./sm80-mma-parts.js";
import type { AttentionShape, AttentionSources } from "./sm80-mma-shape.js";

/** The query of a row and its head within the key head. */
export interface RowPlace {
  readonly query: Value;
  readonly head: Value;
  readonly exists: Value;
}

export class AttentionBlock {
  readonly kernel: PtxKernel;
  readonly setup: Block;
  readonly root: Scope;
  /** Binds batch and key head. */
  readonly tile: Scope;
  readonly dtype: HalfType;
  readonly thread: Value;
  readonly lane: Value;
  readonly warpM: Value | null;
  readonly warpK: Value | null;
  readonly shared: Value;
  /** First row of the block. */
  readonly row0: Value;
  readonly rows: Value;
  /** First and last query of the block. */
  readonly firstQuery: Value;
  readonly lastQuery: Value;
  /** Keys that exist; the first step and the end of the last. */
  readonly limit: Value;
  readonly keyStart: Value;
  readonly keyEnd: Value;
  /** Which part of the keys the block has, where they are divided. */
  readonly part: KeyPart | null;

  constructor(
    readonly desc: AttentionDesc,
    readonly shape: AttentionShape,
    readonly sources: AttentionSources,
    target: Target,
  ) {
    if (!isHalf(desc.dtype)) throw bug(`mma.sync multiplies no ${desc.dtype}`);
    this.dtype = desc.dtype;
    const { split } = shape.config;
    this.kernel = new PtxKernel(desc.operands, target, split ? workspaceOf(desc, shape) : null);
    this.setup = this.kernel.section();
    this.root = Scope.root(this.kernel);
    this.tile = this.root.child({ block: this.setup });
    const { b } = this.kernel;
    const { warpsM, warpsK } = shape.config;
    const place = b.into(this.setup, () => {
      const thread = this.kernel.special("%tid.x");
      const warp = integer(b, "shr", thread, 5);
      this.tile
        .bind(desc.b, this.kernel.special("%ctaid.z"))
        .bind(desc.g, this.kernel.special("%ctaid.y"));
      // The last rows of a causal mask see the most keys: they start first.
      const tiles = b.inRegister(extentValue(this.root, blocksOf(this.rowExtent, shape.bm), "s32"));
      const own = (): Value =>
        integer(b, "sub", integer(b, "sub", tiles, 1), this.kernel.special("%ctaid.x"));
      return {
        thread,
        lane: integer(b, "and", thread, 31),
        warpM: warpsM === 1 ? null : integer(b, "mod", warp, warpsM),
        warpK: warpsK === 1 ? null : integer(b, "div", warp, warpsM),
        shared: b.op("mov.u32", "s32", sharedSymbol),
        row0: split ? b.op("mov.b32", "s32", 0) : integer(b, "mul", own(), shape.bm),
      };
    });
    ({
      thread: this.thread,
      lane: this.lane,
      warpM: this.warpM,
      warpK: this.warpK,
      shared: this.shared,
      row0: this.row0,
    } = place);
    this.rows = b.into(this.setup, () =>
      b.inRegister(extentValue(this.root, this.rowExtent, "s32")),
    );
    const range = b.into(this.setup, () => this.#keyRange());
    this.firstQuery = range.first;
    this.lastQuery = range.last;
    this.limit = range.limit;
    this.part = split ? b.into(this.setup, () => keyPart(this, range.start, range.end)) : null;
    ({ start: this.keyStart, end: this.keyEnd } = this.part ?? range);
  }

  get rowExtent(): Expr {
    return mul(this.desc.extents.q, this.desc.extents.r);
  }

  /** Query and head of a packed row. */
  rowPlace(row: Value): RowPlace {
    const { b } = this.kernel;
    const { r } = this.desc.extents;
    const exists = b.op(ptx.setp("lt", "s32"), "pred", row, this.rows);
    const heads = extentValue(this.root, r, "s32");
    const count = heads.text.startsWith("%") ? heads : Number(heads.text);
    if (count === 1) return { query: row, head: b.op("mov.b32", "s32", 0), exists };
    const query = b.op("div.u32", "s32", row, count);
    const head = b.op("sub.s32", "s32", row, b.op("mul.lo.s32", "s32", query, count));
    return { query, head, exists };
  }

  /** Bounds of the key loop: the least over the block's queries to the greatest, where they are monotone. */
  #keyRange(): { first: Value; last: Value; limit: Value; start: Value; end: Value } {
    const { desc, shape, tile, kernel } = this;
    const { b } = kernel;
    const lastRow = integer(
      b,
      "min",
      integer(b, "add", this.row0, shape.bm - 1),
      integer(b, "sub", this.rows, 1),
    );
    const [first, last] = [this.rowPlace(this.row0).query, this.rowPlace(lastRow).query];
    const at = (expr: Expr, query: Value): Value =>
      tile.child({ block: this.setup }).bind(desc.q, query).index(expr);
    const limit = b.inRegister(tile.index(desc.extents.k));
    const { end, first: begin } = desc.bounds;
    const [up, down] = [slope(end, desc.q), slope(begin, desc.q)];
    const finish = up === null ? limit : at(min(end, desc.extents.k), up >= 0 ? last : first);
    const start =
      down === null ? b.op("mov.b32", "s32", 0) : at(max(begin, zero), down >= 0 ? first : last);
    return {
      first,
      last,
      limit,
      start: b.op("and.b32", "s32", b.inRegister(start), -shape.config.bn),
      end: b.inRegister(finish),
    };
  }
}

/** The rows of a tile that a thread copies: one a pass. */
export interface TileRows {
  /** Binds the rows of some passes, a lane for each. */
  readonly lanes: (passes: PassRange) => Scope;
  /** Binds the row of one pass. */
  readonly pass: (pass: number) => Scope;
  readonly exists: readonly Value[];
}

/** Some passes of a copy, with a lane for each. */
interface PassRun {
  readonly passes: PassRange;
  readonly lanes: Scope;
}

/** One of the three operands' tiles. */
export class TileLoader {
  readonly copy: TileCopy;
  readonly #block: AttentionBlock;
  readonly #extent: number;

  constructor(block: AttentionBlock, layout: TileLayout, base: Value, extent: number) {
    this.#block = block;
    this.#extent = extent;
    this.copy = new TileCopy(block.kernel.b, layout, block.shape.threads, block.thread, base);
  }

  /** Bytes of the chunks that are there at all: depths are padded to whole k16 steps. */
  #widths(): (Value | null)[] {
    const { b } = this.#block.kernel;
    const { plan, layout, column } = this.copy;
    return Array.from({ length: plan.steps }, (_, step) => {
      const padded = layout.chunks * chunkElements > this.#extent && step === plan.steps - 1;
      if (!padded) return null;
      const start = integer(b, "mul", integer(b, "add", column, step * plan.perRow), chunkElements);
      return chunkBytesBelow(b, start, { text: String(this.#extent), type: "s32" }, true);
    });
  }

  /** Starts a tile; `along` is the coordinate within rows. */
  load(
    into: Block,
    value: Expr,
    source: CopySource | null,
    along: Expr,
    target: Value,
    rows: TileRows,
    guard: Value | null,
  ): void {
    const { b } = this.#block.kernel;
    const inside = this.copy.insideTile().map((inTile) => both(b, inTile, guard));
    if (source === null) {
      rows.exists.forEach((exists, pass) => {
        this.#compute(
          into,
          value,
          along,
          target,
          pass,
          rows.pass(pass),
          both(b, exists, guard),
          inside[pass]!,
        );
      });
      return;
    }
    const widths = this.#widths();
    for (const { passes, lanes } of this.#runs(into, source, along, rows))
      this.copy.issue(
        lanes,
        source,
        target,
        (pass, step) => ({
          guard: inside[pass]!,
          bytes: b.op("selp.b32", "s32", widths[step] ?? 16, 0, rows.exists[pass]!),
        }),
        passes,
      );
  }

  /**
   * Runs of passes whose rows are evenly apart in memory, as long as possible: of paged rows, those
   * of one page, which is looked up once for each run.
   */
  #runs(into: Block, source: CopySource, along: Expr, rows: TileRows): PassRun[] {
    const { b } = this.#block.kernel;
    const { passes } = this.copy.plan;
    const column = integer(b, "mul", this.copy.column, chunkElements);
    const offset = legal(source.offset);
    for (let count = passes; ; count--) {
      if (passes % count !== 0) continue;
      const runs = Array.from({ length: passes / count }, (_, run): PassRun => {
        const range = { first: run * count, count };
        const scope = rows.lanes(range).child({ block: into });
        const lanes = scope.bind(along, column, { multiple: chunkElements });
        return { passes: range, lanes };
      });
      // A run of one is even whatever it reads.
      if (runs.every(({ lanes }) => lanes.lane.step(offset) !== null)) return runs;
    }
  }

  /** Elements one by one: what is not there is zero. */
  #compute(
    into: Block,
    value: Expr,
    along: Expr,
    target: Value,
    pass: number,
    scope: Scope,
    exists: Value | null,
    inside: Value | null,
  ): void {
    const { b } = this.#block.kernel;
    const { plan, column } = this.copy;
    for (let step = 0; step < plan.steps; step++) {
      const start = integer(b, "mul", integer(b, "add", column, step * plan.perRow), chunkElements);
      const there = both(b, b.op(ptx.setp("lt", "s32"), "pred", start, this.#extent), exists)!;
      const chunk = scope
        .child({ block: into, lanes: chunkElements, guard: [there] })
        .bind(along, start, { step: 1, multiple: chunkElements });
      this.copy.store(target, pass, step, packedChunk(chunk, value, this.#block.dtype), inside);
    }
  }
}
