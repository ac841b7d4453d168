/**
 * Tiles of 16-bit elements from global into swizzled shared memory: by `cp.async`, 16 bytes at a
 * time, where rows are contiguous and aligned; through registers, where a body computes elements or
 * nothing is known of their place.
 */
import type { DType } from "../../ir/dtype.js";
import { cast, constValue } from "../../scalar/build.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { alignmentOf, hasCheck, linearIn } from "../affine.js";
import { address, vector, type PtxBuilder, type Value } from "./builder.js";
import type { Scope } from "./expr.js";
import { ptx } from "./instructions.js";
import { legal } from "./legal.js";
import { elementAddress, packPair } from "./memory.js";
import { chunkAddress, integer, type HalfType } from "./mma.js";
import {
  chunkBytes,
  chunkElements,
  copyPlan,
  type CopyPlan,
  type TileLayout,
} from "./mma-layout.js";

/** A load of which 16-byte pieces along a coordinate may be copied as they are. */
export interface CopySource {
  readonly buffer: string;
  readonly offset: Expr;
}

/**
 * `value` as a source of whole chunks along `along`: a plain load of `dtype`, unit stride, every
 * chunk 16-byte aligned. Null: it must go through registers.
 */
export function copySource(value: Expr, along: Expr, dtype: DType): CopySource | null {
  if (!isOp(value, "load") || value.type !== dtype || !isOp(along, "coord")) return null;
  const [offset] = value.args as [Expr];
  const linear = linearIn(offset, along);
  if (linear === null || constValue(linear.stride) !== 1 || hasCheck(offset)) return null;
  return alignmentOf(linear.base, chunkElements) === chunkElements
    ? { buffer: value.attr.buffer, offset }
    : null;
}

/** What one chunk of a copy needs besides its address. */
export interface ChunkLimits {
  /** Where the copy happens at all. */
  readonly guard: Value | null;
  /** Bytes that exist, the rest is filled with zeros; null is all 16. */
  readonly bytes: Value | null;
}

/** Passes [first, first + count) of a copy. */
export interface PassRange {
  readonly first: number;
  readonly count: number;
}

export class TileCopy {
  readonly layout: TileLayout;
  readonly plan: CopyPlan;
  /** First row and first chunk of this thread. */
  readonly row: Value;
  readonly column: Value;
  readonly #b: PtxBuilder;
  /** Address of this thread's first chunk in the first tile of the ring. */
  readonly #target: Value;

  /** Writes this thread's place to the current block. */
  constructor(b: PtxBuilder, layout: TileLayout, threads: number, thread: Value, base: Value) {
    this.#b = b;
    this.layout = layout;
    this.plan = copyPlan(layout, threads);
    this.row = integer(b, "div", thread, this.plan.perRow);
    this.column = integer(b, "mod", thread, this.plan.perRow);
    this.#target = integer(b, "add", chunkAddress(b, layout, this.row, this.column), base);
  }

  /** Predicates of the passes in which this thread has a row of the tile; null where all have. */
  insideTile(): (Value | null)[] {
    return this.#passes((pass) => {
      const last = (pass + 1) * this.plan.rowsPerPass;
      if (last <= this.layout.rows) return null;
      return this.#b.op(
        ptx.setp("lt", "s32"),
        "pred",
        this.row,
        this.layout.rows - pass * this.plan.rowsPerPass,
      );
    });
  }

  #passes<T>(body: (pass: number) => T): T[] {
    return Array.from({ length: this.plan.passes }, (_, pass) => body(pass));
  }

  /** Calls `body` for each chunk of this thread: its pass, its step, and elements from its first chunk. */
  forEach(body: (pass: number, step: number, elements: number) => void): void {
    for (let pass = 0; pass < this.plan.passes; pass++)
      for (let step = 0; step < this.plan.steps; step++)
        body(pass, step, step * this.plan.perRow * chunkElements);
  }

  /** This thread's target in the tile `offset` bytes into the ring. */
  target(offset: Value | number): Value {
    return integer(this.#b, "add", this.#target, offset);
  }

  place(target: Value, pass: number, step: number): string {
    const { rowsPerPass, perRow } = this.plan;
    return address(target, (pass * rowsPerPass * this.layout.stride + step * perRow) * chunkBytes);
  }

  /** Copies of the chunks of `passes`, by default of all. `scope` has a lane for each of them. */
  issue(
    scope: Scope,
    source: CopySource,
    target: Value,
    limits: (pass: number, step: number) => ChunkLimits,
    { first, count }: PassRange = { first: 0, count: this.plan.passes },
  ): void {
    const b = this.#b;
    const offset = legal(source.offset);
    const stride = scope.lane.step(offset);
    scope.inBlock(() => {
      this.forEach((pass, step, elements) => {
        const lane = pass - first;
        if (lane < 0 || lane >= count) return;
        const from = elementAddress(scope, source.buffer, offset, stride === null ? lane : 0);
        const shift = ((stride ?? 0) * lane + elements) * 2;
        const { guard, bytes } = limits(pass, step);
        const extra = bytes === null ? [] : [bytes];
        const global = address(from.base, from.offset + shift);
        b.lineIf(
          guard,
          ptx.copyAsync(16),
          this.place(target, pass, step),
          global,
          chunkBytes,
          ...extra,
        );
      });
    });
  }

  /** Stores one chunk of eight elements. */
  store(
    target: Value,
    pass: number,
    step: number,
    words: readonly Value[],
    guard: Value | null,
  ): void {
    this.#b.lineIf(guard, ptx.storeShared("b32", 4), this.place(target, pass, step), vector(words));
  }
}

/** The eight lanes of `value` as `dtype`, two in a word. */
export function packedChunk(scope: Scope, value: Expr, dtype: HalfType): Value[] {
  const { b } = scope;
  const rounded = legal(cast(value, dtype));
  const [source] = rounded.args;
  const single = isOp(rounded, "cast") && source?.type === "f32" ? source : null;
  return scope.inBlock(() =>
    Array.from({ length: scope.lanes / 2 }, (_, pair) => {
      const [low, high] = [2 * pair, 2 * pair + 1];
      if (single !== null)
        return packPair(b, dtype, scope.get(single, low), scope.get(single, high));
      const [x, y] = [scope.get(rounded, low), scope.get(rounded, high)];
      const whole = x.half?.high === false && y.half?.high === true && x.half.word === y.half.word;
      return whole ? x.half.word : b.packHalves(x, y);
    }),
  );
}

/** Bytes of a chunk that starts at `start` and ends before `extent`: 0 to 16. */
export function chunkBytesBelow(
  b: PtxBuilder,
  start: Value,
  extent: Value,
  wholeChunks: boolean,
): Value {
  if (wholeChunks) {
    const inside = b.op(ptx.setp("lt", "s32"), "pred", start, extent);
    return b.op(ptx.select("s32"), "s32", chunkBytes, 0, inside);
  }
  const left = integer(b, "mul", integer(b, "sub", b.inRegister(extent), start), 2);
  return integer(b, "max", integer(b, "min", left, chunkBytes), 0);
}

/** Both predicates; null is true. */
export function both(b: PtxBuilder, x: Value | null, y: Value | null): Value | null {
  if (x === null || y === null) return x ?? y;
  return b.op("and.pred", "pred", x, y);
}
