/** The loop over keys: scores, masks, online softmax, weighted sums of values. */
import { param, zero } from "../../compiler/codegen/expressions.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import { hasEffects, type Scope } from "../../compiler/codegen/ptx/expr.js";
import { legal } from "../../compiler/codegen/ptx/legal.js";
import {
  binaryInstruction,
  ptx,
  unaryInstruction,
} from "../../compiler/codegen/ptx/instructions.js";
import { immediate } from "../../compiler/codegen/ptx/builder.js";
import { packPair } from "../../compiler/codegen/ptx/memory.js";
import {
  MatrixReader,
  increase,
  integer,
  multiply,
  turn,
  zeroed,
} from "../../compiler/codegen/ptx/mma.js";
import { both, type PassRange } from "../../compiler/codegen/ptx/mma-copy.js";
import { scoreShape, type ScoreShape } from "../../compiler/codegen/ptx/mma-score.js";
import { overLanes } from "../../compiler/codegen/ptx/mma-stats.js";
import { TileLoader, type AttentionBlock, type TileRows } from "./sm80-mma-block.js";

const minusInfinity = immediate(-Infinity, "f32");
const f32 = {
  add: binaryInstruction.add.f32!,
  sub: binaryInstruction.sub.f32!,
  mul: binaryInstruction.mul.f32!,
  max: binaryInstruction.max.f32!,
  exp2: unaryInstruction.exp2.f32!,
  neg: unaryInstruction.neg.f32!,
  fma: ptx.fma.f32!,
};
/** The four lanes of a quad share a row of a fragment. */
const quad = [2, 1] as const;

/** One row of a lane: two for each 16-row tile. */
export interface LaneRow {
  readonly scope: Scope;
  readonly exists: Value;
  readonly top: Value;
  readonly sum: Value;
}

export class AttentionSteps {
  readonly block: AttentionBlock;
  readonly rows: readonly (readonly [LaneRow, LaneRow])[];
  /** [16-row tile][8-column tile] */
  readonly output: readonly (readonly (readonly Value[])[])[];
  /** exp2 of a score times this: the scale where masks come before it, and the change of base. */
  readonly factor: Value;
  readonly #queries: TileLoader;
  readonly #keys: TileLoader;
  readonly #values: TileLoader;
  readonly #readQ: MatrixReader;
  readonly #readK: MatrixReader;
  readonly #readV: MatrixReader;
  readonly #score: ScoreShape;

