/** The body of an IEEE f32 gemm kernel on ordinary arithmetic units: see `templates/gemm/sm80-simt.ts`. */
import type { GemmDesc } from "../../kernel/desc.js";
import type { PackedLayout } from "../../kernel/packing.js";
import type { Target } from "../../kernel/target.js";
import { ceilDiv, constValue, int, param } from "../../scalar/build.js";
import { alignmentOf } from "../affine.js";
import { vector, type Block, type PtxBuilder, type Value } from "./builder.js";
import { Scope } from "./expr.js";
import { below, bindBox, blockOffset, endWithoutRows, extentValue } from "./geometry.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { PtxKernel, sharedSymbol } from "./kernel.js";
import { emitStores } from "./memory.js";
import { bindStatistics, emitRowStatistics } from "./row-statistics.js";
import { TileCopy, tileLanes, type TileSide } from "./stage.js";
import {
  elementOfB,
  gemmShape,
  gemmThreads,
  groupThreads,
  lanesOfB,
  type GemmShape,
  type SimtGemmConfig,
  type SimtGemmView,
} from "./simt-gemm-shape.js";
import { widestLanes } from "./widest.js";

export class SimtGemm {
  readonly kernel: PtxKernel;
  readonly shape: GemmShape;
  readonly #desc: GemmDesc;
  readonly #config: SimtGemmConfig;
  readonly #layout: PackedLayout;
  readonly #b: PtxBuilder;
  readonly #root: Scope;
  readonly #index: Block;
  readonly #statistics: Block;
  readonly #setup: Block;
  readonly #tile: Scope;
  readonly #accumulators: Value[][];
  readonly #lanesB: number;

