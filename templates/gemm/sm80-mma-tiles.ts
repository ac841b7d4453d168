/** Tiles of A and of B on their way to shared memory: copied, or computed by a body in registers. */
import { alignmentOf } from "../../compiler/codegen/affine.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import type { Scope } from "../../compiler/codegen/ptx/expr.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import {
  TileCopy,
  both,
  chunkBytesBelow,
  packedChunk,
  type ChunkLimits,
} from "../../compiler/codegen/ptx/mma-copy.js";
import { chunkElements } from "../../compiler/codegen/ptx/mma-layout.js";
import { bindStatistics } from "../../compiler/codegen/ptx/mma-stats.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import type { GemmBlock } from "./sm80-mma-block.js";
import type { TileSource } from "./sm80-mma-shape.js";

/** One operand's tiles: where this thread's pieces come from and go to. */
interface Operand {
  readonly copy: TileCopy;
  readonly source: TileSource;
  /** Coordinate along the tile's rows and along its chunks. */
  readonly across: Expr;
  readonly along: Expr;
  /** Value of `across` in the first row of this thread; null where it is the depth. */
  readonly first: Value | null;
  /** Predicates of the passes whose row exists. */
  readonly guards: readonly (Value | null)[];
  /** One lane per pass, `across` bound; null where it is the depth. */
  readonly rows: Scope | null;
  /** One scope per pass, for bodies. */
  readonly bodies: readonly Scope[];
}

/** Chunks computed in registers, to be stored once the tile before them has been multiplied. */
export type Pending = (() => void)[];

export class GemmTiles {
  readonly block: GemmBlock;
  readonly #a: Operand;
  readonly #b: Operand;
  readonly #wholeDepth: boolean;