  /** Writes lane addresses, rows and zeroed accumulators to the block's setup. */
  constructor(block: AttentionBlock) {
    this.block = block;
    const { shape, kernel, shared, desc, lane } = block;
    const { b } = kernel;
    const [keys, values] = [
      integer(b, "add", shared, shape.keysOffset),
      integer(b, "add", shared, shape.keysOffset + shape.valuesOffset),
    ];
    this.#queries = new TileLoader(block, shape.queries, shared, shape.depth);
    this.#keys = new TileLoader(block, shape.keys, keys, shape.depth);
    this.#values = new TileLoader(block, shape.values, values, shape.width);
    const row =
      block.warpM === null ? null : integer(b, "mul", block.warpM, 16 * shape.config.tilesM);
    const key = block.warpK === null ? null : integer(b, "mul", block.warpK, shape.warpKeys);
    const reader = { lane, chunk: null, transposed: false } as const;
    this.#readQ = new MatrixReader(
      b,
      { ...reader, layout: shape.queries, pattern: "rows", row, base: shared },
      shape.queries.chunks,
    );
    this.#readK = new MatrixReader(
      b,
      { ...reader, layout: shape.keys, pattern: "columns", row: key, base: keys },
      shape.keys.chunks,
    );
    this.#readV = new MatrixReader(
      b,
      {
        ...reader,
        layout: shape.values,
        pattern: "rows",
        transposed: true,
        row: key,
        base: values,
      },
      shape.values.chunks,
    );
    this.#score = scoreShape(desc);
    this.factor = immediate(Math.LOG2E * (this.#score.masksOnly ? desc.scale : 1), "f32");
    const first = integer(b, "add", block.row0, integer(b, "shr", lane, 2));
    this.rows = Array.from({ length: shape.config.tilesM }, (_, tile) => {
      const of = (half: number): LaneRow => {
        const local = integer(
          b,
          "add",
          row === null ? first : integer(b, "add", first, row),
          tile * 16 + half * 8,
        );
        const place = block.rowPlace(local);
        const guard = hasEffects(legal(desc.score)) ? [place.exists] : null;
        const scope = block.tile
          .child({ block: block.setup, guard })
          .bind(desc.q, place.query)
          .bind(desc.r, place.head);
        return {
          scope,
          exists: place.exists,
          top: b.op("mov.f32", "f32", minusInfinity),
          sum: zeroed(b, 1)[0]!,
        };
      };
      return [of(0), of(1)] as const;
    });
    this.output = this.rows.map(() =>
      Array.from({ length: shape.values.chunks }, () => zeroed(b, 4)),
    );
  }

  /** Queries and the first steps on their way. */
  first(into: Block): void {
    const { block } = this;
    const { kernel, shape, desc, sources, keyStart } = block;
    const { b } = kernel;
    b.into(into, () => {
      const target = this.#queries.copy.target(0);
      this.#queries.load(
        into,
        desc.queries,
        sources.queries,
        desc.d,
        target,
        this.#queryRows(into),
        null,
      );
      for (let stage = 0; stage < shape.config.stages - 1; stage++) {
        this.#issue(
          into,
          integer(b, "add", keyStart, stage * shape.config.bn),
          stage * shape.stageBytes,
        );
        b.raw(ptx.copyCommit);
      }
    });
  }

  #queryRows(into: Block): TileRows {
    const { block } = this;
    const { kernel, desc, tile } = block;
    const { b } = kernel;
    const { plan, row } = this.#queries.copy;
    const places = Array.from({ length: plan.passes }, (_, pass) =>
      block.rowPlace(
        integer(b, "add", integer(b, "add", block.row0, row), pass * plan.rowsPerPass),
      ),
    );
    const exists = places.map((place) => place.exists);
    const lanes = ({ first, count }: PassRange): Scope => {
      const some = places.slice(first, first + count);
      const guard = some.map((place) => place.exists);
      const scope = tile.child({ block: into, lanes: count, guard });
      const [queries, heads] = [some.map(({ query }) => query), some.map(({ head }) => head)];
      if (desc.q !== zero) scope.bindLanes(desc.q, queries);
      if (desc.r !== zero) scope.bindLanes(desc.r, heads);
      return scope;
    };
    const pass = (index: number): Scope =>
      tile
        .child({ block: into, guard: [exists[index]!] })
        .bind(desc.q, places[index]!.query)
        .bind(desc.r, places[index]!.head);
    return { lanes, pass, exists };
  }

  /** Keys and values of the step at `key`, if there is one, into the stage at `offset`. */
  #issue(into: Block, key: Value, offset: Value | number): void {
    const { block } = this;
    const { kernel, desc, sources } = block;
    const { b } = kernel;
    const guard = b.op(ptx.setp("lt", "s32"), "pred", key, block.keyEnd);
    for (const [loader, value, source, along] of [
      [this.#keys, desc.keys, sources.keys, desc.d],
      [this.#values, desc.values, sources.values, desc.e],
    ] as const)
      loader.load(
        into,
        value,
        source,
        along,
        loader.copy.target(offset),
        this.#keyRows(into, loader, key),
        guard,
      );
  }

  #keyRows(into: Block, loader: TileLoader, key: Value): TileRows {
    const { kernel, desc, tile, limit, shape } = this.block;
    const { b } = kernel;
    const { bn } = shape.config;
    const { plan, row } = loader.copy;
    const first = integer(b, "add", key, row);
    const rows = Array.from({ length: plan.passes }, (_, pass) =>
      integer(b, "add", first, pass * plan.rowsPerPass),
    );
    const exists = rows.map((value) => b.op(ptx.setp("lt", "s32"), "pred", value, limit));
    // Of keys that ascend the first is there if any is. Tiles begin at multiples of their keys, runs
    // of passes at those of their rows: powers of two.
    const lanes = (run: PassRange): Scope =>
      tile
        .child({ block: into, lanes: run.count, guard: [exists[run.first]!] })
        .bind(desc.k, rows[run.first]!, {
          step: run.count > 1 ? plan.rowsPerPass : 0,
          near: {
            of: run.first === 0 ? bn : Math.min(bn, run.count * plan.rowsPerPass),
            above: plan.rowsPerPass - 1,
          },
        });
    const pass = (index: number): Scope =>
      tile.child({ block: into, guard: [exists[index]!] }).bind(desc.k, rows[index]!);
    return { lanes, pass, exists };
  }

  /** One round of the loop, with the predicate that another follows. */
  loop(before: Block, body: Block): { more: Value; none: Value } {
    const { kernel, shape, keyStart, keyEnd } = this.block;
    const { b } = kernel;
    const { stages, bn } = shape.config;
    const state = b.into(before, () => {
      const registers = {
        key: b.op("mov.b32", "s32", keyStart),
        read: b.op("mov.b32", "s32", 0),
        write: b.op("mov.b32", "s32", (stages - 1) * shape.stageBytes),
        none: b.op(ptx.setp("ge", "s32"), "pred", keyStart, keyEnd),
      };
      return registers;
    });
    const queries = b.into(before, () => (shape.config.keepQueries ? this.#keepQueries() : null));
    const more = b.into(body, () => {
      b.raw(ptx.copyWait(stages - 2));
      b.raw(ptx.barrier);
      this.#issue(body, integer(b, "add", state.key, (stages - 1) * bn), state.write);
      b.raw(ptx.copyCommit);
      const scores = this.#scores(state.read, queries);
      this.#mask(body, scores, state.key);
      const weights = this.#softmax(scores);
      this.#weigh(state.read, weights);
      increase(b, state.key, bn);
      turn(b, state.read, shape.stageBytes, stages * shape.stageBytes);
      turn(b, state.write, shape.stageBytes, stages * shape.stageBytes);
      return b.op(ptx.setp("lt", "s32"), "pred", state.key, keyEnd);
    });
    return { more, none: state.none };
  }

  /** All query fragments, once the first group has arrived. */
  #keepQueries(): Value[][][] {
    const { kernel, shape } = this.block;
    const { b } = kernel;
    b.raw(ptx.copyWait(shape.config.stages - 2));
    b.raw(ptx.barrier);
    const read = this.#readQ.at(null);
    return this.rows.map((_, tile) =>
      Array.from({ length: shape.queries.chunks / 2 }, (__, step) => read(tile * 16, step * 2)),
    );
  }

  /** Scores as products of queries and keys: [16-row tile][8-key tile]. */
  #scores(offset: Value, queries: Value[][][] | null): Value[][][] {
    const { kernel, shape, dtype } = this.block;
    const { b } = kernel;
    const scores = this.rows.map(() =>
      Array.from({ length: shape.warpKeys / 8 }, () => zeroed(b, 4)),
    );
    const [readK, readQ] = [this.#readK.at(offset), this.#readQ.at(null)];
    for (let step = 0; step < shape.keys.chunks / 2; step++) {
      const a = this.rows.map((_, tile) => queries?.[tile]![step] ?? readQ(tile * 16, step * 2));
      for (let pair = 0; pair < shape.warpKeys / 16; pair++) {
        const four = readK(pair * 16, step * 2);
        a.forEach((fragment, tile) => {
          multiply(b, dtype, scores[tile]![2 * pair]!, fragment, four.slice(0, 2));
          multiply(b, dtype, scores[tile]![2 * pair + 1]!, fragment, four.slice(2, 4));
        });
      }
    }
    return scores;
  }

  /** Applies the score body; skipped by tiles in which it is provably the score itself. */
  #mask(into: Block, scores: Value[][][], key: Value): void {
    const { block } = this;
    const { kernel, shape, lane, warpK, limit } = block;
    const { b } = kernel;
    const inside = this.#interior(into, key);
    const skip = b.label("unmasked");
    if (inside !== null) b.branch(skip, inside);
    let column = integer(b, "add", key, integer(b, "mul", integer(b, "and", lane, 3), 2));
    if (warpK !== null)
      column = integer(b, "add", column, integer(b, "mul", warpK, shape.warpKeys));
    for (let j = 0; j < shape.warpKeys / 8; j++) {
      const first = integer(b, "add", column, j * 8);
      const exist = [0, 1].map((i) =>
        b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", first, i), limit),
      );
      this.#maskColumns(
        into,
        scores.map((tile) => tile[j]!),
        first,
        exist,
      );
    }
    if (inside !== null) b.place(skip);
  }

  #maskColumns(into: Block, scores: Value[][], first: Value, exist: Value[]): void {
    const { kernel, desc, tile } = this.block;
    const { b } = kernel;
    const body = legal(desc.score);
    const guard = hasEffects(body) ? exist : null;
    const columns = tile
      .child({ block: into, lanes: 2, guard })
      .bind(desc.k, first, { step: 1, multiple: 2 });
    scores.forEach((acc, index) => {
      this.rows[index]!.forEach((row, half) => {
        const pair = acc.slice(2 * half, 2 * half + 2);
        const given = this.#score.masksOnly
          ? pair
          : pair.map((x) => b.op(f32.mul, "f32", x, immediate(desc.scale, "f32")));
        const scope = columns
          .child({ also: [row.scope], block: into, lanes: 2 })
          .bindLanes(param("score", "f32"), given);
        pair.forEach((register, i) => {
          const value = scope.inBlock(() => b.inRegister(scope.get(body, i)));
          b.line("selp.f32", register, value, minusInfinity, exist[i]!);
        });
      });
    });
  }

  /** A predicate that holds where no element of the step is masked; null: nothing is known. */
  #interior(into: Block, key: Value): Value | null {
    const { kernel, desc, shape, tile, firstQuery, lastQuery, limit } = this.block;
    const { b } = kernel;
    const { interior } = this.#score;
    if (interior === null) return null;
    const lastKey = integer(b, "add", key, shape.config.bn - 1);
    let all: Value | null = b.op(ptx.setp("lt", "s32"), "pred", lastKey, limit);
    for (const condition of interior) {
      const corner = tile
        .child({ block: into })
        .bind(desc.q, condition.lastQuery ? lastQuery : firstQuery)
        .bind(desc.k, condition.lastKey ? lastKey : key);
      all = both(b, all, corner.value(condition.test));
    }
    return all;
  }

  /** Online softmax: rescales what was summed before, and turns scores into weights, packed for the product. */
  #softmax(scores: Value[][][]): Value[][][] {
    const { kernel, dtype, shape } = this.block;
    const { b } = kernel;
    return scores.map((tile, index) => {
      const halves = this.rows[index]!.map((row, half) => {
        const own = tile.flatMap((acc) => acc.slice(2 * half, 2 * half + 2));
        return this.#softmaxRow(
          row,
          own,
          this.output[index]!.flatMap((acc) => acc.slice(2 * half, 2 * half + 2)),
        );
      });
      return Array.from({ length: shape.warpKeys / 16 }, (_, step) =>
        [0, 1].flatMap((j) =>
          halves.map((weights) => {
            const at = (step * 2 + j) * 2;
            return packPair(b, dtype, weights[at]!, weights[at + 1]!);
          }),
        ),
      );
    });
  }

  #softmaxRow(row: LaneRow, scores: Value[], output: Value[]): Value[] {
    const { b } = this.block.kernel;
    const own = scores.slice(1).reduce((top, x) => b.op(f32.max, "f32", top, x), scores[0]!);
    const top = b.op(f32.max, "f32", row.top, overLanes(b, f32.max, own, quad));
    const shift = this.shift(top);
    const again = this.weight(row.top, shift);
    const weights = scores.map((x) => this.weight(x, shift));
    const sums = weights.slice(1).reduce((sum, x) => b.op(f32.add, "f32", sum, x), weights[0]!);
    b.line(f32.fma, row.sum, row.sum, again, sums);
    b.line("mov.f32", row.top, top);
    for (const x of output) b.line(f32.mul, x, x, again);
    return weights;
  }

  /** minus `top` · factor; 0 where nothing was unmasked yet, so that no difference of infinities arises. */
  shift(top: Value): Value {
    const { b } = this.block.kernel;
    const empty = b.op(ptx.setp("eq", "f32"), "pred", top, minusInfinity);
    const scaled = b.op(f32.mul, "f32", top, this.factor);
    return b.op(f32.neg, "f32", b.op("selp.f32", "f32", immediate(0, "f32"), scaled, empty));
  }

  /** What a score weighs beside the maximum that `shift` is made of. */
  weight(score: Value, shift: Value): Value {
    const { b } = this.block.kernel;
    return b.op(f32.exp2, "f32", b.op(f32.fma, "f32", score, this.factor, shift));
  }

  /** output += weights · values */
  #weigh(offset: Value, weights: Value[][][]): void {
    const { kernel, shape, dtype } = this.block;
    const { b } = kernel;
    const read = this.#readV.at(offset);
    for (let step = 0; step < shape.warpKeys / 16; step++)
      for (let pair = 0; pair < shape.values.chunks / 2; pair++) {
        const four = read(step * 16, pair * 2);
        this.output.forEach((columns, tile) => {
          multiply(b, dtype, columns[2 * pair]!, weights[tile]![step]!, four.slice(0, 2));
          multiply(b, dtype, columns[2 * pair + 1]!, weights[tile]![step]!, four.slice(2, 4));
        });
      }
  }
}
