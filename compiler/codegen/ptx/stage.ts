/**
 * Copies a tile of an operand to shared memory: by `cp.async` where its element is a plain load of
 * the tile's type, else evaluated in registers and stored. All threads of the block take part.
 */
import { bug } from "../../errors.js";
import type { Expr } from "../../scalar/expr.js";
import { constValue } from "../../scalar/build.js";
import { isContiguous, loadsOf, strideAlong } from "../affine.js";
import { convertRegister } from "./arithmetic.js";
import { vector, type Block, type PtxBuilder, type Value } from "./builder.js";
import type { Scope } from "./expr.js";
import { below, extentValue } from "./geometry.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { legal } from "./legal.js";
import { elementAddress, plainLoad } from "./memory.js";

/** A side of the tile: its coordinate runs from `origin` for `size` elements, bounded by `extent`. */
export interface TileSide {
  readonly coord: Expr;
  readonly size: number;
  /** First value of the coordinate in the tile; null is 0. */
  readonly origin: Value | null;
  /** Elements at or beyond it are zero in the tile; null: there are none, or they do not matter. */
  readonly extent: Expr | Value | null;
  /** Beyond the extent the last element is repeated instead. */
  readonly clamp?: boolean;
  /** The origin is a multiple of this. */
  readonly multiple: number;
}

export interface TileSpec {
  /** f32 element over the coordinates of both sides. */
  readonly value: Expr;
  /** Outer side in shared memory. */
  readonly rows: TileSide;
  /** Contiguous side in shared memory. */
  readonly columns: TileSide;
  /** Floats from row to row in shared memory. */
  readonly stride: number;
  readonly threads: number;
  /** Elements of a vectorised access along the columns: 4 or 1. */
  readonly lanes: number;
  /** Which side the main loop advances: the other side's part of the work is done once. */
  readonly loop: "rows" | "columns" | "none";
  /** Binds what depends on the row besides its coordinate (packed coordinates, row statistics). */
  readonly bindRow?: (scope: Scope, row: Value, local: Value) => void;
}

interface Piece {
  readonly scope: Scope;
  readonly inside: Value | null;
  readonly local: Value;
}

/** One access of a thread: element scope, predicate of being inside, bytes from the tile's start. */
interface Access {
  readonly scope: Scope;
  readonly inside: Value | null;
  readonly place: Value;
  readonly placeOffset: number;
  /** An access whose address this one's is a known number of elements after; null: none is. */
  readonly after: { readonly scope: Scope; readonly elements: number } | null;
  /** Past the end of the tile where its size is no multiple of the threads. */
  readonly within: Value | null;
}

interface Split {
  /** Position on the fast and on the slow side, in groups of lanes. */
  readonly fast: Value;
  readonly slow: Value;
  /** Whether the access is inside the tile; null: always. */
  readonly within: Value | null;
  /** Positions on the slow side after the first access with the same place on the fast one. */
  readonly steps: number;
}

const bytes = 4;

/** Lanes along the tile's contiguous side that all loads of `value` allow: 4, or 1. */
export function tileLanes(value: Expr, column: Expr, widest: number, size: number): number {
  const loads = loadsOf([value]);
  const contiguous = loads.some((node) => isContiguous(node.args[0]!, column));
  return contiguous && widest >= 4 && size % 4 === 0 ? 4 : 1;
}

export class TileCopy {
  readonly #spec: TileSpec;
  readonly #accesses: Access[];
  readonly #async: Expr<"load"> | null;
  readonly #value: Expr;
  readonly #b: PtxBuilder;
  #held: Value[][] = [];

  /**
   * @param outer binds everything but the tile's coordinates
   * @param setup where work goes that the main loop does not change
   * @param body where the copies go
   */
  constructor(outer: Scope, spec: TileSpec, setup: Block, body: Block) {
    this.#spec = spec;
    this.#b = outer.b;
    this.#value = legal(spec.value);
    const plain = plainLoad(this.#value);
    this.#async = plain !== null && plain.type === "f32" && outer.guard === null ? plain : null;
    this.#accesses = this.#plan(outer, setup, body);
  }

  /** True if `store` has something to do after `load`. */
  get throughRegisters(): boolean {
    return this.#async === null;
  }

  /** Starts the copy into the buffer at `base` (a shared address), or loads into registers. */
  load(block: Block, base: Value): void {
    if (this.#async === null) {
      this.#held = this.#accesses.map((access) => this.#evaluate(access));
      return;
    }
    for (const access of this.#accesses) this.#copyAsync(block, access, base, this.#async);
  }

  /** Stores what `load` evaluated. */
  store(block: Block, base: Value): void {
    if (this.#async !== null) return;
    const b = this.#b;
    b.into(block, () =>
      this.#accesses.forEach((access, i) => {
        const target = b.op(binaryInstruction.add.s32!, "s32", base, access.place);
        const held = this.#held[i]!.map((value) => b.inRegister(value));
        b.lineIf(
          access.within,
          ptx.storeShared("f32", held.length),
          `[${target.text}+${access.placeOffset}]`,
          vector(held),
        );
      }),
    );
  }

  #evaluate(access: Access): Value[] {
    const { scope, inside } = access;
    return scope.values(this.#value).map((value) =>
      scope.inBlock(() => {
        const single = convertRegister(scope.b, value, "f32");
        return inside === null
          ? single
          : scope.b.op(ptx.select("f32"), "f32", single, "0f00000000", inside);
      }),
    );
  }