  constructor(desc: GemmDesc, config: SimtGemmConfig, target: Target) {
    this.#desc = desc;
    this.#config = config;
    this.#layout = target.packing(desc.dtype);
    this.kernel = new PtxKernel(desc.operands, target);
    this.#b = this.kernel.b;
    this.#root = Scope.root(this.kernel);
    this.#index = this.kernel.section();
    this.#statistics = this.kernel.section();
    this.#setup = this.kernel.section();
    this.#tile = this.#root.child({ block: this.#index });
    this.#accumulators = Array.from({ length: config.tm }, () => this.#b.regs("f32", config.tn));
    this.#lanesB = lanesOfB(desc, config);
    this.shape = gemmShape(desc, config, this.#lanesB);
  }

  emit(): SimtGemmView {
    const { bm, bn, groups, stages, tm, tn } = this.#config;
    const b = this.#b;
    const { m0, n0, shared } = b.into(this.#index, () => this.#origin(bm, bn));
    const statistics = this.#shifted(shared, this.shape.statistics);
    if (this.#desc.stages.length > 0) this.#computeStatistics(m0, statistics);
    const [stage, compute, store] = [
      this.kernel.section(),
      this.kernel.section(),
      this.kernel.section(),
    ];
    const [next, write, step] = [b.reg("s32"), b.reg("s32"), b.reg("s32")];
    const a = this.#copyA(m0, next, statistics, stage);
    const tileB = this.#copyB(n0, next, stage);
    const place = b.into(this.#setup, () => this.#place());
    b.into(this.#setup, () => {
      b.line(ptx.move("s32"), next, 0);
      b.line(ptx.move("s32"), write, shared);
      b.line(ptx.move("s32"), step, -(stages - 1));
      this.#accumulators.flat().forEach((acc) => b.line(ptx.move("f32"), acc, "0f00000000"));
    });
    b.into(stage, () => {
      a.load(stage, write);
      tileB.load(stage, this.#shifted(write, this.shape.bytesA, stage));
    });
    b.into(compute, () => this.#multiply(place, write, shared));
    a.store(store, write);
    tileB.store(store, this.#shifted(write, this.shape.bytesA, store));
    b.into(store, () => this.#advance(next, write, shared));
    const steps = b.into(this.#setup, () =>
      extentValue(this.#root, ceilDiv(this.#desc.kExtent, int(this.shape.depth)), "s32"),
    );
    const { give, take, other } = this.#merge(place, shared, groups, tm * tn);
    const epilogue = this.kernel.section();
    this.#epilogue(epilogue, m0, n0, statistics, place);
    return {
      index: this.#index.lines(),
      normalised: this.#desc.stages.length > 0,
      statistics: this.#statistics.lines(),
      setup: this.#setup.lines(),
      started: b.reg("pred").text,
      step: step.text,
      pending: stages - 2,
      stage: stage.lines(),
      compute: compute.lines(),
      store: store.lines(),
      more: b.reg("pred").text,
      steps: steps.text,
      split: groups > 1,
      give: give.lines(),
      other: other.text,
      take: take.lines(),
      epilogue: epilogue.lines(),
    };
  }

  /** First row and column of the block's tile; binds the batch. */
  #origin(bm: number, bn: number): { m0: Value; n0: Value; shared: Value } {
    const axes = this.#desc.batch.map((each, i) => ({
      coord: each,
      extent: this.#desc.batchExtents[i]!,
    }));
    if (axes.length > 0) bindBox(this.#tile, this.kernel.special("%ctaid.z"), axes);
    const shared = this.#b.op("mov.u32", "s32", sharedSymbol);
    const m0 = blockOffset(this.#root, "x", bm);
    if (this.#desc.rows !== undefined) endWithoutRows(this.#tile, m0, this.#desc.rows);
    return { m0, n0: blockOffset(this.#root, "y", bn), shared };
  }

  #shifted(base: Value, bytes: number, block: Block = this.#index): Value {
    return this.#b.into(block, () => this.#b.op(binaryInstruction.add.s32!, "s32", base, bytes));
  }

  #computeStatistics(m0: Value, shared: Value): void {
    const { stages, k, kExtent, m, mExtent, operands } = this.#desc;
    const b = this.#b;
    emitRowStatistics(
      this.#tile,
      {
        stages,
        axis: k,
        extent: kExtent,
        shared,
        lanes: Math.max(
          1,
          widestLanes(
            operands,
            stages.map((stage) => stage.body),
            [],
            k,
            kExtent,
          ),
        ),
        rows: this.#config.bm,
        warps: Math.ceil(gemmThreads(this.#config) / 32),
        bindRow: (scope, local) => {
          const row = b.op(binaryInstruction.add.s32!, "s32", m0, local);
          const last = b.op(
            binaryInstruction.sub.s32!,
            "s32",
            extentValue(this.#root, mExtent, "s32"),
            1,
          );
          scope.bind(m, b.op(binaryInstruction.min.s32!, "s32", row, last));
        },
      },
      this.#statistics,
    );
  }

  #kSide(next: Value): TileSide {
    const { k, kExtent } = this.#desc;
    return {
      coord: k,
      size: this.shape.depth,
      origin: next,
      extent: kExtent,
      multiple: this.shape.depth,
    };
  }

  #copyA(m0: Value, next: Value, statistics: Value, stage: Block): TileCopy {
    const { a, m, mExtent, k, kExtent, operands, stages } = this.#desc;
    const { bm } = this.#config;
    const whole = (constValue(mExtent) ?? 1) % bm === 0;
    const rows: TileSide = {
      coord: m,
      size: bm,
      origin: m0,
      extent: whole ? null : mExtent,
      clamp: true,
      multiple: bm,
    };
    return new TileCopy(
      this.#tile,
      {
        value: a,
        rows,
        columns: this.#kSide(next),
        stride: this.shape.strideA,
        threads: gemmThreads(this.#config),
        loop: "columns",
        lanes: tileLanes(a, k, widestLanes(operands, [a], [], k, kExtent), this.shape.depth),
        bindRow: (scope, _, local) => bindStatistics(scope, stages, statistics, bm, local),
      },
      this.#setup,
      stage,
    );
  }

  #copyB(n0: Value, next: Value, stage: Block): TileCopy {
    const { bn } = this.#config;
    const { value, column, extent } = elementOfB(this.#desc, this.#layout);
    const whole =
      (constValue(extent) ?? 1) % bn === 0 ||
      (this.#desc.b.kind === "packed" && this.#layout.columns % bn === 0);
    const columns: TileSide = {
      coord: column,
      size: bn,
      origin: n0,
      extent: whole ? null : extent,
      multiple: bn,
    };
    return new TileCopy(
      this.#tile,
      {
        value,
        rows: this.#kSide(next),
        columns,
        stride: this.shape.strideB,
        threads: gemmThreads(this.#config),
        lanes: this.#lanesB,
        loop: "rows",
      },
      this.#setup,
      stage,
    );
  }

  /** Where this thread's part of the tile is. */
  #place(): Place {
    const b = this.#b;
    const { bn, tn, groups } = this.#config;
    const tid = this.kernel.special("%tid.x");
    const size = groupThreads(this.#config);
    const group = groups === 1 ? null : b.op("div.u32", "s32", tid, size);
    const inGroup = groups === 1 ? tid : b.op("rem.u32", "s32", tid, size);
    const tx = b.op("rem.u32", "s32", inGroup, bn / tn);
    const ty = b.op("div.u32", "s32", inGroup, bn / tn);
    return { group, inGroup, tx, ty };
  }

  #multiply(place: Place, write: Value, shared: Value): void {
    const b = this.#b;
    const { bk, bm, bn, tm, tn, stages } = this.#config;
    const { strideA, strideB, slot, bytesA } = this.shape;
    // The slot after the one being filled is the oldest.
    const after = b.op(binaryInstruction.add.s32!, "s32", write, slot);
    const end = b.op(binaryInstruction.add.s32!, "s32", shared, slot * stages);
    const wraps = b.op(ptx.setp("eq", "s32"), "pred", after, end);
    const read = b.op(ptx.select("s32"), "s32", shared, after, wraps);
    let fromA = b.op("mad.lo.s32", "s32", place.ty, strideA * 4, read);
    let fromB = b.op("mad.lo.s32", "s32", place.tx, 16, read);
    if (place.group !== null) {
      fromA = b.op("mad.lo.s32", "s32", place.group, bk * 4, fromA);
      fromB = b.op("mad.lo.s32", "s32", place.group, bk * strideB * 4, fromB);
    }
    const [rows, columns] = [bm / tm, bn / tn];
    for (let k = 0; k < bk; k += 4) {
      const a = Array.from({ length: tm }, (_, i) =>
        this.#loadFour(fromA, (i * rows * strideA + k) * 4),
      );
      for (let q = 0; q < 4; q++) {
        const row = Array.from({ length: tn / 4 }, (_, j) =>
          this.#loadFour(fromB, bytesA + ((k + q) * strideB + j * columns * 4) * 4),
        ).flat();
        for (let i = 0; i < tm; i++)
          for (let j = 0; j < tn; j++) {
            const acc = this.#accumulators[i]![j]!;
            b.line(ptx.fma.f32!, acc, a[i]![q]!, row[j]!, acc);
          }
      }
    }
  }

  #loadFour(base: Value, offset: number): Value[] {
    const registers = this.#b.regs("f32", 4);
    this.#b.line(ptx.loadShared("f32", 4), vector(registers), `[${base.text}+${offset}]`);
    return registers;
  }

  #advance(next: Value, write: Value, shared: Value): void {
    const b = this.#b;
    const { stages } = this.#config;
    b.line(binaryInstruction.add.s32!, next, next, this.shape.depth);
    const after = b.op(binaryInstruction.add.s32!, "s32", write, this.shape.slot);
    const end = b.op(binaryInstruction.add.s32!, "s32", shared, this.shape.slot * stages);
    const wraps = b.op(ptx.setp("eq", "s32"), "pred", after, end);
    b.line(ptx.select("s32"), write, shared, after, wraps);
  }

  /** Groups give their sums to the first, which adds them in order. */
  #merge(
    place: Place,
    shared: Value,
    groups: number,
    count: number,
  ): { give: Block; take: Block; other: Value } {
    const b = this.#b;
    const [give, take] = [this.kernel.section(), this.kernel.section()];
    if (place.group === null) return { give, take, other: b.reg("pred") };
    const { group, inGroup } = place;
    const size = groupThreads(this.#config);
    const other = b.into(give, () => {
      const own = b.op("mad.lo.s32", "s32", inGroup, 4, shared);
      const at = b.op("mad.lo.s32", "s32", group, size * count * 4, own);
      const isOther = b.op(ptx.setp("ne", "s32"), "pred", group, 0);
      this.#accumulators
        .flat()
        .forEach((acc, i) =>
          b.lineIf(
            isOther,
            ptx.storeShared("f32", 1),
            `[${at.text}+${(i - count) * size * 4}]`,
            acc,
          ),
        );
      return isOther;
    });
    b.into(take, () => {
      const own = b.op("mad.lo.s32", "s32", inGroup, 4, shared);
      this.#accumulators.flat().forEach((acc, i) => {
        for (let from = 0; from < groups - 1; from++) {
          const part = b.op(
            ptx.loadShared("f32", 1),
            "f32",
            `[${own.text}+${(from * count + i) * size * 4}]`,
          );
          b.line(binaryInstruction.add.f32!, acc, acc, part);
        }
      });
    });
    return { give, take, other };
  }

  #epilogue(block: Block, m0: Value, n0: Value, statistics: Value, place: Place): void {
    const b = this.#b;
    const { m, mExtent, stages, stores } = this.#desc;
    const { bm, bn, tm, tn } = this.#config;
    const rows = Array.from({ length: tm }, (_, i) =>
      b.into(block, () => {
        const local = b.op(binaryInstruction.add.s32!, "s32", place.ty, i * (bm / tm));
        const row = b.op(binaryInstruction.add.s32!, "s32", m0, local);
        const whole = (constValue(mExtent) ?? 1) % bm === 0;
        const scope = this.#tile
          .child({ block, guard: whole ? null : [below(this.#root, row, mExtent)] })
          .bind(m, row);
        bindStatistics(scope, stages, statistics, bm, local);
        return scope;
      }),
    );
    for (let j = 0; j < tn / 4; j++) {
      const column = b.into(block, () => this.#column(block, n0, place.tx, j * (bn / tn) * 4));
      rows.forEach((row, i) => {
        const scope = column.child({ block, also: [row] });
        const acc = this.#accumulators[i]!.slice(4 * j, 4 * j + 4);
        const { group } = this.#desc;
        for (let part = 0; part < group; part++)
          scope.bindLanes(
            param(`acc${part}`, "f32"),
            acc.filter((_, lane) => lane % group === part),
          );
        emitStores(scope, stores);
      });
    }
  }

  /** The scope of four neighbouring physical columns. */
  #column(block: Block, n0: Value, tx: Value, shift: number): Scope {
    const b = this.#b;
    const { n, nExtent, group } = this.#desc;
    const { bn } = this.#config;
    const lanes = 4 / group;
    const first = b.op(
      binaryInstruction.add.s32!,
      "s32",
      b.op("mad.lo.s32", "s32", tx, 4, n0),
      shift,
    );
    const column = group === 1 ? first : b.op("shr.u32", "s32", first, 1);
    const whole = (constValue(nExtent) ?? 1) % (bn / group) === 0;
    // Where runs end with the matrix one predicate serves a run, else each lane has its own.
    const aligned = alignmentOf(nExtent, lanes) === lanes;
    const guard = whole
      ? null
      : Array.from({ length: aligned ? 1 : lanes }, (_, lane) =>
          below(
            this.#root,
            lane === 0 ? column : b.op(binaryInstruction.add.s32!, "s32", column, lane),
            nExtent,
          ),
        );
    return this.#tile.child({ block, lanes, guard }).bind(n, column, { step: 1, multiple: lanes });
  }
}

interface Place {
  /** Which group of threads; null where there is one. */
  readonly group: Value | null;
  readonly inGroup: Value;
  readonly tx: Value;
  readonly ty: Value;
}