  /** Writes the thread's places and guards to the block's setup. */
  constructor(block: GemmBlock) {
    this.block = block;
    const { desc, shape, kernel, shared } = block;
    const { b } = kernel;
    const { config } = shape;
    this.#wholeDepth = alignmentOf(desc.kExtent, config.bk) === config.bk;
    this.#a = this.#operand(
      shape.a,
      block.rows,
      shared,
      desc.m,
      desc.k,
      block.m0,
      desc.mExtent,
      config.bm,
    );
    const baseB = integer(b, "add", shared, shape.bOffset);
    this.#b = shape.rowsOfB
      ? this.#operand(
          shape.b,
          block.setup,
          baseB,
          desc.k,
          shape.column,
          null,
          desc.kExtent,
          config.bk,
        )
      : this.#operand(
          shape.b,
          block.setup,
          baseB,
          shape.column,
          desc.k,
          block.n0,
          shape.columns,
          config.bn,
        );
  }

  /** Reads the statistics of this thread's rows of A, which stand behind a barrier. */
  bindRowStatistics(): void {
    const { desc, kernel, shape, shared, rows } = this.block;
    const { copy, bodies } = this.#a;
    kernel.b.into(rows, () => {
      bodies.forEach((body, pass) => {
        const own = integer(kernel.b, "add", copy.row, pass * copy.plan.rowsPerPass);
        // Threads beyond the tile copy nothing, but they must not read beyond the statistics either.
        const beyond = (pass + 1) * copy.plan.rowsPerPass > shape.config.bm;
        const row = beyond ? integer(kernel.b, "min", own, shape.config.bm - 1) : own;
        const base = integer(kernel.b, "add", shared, shape.statsOffset);
        bindStatistics(body, desc.stages, row, shape.config.bm, base);
      });
    });
  }

  #operand(
    source: TileSource,
    rowBlock: Block,
    base: Value,
    across: Expr,
    along: Expr,
    origin: Value | null,
    extent: Expr,
    size: number,
  ): Operand {
    const { kernel, shape, thread, tile } = this.block;
    const { b } = kernel;
    const copy = new TileCopy(b, source.layout, shape.threads, thread, base);
    const inTile = copy.insideTile();
    const first = origin === null ? null : integer(b, "add", origin, copy.row);
    const { rowsPerPass, passes } = copy.plan;
    const ragged = first !== null && alignmentOf(extent, size) !== size;
    const guards = inTile.map((inside, pass) => {
      if (!ragged) return inside;
      const row = integer(b, "add", first, pass * rowsPerPass);
      return both(
        b,
        inside,
        b.op(ptx.setp("lt", "s32"), "pred", row, extentValue(tile, extent, "s32")),
      );
    });
    const bind = (scope: Scope, pass: number): Scope =>
      first === null
        ? scope
        : scope.bind(across, integer(b, "add", first, pass * rowsPerPass), {
            step: scope.lanes > 1 ? rowsPerPass : 0,
          });
    const guarded = guards.every((guard) => guard !== null);
    const rows =
      first === null
        ? null
        : bind(tile.child({ block: rowBlock, lanes: passes, guard: guarded ? guards : null }), 0);
    const bodies =
      first === null || source.copy !== null
        ? []
        : guards.map((guard, pass) =>
            bind(tile.child({ block: rowBlock, guard: guard === null ? null : [guard] }), pass),
          );
    return { copy, source, across, along, first, guards, rows, bodies };
  }

  /** Starts A's, B's or both tiles at depth `k0` into the stage at `offset`, where `exists` holds. */
  issue(
    which: "a" | "b",
    into: Block,
    k0: Value,
    offset: Value | number,
    exists: Value | null,
  ): Pending {
    const operand = which === "a" ? this.#a : this.#b;
    const { b } = this.block.kernel;
    return b.into(into, () => {
      const target = operand.copy.target(offset);
      const along =
        operand.first === null
          ? null
          : integer(b, "add", k0, integer(b, "mul", operand.copy.column, chunkElements));
      if (operand.source.copy === null)
        return this.#compute(operand, into, k0, along, target, exists);
      const scope =
        along === null
          ? this.#depthRows(operand, into, k0)
          : operand
              .rows!.child({ block: into })
              .bind(operand.along, along, { multiple: chunkElements });
      const limits =
        along === null
          ? this.#rowLimits(operand, k0, exists)
          : this.#chunkLimits(operand, along, exists);
      operand.copy.issue(scope, operand.source.copy, target, limits);
      return [];
    });
  }

  /** Rows are depth: a lane per pass. */
  #depthRows(operand: Operand, into: Block, k0: Value): Scope {
    const { b } = this.block.kernel;
    const { plan, row } = operand.copy;
    return this.block.tile
      .child({ block: this.block.setup })
      .bind(operand.along, this.#firstColumn(operand), { multiple: chunkElements })
      .child({ block: into, lanes: plan.passes })
      .bind(operand.across, integer(b, "add", k0, row), {
        step: plan.passes > 1 ? plan.rowsPerPass : 0,
      });
  }

  /** First column of this thread in a tile whose rows are depth. */
  #firstColumn(operand: Operand): Value {
    const { kernel, setup, n0 } = this.block;
    const { b } = kernel;
    this.#columnOfB ??= b.into(setup, () =>
      integer(b, "add", n0, integer(b, "mul", operand.copy.column, chunkElements)),
    );
    return this.#columnOfB;
  }

  #columnOfB: Value | null = null;

  /** Chunks end with the depth. */
  #chunkLimits(
    operand: Operand,
    along: Value,
    exists: Value | null,
  ): (pass: number, step: number) => ChunkLimits {
    const { desc, kernel, tile } = this.block;
    const { b } = kernel;
    const guards = operand.guards.map((guard) => both(b, guard, exists));
    const bytes = Array.from({ length: operand.copy.plan.steps }, (_, step) =>
      this.#wholeDepth
        ? null
        : chunkBytesBelow(
            b,
            integer(b, "add", along, step * operand.copy.plan.perRow * chunkElements),
            extentValue(tile, desc.kExtent, "s32"),
            alignmentOf(desc.kExtent, chunkElements) === chunkElements,
          ),
    );
    return (pass, step) => ({ guard: guards[pass]!, bytes: bytes[step]! });
  }

  /** Rows end with the depth, chunks with the columns. */
  #rowLimits(
    operand: Operand,
    k0: Value,
    exists: Value | null,
  ): (pass: number, step: number) => ChunkLimits {
    const { desc, kernel, shape, tile } = this.block;
    const { b } = kernel;
    const { plan, row } = operand.copy;
    const guards = operand.guards.map((guard) => both(b, guard, exists));
    const whole = alignmentOf(shape.columns, shape.config.bn) === shape.config.bn;
    const widths = Array.from({ length: plan.steps }, (_, step) =>
      whole
        ? null
        : chunkBytesBelow(
            b,
            integer(b, "add", this.#firstColumn(operand), step * plan.perRow * chunkElements),
            extentValue(tile, shape.columns, "s32"),
            alignmentOf(shape.columns, chunkElements) === chunkElements,
          ),
    );
    const inside = guards.map((_, pass) =>
      this.#wholeDepth
        ? null
        : b.op(
            ptx.setp("lt", "s32"),
            "pred",
            integer(b, "add", integer(b, "add", k0, row), pass * plan.rowsPerPass),
            extentValue(tile, desc.kExtent, "s32"),
          ),
    );
    return (pass, step) => {
      const [width, exist] = [widths[step]!, inside[pass]!];
      const bytes = exist === null ? width : b.op(ptx.select("s32"), "s32", width ?? 16, 0, exist);
      return { guard: guards[pass]!, bytes };
    };
  }

  /** Evaluates the body of every chunk; the stores come later. */
  #compute(
    operand: Operand,
    into: Block,
    k0: Value,
    along: Value | null,
    target: Value,
    exists: Value | null,
  ): Pending {
    const { b } = this.block.kernel;
    const pending: Pending = [];
    operand.copy.forEach((pass, step, elements) => {
      const inTile = operand.guards[pass]!;
      const scope =
        along === null
          ? this.#depthBody(operand, into, k0, pass, elements, exists)
          : this.#rowBody(operand, into, pass, integer(b, "add", along, elements), exists);
      const words = this.#zeroBeyond(
        scope,
        packedChunk(scope, operand.source.value, this.block.dtype),
      );
      pending.push(() => {
        operand.copy.store(
          target,
          pass,
          step,
          words,
          both(b, along === null ? operand.copy.insideTile()[pass]! : inTile, exists),
        );
      });
    });
    return pending;
  }

  #rowBody(operand: Operand, into: Block, pass: number, along: Value, exists: Value | null): Scope {
    const guard = this.#depthGuard(along, exists, true);
    return operand.bodies[pass]!.child({ block: into, lanes: chunkElements, guard }).bind(
      operand.along,
      along,
      { step: 1, multiple: chunkElements },
    );
  }

  #depthBody(
    operand: Operand,
    into: Block,
    k0: Value,
    pass: number,
    elements: number,
    exists: Value | null,
  ): Scope {
    const { kernel, shape, tile } = this.block;
    const { b } = kernel;
    const row = integer(
      b,
      "add",
      integer(b, "add", k0, operand.copy.row),
      pass * operand.copy.plan.rowsPerPass,
    );
    const column = integer(b, "add", this.#firstColumn(operand), elements);
    const depth = this.#depthGuard(row, both(b, operand.guards[pass]!, exists), false);
    const extent = extentValue(tile, shape.columns, "s32");
    const whole = alignmentOf(shape.columns, chunkElements) === chunkElements;
    const guard = Array.from({ length: whole ? 1 : chunkElements }, (_, lane) =>
      both(
        b,
        b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", column, lane), extent),
        depth?.[0] ?? null,
      )!,
    );
    return tile
      .child({ block: into, lanes: chunkElements, guard })
      .bind(operand.across, row)
      .bind(operand.along, column, { step: 1, multiple: chunkElements });
  }

  /** Predicates of elements whose depth exists: one, or one per lane where a chunk may be cut. */
  #depthGuard(k: Value, exists: Value | null, run: boolean): Value[] | null {
    const { desc, kernel, tile } = this.block;
    const { b } = kernel;
    if (this.#wholeDepth) return exists === null ? null : [exists];
    const cut = run && alignmentOf(desc.kExtent, chunkElements) !== chunkElements;
    return Array.from({ length: cut ? chunkElements : 1 }, (_, lane) =>
      both(
        b,
        b.op(
          ptx.setp("lt", "s32"),
          "pred",
          integer(b, "add", k, lane),
          extentValue(tile, desc.kExtent, "s32"),
        ),
        exists,
      )!,
    );
  }

  /** A body may give anything where nothing was loaded: beyond the depth it must be zero. */
  #zeroBeyond(scope: Scope, words: readonly Value[]): Value[] {
    const { b } = this.block.kernel;
    const { guard } = scope;
    if (guard === null || this.#wholeDepth) return [...words];
    return words.map((word, pair) => {
      const low = guard[2 * pair] ?? guard[0]!;
      const high = guard[2 * pair + 1] ?? guard[0]!;
      const kept = b.op("selp.b32", "u32", word, 0, low);
      return low === high
        ? kept
        : b.op("selp.b32", "u32", kept, integer(b, "and", kept, 0xffff), high);
    });
  }

  /** The first tiles on their way: B's before, A's after row statistics. */
  first(which: "a" | "b", into: Block): void {
    const { kernel, shape } = this.block;
    const { b } = kernel;
    b.into(into, () => {
      for (let stage = 0; stage < shape.config.stages - 1; stage++) {
        const k0 = b.op("mov.b32", "s32", stage * shape.config.bk);
        const exists = stage === 0 ? null : this.exists(k0);
        for (const store of this.issue(which, into, k0, stage * shape.stageBytes, exists)) store();
        if (which === "a") b.raw(ptx.copyCommit);
      }
    });
  }

  /** A predicate that there is a tile at depth `k0`. */
  exists(k0: Value): Value {
    const { desc, kernel, tile } = this.block;
    return kernel.b.op(ptx.setp("lt", "s32"), "pred", k0, extentValue(tile, desc.kExtent, "s32"));
  }
}