  #copyAsync(block: Block, access: Access, base: Value, load: Expr<"load">): void {
    const { scope, inside } = access;
    const { lanes } = this.#spec;
    const { b } = scope;
    const offset = load.args[0]!;
    const multiple = scope.lane.multiple(offset);
    const wide = lanes === 4 && scope.lane.step(offset) === 1 && multiple % 4 === 0;
    const count = wide ? 1 : lanes;
    b.into(block, () => {
      const target = b.op(binaryInstruction.add.s32!, "s32", base, access.place);
      for (let lane = 0; lane < count; lane++) {
        const source = elementAddress(access.after?.scope ?? scope, load.attr.buffer, offset, lane);
        const width = wide ? 16 : 4;
        const fill = inside === null ? [] : [b.op(ptx.select("s32"), "s32", width, 0, inside)];
        const from = `[${source.base.text}+${source.offset + (access.after?.elements ?? 0) * bytes}]`;
        const to = `[${target.text}+${access.placeOffset + lane * bytes}]`;
        b.lineIf(access.within, ptx.copyAsync(width), to, from, width, ...fill);
      }
    });
  }

  /** Splits the tile over the threads: consecutive threads take consecutive elements in memory. */
  #plan(outer: Scope, setup: Block, body: Block): Access[] {
    const { rows, columns, lanes, loop } = this.#spec;
    const b = this.#b;
    const groups = columns.size / lanes;
    if (!Number.isInteger(groups))
      throw bug(`a tile of ${columns.size} columns in groups of ${lanes}`);
    const rowsFirst = lanes === 1 && !this.#alongColumns();
    const slowSide = rowsFirst ? columns : rows;
    const places = b.into(setup, () =>
      this.#split(outer, rowsFirst ? rows.size : groups, rowsFirst ? groups : rows.size),
    );
    const columnPieces = new Map<string, Piece>();
    const rowPieces = new Map<string, Piece>();
    const slowStride = this.#slowStride(slowSide);
    const firsts = new Map<string, Access>();
    return places.map(({ fast, slow, within, steps }) => {
      const [r, c] = rowsFirst ? [fast, slow] : [slow, fast];
      const row = memoise(rowPieces, r.text, () =>
        this.#side(outer, rows, r, loop === "rows" ? body : setup, setup, 1),
      );
      const column = memoise(columnPieces, c.text, () =>
        this.#side(outer, columns, c, loop === "columns" ? body : setup, setup, lanes),
      );
      const access = this.#access(row, column, within, setup, body);
      const first = firsts.get(fast.text);
      if (first === undefined) {
        firsts.set(fast.text, access);
        return access;
      }
      const pitch = rowsFirst ? lanes : this.#spec.stride;
      const after =
        slowStride === null
          ? null
          : { scope: first.scope, elements: steps * (rowsFirst ? lanes : 1) * slowStride };
      return { ...access, place: first.place, placeOffset: steps * pitch * bytes, after };
    });
  }

  /** Elements from one position on the slow side to the next, where that is a literal. */
  #slowStride(side: TileSide): number | null {
    if (
      this.#async === null ||
      side.clamp === true ||
      (side === this.#spec.rows && this.#spec.bindRow !== undefined)
    )
      return null;
    const stride = strideAlong(this.#async.args[0]!, side.coord);
    return stride === null ? null : constValue(stride);
  }

  /**
   * Position of each access of a thread on the fast and on the slow side of the tile. The fast side
   * is padded to a power of two, so that a thread keeps its places on it from access to access.
   */
  #split(outer: Scope, fastSize: number, slowSize: number): Split[] {
    const b = this.#b;
    const { threads } = this.#spec;
    const padded = 2 ** Math.ceil(Math.log2(fastSize));
    const turns = Math.max(1, padded / threads);
    const rowsAtOnce = Math.max(1, threads / padded);
    const tid = outer.kernel.special("%tid.x");
    const fasts = Array.from({ length: turns }, (_, turn) =>
      this.#fastPlace(tid, turn, padded, fastSize),
    );
    const slow = rowsAtOnce === 1 ? null : b.op("shr.u32", "s32", tid, Math.log2(padded));
    const splits: Split[] = [];
    for (let steps = 0; steps < slowSize; steps += rowsAtOnce) {
      const at =
        slow === null
          ? b.op(ptx.move("s32"), "s32", steps)
          : b.op(binaryInstruction.add.s32!, "s32", slow, steps);
      const whole = steps + rowsAtOnce <= slowSize;
      const inside = whole ? null : b.op(ptx.setp("lt", "s32"), "pred", at, slowSize);
      const safe = whole ? at : b.op(binaryInstruction.min.s32!, "s32", at, slowSize - 1);
      for (const fast of fasts) {
        if (fast === null) continue;
        const both = [fast.inside, inside].filter((value) => value !== null);
        const within =
          both.length === 2 ? b.op("and.pred", "pred", both[0]!, both[1]!) : (both[0] ?? null);
        splits.push({ fast: fast.place, slow: safe, within, steps });
      }
    }
    return splits;
  }

  /** Where a thread is on the fast side in a turn (kept inside), and whether it is; null: none is. */
  #fastPlace(
    tid: Value,
    turn: number,
    padded: number,
    size: number,
  ): { place: Value; inside: Value | null } | null {
    const b = this.#b;
    const { threads } = this.#spec;
    if (turn * threads >= size) return null;
    const at =
      padded < threads
        ? b.op(binaryInstruction.and.s32!, "s32", tid, padded - 1)
        : turn === 0
          ? tid
          : b.op(binaryInstruction.add.s32!, "s32", tid, turn * threads);
    if (Math.min(padded, (turn + 1) * threads) <= size) return { place: at, inside: null };
    const inside = b.op(ptx.setp("lt", "s32"), "pred", at, size);
    return { place: b.op(binaryInstruction.min.s32!, "s32", at, size - 1), inside };
  }

  #alongColumns(): boolean {
    const loads = loadsOf([this.#value]);
    const along = (coord: Expr): number =>
      loads.filter((node) => isContiguous(node.args[0]!, coord)).length;
    return along(this.#spec.columns.coord) >= along(this.#spec.rows.coord);
  }

  #side(
    outer: Scope,
    side: TileSide,
    index: Value,
    block: Block,
    setup: Block,
    unit: number,
  ): Piece {
    const b = this.#b;
    const local =
      unit === 1
        ? index
        : b.into(setup, () => b.op(binaryInstruction.mul.s32!, "s32", index, unit));
    const [position, inside] = b.into(block, () => {
      const at =
        side.origin === null ? local : b.op(binaryInstruction.add.s32!, "s32", side.origin, local);
      if (side.extent === null) return [at, null];
      return side.clamp === true
        ? [this.#clamped(outer, at, side.extent), null]
        : [at, this.#below(outer, at, side.extent)];
    });
    const scope = outer.child({ block, lanes: unit, guard: inside === null ? null : [inside] });
    scope.bind(side.coord, position, {
      step: unit > 1 ? 1 : 0,
      multiple: side.multiple % unit === 0 ? unit : 1,
    });
    if (side === this.#spec.rows) b.into(block, () => this.#spec.bindRow?.(scope, position, local));
    return { scope, inside, local };
  }

  #clamped(scope: Scope, at: Value, extent: Expr | Value): Value {
    const b = this.#b;
    const size = "text" in extent ? extent : extentValue(scope.ancestry[0]!, extent, "s32");
    return b.op(
      binaryInstruction.min.s32!,
      "s32",
      at,
      b.op(binaryInstruction.sub.s32!, "s32", size, 1),
    );
  }

  #below(scope: Scope, at: Value, extent: Expr | Value): Value {
    if ("text" in extent) return this.#b.op(ptx.setp("lt", "s32"), "pred", at, extent);
    return below(scope.ancestry[0]!, at, extent);
  }

  #access(row: Piece, column: Piece, within: Value | null, setup: Block, body: Block): Access {
    const b = this.#b;
    const guard = within === null ? null : [within];
    const scope = row.scope.child({
      block: body,
      also: [column.scope],
      lanes: this.#spec.lanes,
      guard,
    });
    const place = b.into(setup, () => {
      const start = b.op(binaryInstruction.mul.s32!, "s32", row.local, this.#spec.stride * bytes);
      return b.op("mad.lo.s32", "s32", column.local, bytes, start);
    });
    const both = [row.inside, column.inside].filter((value) => value !== null);
    const inside =
      both.length === 2
        ? b.into(body, () => b.op("and.pred", "pred", both[0]!, both[1]!))
        : (both[0] ?? null);
    return { scope, inside, place, placeOffset: 0, after: null, within };
  }
}

function memoise(map: Map<string, Piece>, key: string, make: () => Piece): Piece {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
