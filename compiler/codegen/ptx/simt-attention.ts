/**
 * The body of an IEEE f32 attention kernel: see `templates/attention/sm80-simt.ts`. A lane of a warp
 * has one key of the tile while scores are made, and some of the value's columns while they are
 * weighed; between the two, weights pass through shared memory of the warp.
 */
import type { AttentionDesc } from "../../kernel/desc.js";
import type { Target } from "../../kernel/target.js";
import { cast, constValue, coord, param } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { widestLanes } from "./widest.js";
import { immediate, type Block, type PtxBuilder, type Value } from "./builder.js";
import { Scope } from "./expr.js";
import { below, bindBox, blockOffset, extentValue } from "./geometry.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { PtxKernel, sharedSymbol } from "./kernel.js";
import { emitStores } from "./memory.js";
import { combineAll, warpReduce } from "./reduction.js";
import { TileCopy, tileLanes, type TileSide } from "./stage.js";
import {
  attentionRows,
  attentionShape,
  type AttentionPlace,
  type AttentionRow,
  type AttentionShape,
  type SimtAttentionConfig,
  type SimtAttentionView,
} from "./simt-attention-shape.js";
import {
  mergeWarps,
  minusInfinity,
  scoreDots,
  softmaxStep,
  storeWeights,
  weighValues,
} from "./simt-attention-tile.js";

export class SimtAttention {
  readonly kernel: PtxKernel;
  readonly shape: AttentionShape;
  readonly #desc: AttentionDesc;
  readonly #config: SimtAttentionConfig;
  readonly #b: PtxBuilder;
  readonly #root: Scope;
  readonly #tile: Scope;
  readonly #index: Block;
  readonly #queries: Block;
  readonly #setup: Block;

  constructor(desc: AttentionDesc, config: SimtAttentionConfig, target: Target) {
    this.#desc = desc;
    this.#config = config;
    this.kernel = new PtxKernel(desc.operands, target);
    this.shape = attentionShape(desc, config);
    this.#b = this.kernel.b;
    this.#root = Scope.root(this.kernel);
    this.#index = this.kernel.section();
    this.#queries = this.kernel.section();
    this.#setup = this.kernel.section();
    this.#tile = this.#root.child({ block: this.#index });
  }

  emit(): SimtAttentionView {
    const b = this.#b;
    const { stages, warpKeys } = this.#config;
    const place = b.into(this.#index, () => this.#place());
    const keys = b.into(this.#index, () => this.#keyRange(place));
    b.into(this.#queries, () => this.#copyQueries(place));
    const [stage, compute, store, advance] = [0, 1, 2, 3].map(() => this.kernel.section()) as [
      Block,
      Block,
      Block,
      Block,
    ];
    const [next, write, step] = [b.reg("s32"), b.reg("s32"), b.reg("s32")];
    const rows = b.into(this.#setup, () => {
      b.line(ptx.move("s32"), next, keys.begin);
      b.line(ptx.move("s32"), write, place.slots);
      b.line(ptx.move("s32"), step, -(stages - 1));
      return Array.from({ length: this.#config.rows }, (_, i) => this.#row(place, i));
    });
    this.#copyTiles(next, write, keys.end, stage, store);
    b.into(compute, () => this.#compute(place, rows, { next, write, end: keys.end }, compute));
    b.into(advance, () => {
      b.line(binaryInstruction.add.s32!, next, next, this.shape.tileKeys);
      if (stages === 2) b.line(ptx.move("s32"), write, this.#otherSlot(write, place.slots));
    });
    const total = this.kernel.section();
    const sums = b.into(total, () => rows.map((row) => warpReduce(b, "sum", row.sum)));
    rows.forEach((row, i) => b.into(total, () => b.assign(row.sum, sums[i]!)));
    const { give, take, other } = mergeWarps(this.kernel, this.shape, warpKeys, place, rows);
    const finish = this.kernel.section();
    b.into(finish, () => rows.forEach((row) => this.#finish(place, row, finish)));
    return {
      index: this.#index.lines(),
      queries: this.#queries.lines(),
      setup: this.#setup.lines(),
      ahead: stages === 2,
      started: b.reg("pred").text,
      step: step.text,
      stage: stage.lines(),
      compute: compute.lines(),
      store: store.lines(),
      advance: advance.lines(),
      more: b.reg("pred").text,
      steps: keys.steps.text,
      total: total.lines(),
      split: warpKeys > 1,
      give: give.lines(),
      other: other.text,
      take: take.lines(),
      finish: finish.lines(),
    };
  }

  #place(): AttentionPlace {
    const b = this.#b;
    const { warpKeys, rows } = this.#config;
    const { b: batch, g, extents } = this.#desc;
    bindBox(this.#tile, this.kernel.special("%ctaid.y"), [{ coord: g, extent: extents.g }]);
    bindBox(this.#tile, this.kernel.special("%ctaid.z"), [{ coord: batch, extent: extents.b }]);
    const tid = this.kernel.special("%tid.x");
    const warp = b.op("shr.u32", "s32", tid, 5);
    const shared = b.op("mov.u32", "s32", sharedSymbol);
    const weights = b.op(binaryInstruction.add.s32!, "s32", shared, this.shape.weights);
    return {
      lane: b.op("and.b32", "s32", tid, 31),
      row: b.op("div.u32", "s32", warp, warpKeys),
      key: b.op("rem.u32", "s32", warp, warpKeys),
      first: blockOffset(this.#root, "x", this.shape.blockRows),
      shared,
      slots: b.op(binaryInstruction.add.s32!, "s32", shared, this.shape.slots),
      weights: b.op("mad.lo.s32", "s32", warp, 32 * rows * 4, weights),
    };
  }

  /** Binds the coordinates of a packed row: heads of one query are neighbours. */
  #bindRow(scope: Scope, row: Value): void {
    const { q, r, extents } = this.#desc;
    bindBox(scope, row, [
      { coord: q, extent: extents.q },
      { coord: r, extent: extents.r },
    ]);
  }

  #clampedRow(row: Value): Value {
    const b = this.#b;
    const last = b.op(
      binaryInstruction.sub.s32!,
      "s32",
      extentValue(this.#root, attentionRows(this.#desc), "s32"),
      1,
    );
    return b.op(binaryInstruction.min.s32!, "s32", row, last);
  }

  /** Keys that any row of the block may need; each warp finds them for itself. */
  #keyRange(place: AttentionPlace): { begin: Value; end: Value; steps: Value } {
    const b = this.#b;
    const { bounds, extents } = this.#desc;
    const firsts: Value[] = [];
    const ends: Value[] = [];
    for (let i = 0; i < this.shape.blockRows; i += 32) {
      const at = b.op(binaryInstruction.add.s32!, "s32", place.first, i);
      // Fewer rows than lanes: lanes beyond repeat the block's last row.
      const own = b.op(
        binaryInstruction.min.s32!,
        "s32",
        place.lane,
        Math.min(31, this.shape.blockRows - 1 - i),
      );
      const scope = this.#tile.child();
      this.#bindRow(scope, this.#clampedRow(b.op(binaryInstruction.add.s32!, "s32", at, own)));
      firsts.push(scope.index(bounds.first));
      ends.push(scope.index(bounds.end));
    }
    const first = warpReduce(b, "min", combineAll(b, "min", firsts));
    const last = warpReduce(b, "max", combineAll(b, "max", ends));
    const begin = b.op(binaryInstruction.max.s32!, "s32", first, 0);
    const end = b.op(binaryInstruction.min.s32!, "s32", last, this.#tile.index(extents.k));
    const length = b.op(binaryInstruction.sub.s32!, "s32", end, begin);
    const padded = b.op(binaryInstruction.add.s32!, "s32", length, this.shape.tileKeys - 1);
    const steps = b.op(binaryInstruction.shr.s32!, "s32", padded, Math.log2(this.shape.tileKeys));
    return { begin, end, steps };
  }

  /** Zeros beyond the depth keep padded products at zero. */
  #depthSide(along: Expr, extent: Expr): TileSide {
    const size = Math.ceil(constValue(extent)! / 4) * 4;
    return {
      coord: along,
      size,
      origin: null,
      extent: size === constValue(extent) ? null : extent,
      multiple: size,
    };
  }

  #lanes(value: Expr, along: Expr, extent: Expr): number {
    return tileLanes(
      value,
      along,
      widestLanes(this.#desc.operands, [value], [], along, extent),
      constValue(extent)!,
    );
  }

  #copyQueries(place: AttentionPlace): void {
    const { queries, d, extents } = this.#desc;
    const extent = attentionRows(this.#desc);
    const rows: TileSide = {
      coord: coord("packed row", extent),
      size: this.shape.blockRows,
      origin: place.first,
      extent,
      clamp: true,
      multiple: 1,
    };
    const copy = new TileCopy(
      this.#tile,
      {
        value: cast(queries, "f32"),
        rows,
        columns: this.#depthSide(d, extents.d),
        stride: this.shape.depth,
        threads: this.shape.threads,
        lanes: this.#lanes(queries, d, extents.d),
        loop: "none",
        bindRow: (scope, row) => this.#bindRow(scope, row),
      },
      this.#queries,
      this.#queries,
    );
    copy.load(this.#queries, place.shared);
    copy.store(this.#queries, place.shared);
  }

  #copyTiles(next: Value, write: Value, end: Value, stage: Block, store: Block): void {
    const { keys, values, k, d, e, extents } = this.#desc;
    const rows: TileSide = {
      coord: k,
      size: this.shape.tileKeys,
      origin: next,
      extent: end,
      multiple: 1,
    };
    const { threads, strideK, strideV, tileKeys } = this.shape;
    const copies = [
      { value: keys, along: d, extent: extents.d, stride: strideK, offset: 0 },
      {
        value: values,
        along: e,
        extent: extents.e,
        stride: strideV,
        offset: tileKeys * strideK * 4,
      },
    ];
    for (const { value, along, extent, stride, offset } of copies) {
      const spec = {
        value: cast(value, "f32"),
        rows,
        columns: this.#depthSide(along, extent),
        stride,
        threads,
        lanes: this.#lanes(value, along, extent),
        loop: "rows",
      } as const;
      const copy = new TileCopy(this.#tile, spec, this.#setup, stage);
      const base = (block: Block): Value =>
        offset === 0
          ? write
          : this.#b.into(block, () => this.#b.op(binaryInstruction.add.s32!, "s32", write, offset));
      copy.load(stage, base(stage));
      if (copy.throughRegisters) copy.store(store, base(store));
    }
  }

  #row(place: AttentionPlace, index: number): AttentionRow {
    const b = this.#b;
    const local = b.op("mad.lo.s32", "s32", place.row, this.#config.rows, index);
    const row = b.op(binaryInstruction.add.s32!, "s32", place.first, local);
    const scope = this.#tile.child({ block: this.#setup });
    this.#bindRow(scope, this.#clampedRow(row));
    const max = b.op(ptx.move("f32"), "f32", minusInfinity);
    const sum = b.op(ptx.move("f32"), "f32", "0f00000000");
    const acc = Array.from({ length: this.shape.run * this.shape.groups }, () =>
      b.op(ptx.move("f32"), "f32", "0f00000000"),
    );
    return { scope, inside: below(this.#root, row, attentionRows(this.#desc)), max, sum, acc };
  }

  #otherSlot(slot: Value, slots: Value): Value {
    const b = this.#b;
    const isFirst = b.op(ptx.setp("eq", "s32"), "pred", slot, slots);
    const second = b.op(binaryInstruction.add.s32!, "s32", slots, this.shape.slot);
    return b.op(ptx.select("s32"), "s32", second, slots, isFirst);
  }

  #compute(
    place: AttentionPlace,
    rows: readonly AttentionRow[],
    loop: { next: Value; write: Value; end: Value },
    block: Block,
  ): void {
    const b = this.#b;
    const { stages } = this.#config;
    const read = stages === 2 ? this.#otherSlot(loop.write, place.slots) : loop.write;
    const local = b.op("mad.lo.s32", "s32", place.key, 32, place.lane);
    const behind = b.op(
      binaryInstruction.sub.s32!,
      "s32",
      loop.next,
      this.shape.tileKeys * (stages - 1),
    );
    const key = b.op(binaryInstruction.add.s32!, "s32", behind, local);
    const inside = b.op(ptx.setp("lt", "s32"), "pred", key, loop.end);
    const keyScope = this.#tile.child({ block, guard: [inside] }).bind(this.#desc.k, key);
    const dots = scoreDots(b, this.shape, place, read, local, rows.length);
    const corrections = rows.map((row, i) => {
      const scaled = b.op(
        binaryInstruction.mul.f32!,
        "f32",
        dots[i]!,
        immediate(Math.fround(this.#desc.scale), "f32"),
      );
      const scope = keyScope
        .child({ block, also: [row.scope] })
        .bind(param("score", "f32"), scaled);
      const score = scope.value(this.#desc.score);
      const masked = b.op(ptx.select("f32"), "f32", score, minusInfinity, inside);
      return softmaxStep(b, row, masked);
    });
    storeWeights(
      b,
      place,
      corrections.map(({ weight }) => weight),
    );
    rows.forEach((row, i) => {
      for (const acc of row.acc)
        b.line(binaryInstruction.mul.f32!, acc, acc, corrections[i]!.correction);
    });
    weighValues(b, this.shape, place, read, rows);
  }

  /** Divides by the sum (a row masked everywhere is zero) and stores. */
  #finish(place: AttentionPlace, row: AttentionRow, block: Block): void {
    const b = this.#b;
    const { run, groups } = this.shape;
    const { e, extents, stores } = this.#desc;
    const empty = b.op(ptx.setp("eq", "f32"), "pred", row.sum, "0f00000000");
    const results = row.acc.map((acc) => {
      const quotient = b.op(binaryInstruction.div.f32!, "f32", acc, row.sum);
      return b.op(ptx.select("f32"), "f32", "0f00000000", quotient, empty);
    });
    const rowScope = row.scope.child({ block, guard: [row.inside] });
    for (let group = 0; group < groups; group++) {
      const own = b.op("mad.lo.s32", "s32", place.lane, run, group * 32 * run);
      const size = constValue(extents.e)!;
      const whole = (group + 1) * 32 * run <= size;
      const count = size % run === 0 ? 1 : run;
      const guard = whole
        ? null
        : Array.from({ length: count }, (_, lane) =>
            b.op(ptx.setp("lt", "s32"), "pred", own, size - lane),
          );
      const column = this.#tile
        .child({ block, lanes: run, guard })
        .bind(e, own, { step: 1, multiple: run });
      const scope = rowScope.child({ block, also: [column], lanes: run });
      scope.bindLanes(param("acc", "f32"), results.slice(group * run, (group + 1) * run));
      emitStores(scope, stores);
    }
  }
}
