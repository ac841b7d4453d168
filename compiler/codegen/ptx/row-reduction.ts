/** The body of a reduce kernel: stages over the axis, then stores. See `templates/reduce/sm80.ts`. */
import { rawName, type ReduceDesc, type Stage } from "../../kernel/desc.js";
import type { Target } from "../../kernel/target.js";
import { constValue, div, int, param } from "../../scalar/build.js";
import { rangeOf } from "../../scalar/range.js";
import { convertRegister } from "./arithmetic.js";
import type { Block, PtxBuilder, Value } from "./builder.js";
import { Scope } from "./expr.js";
import { below, bindBox, blockOffset, extentValue, volume } from "./geometry.js";
import { binaryInstruction, machineType, ptx } from "./instructions.js";
import { PtxKernel, sharedSymbol } from "./kernel.js";
import { emitStores } from "./memory.js";
import { blockReduce, combine, combineAll, identity, warpReduce } from "./reduction.js";

export interface RowConfig {
  readonly layout: "rows" | "columns";
  readonly threads: number;
  readonly rowThreads: number;
  readonly lanes: number;
  readonly chunks: number;
}

/** One walk along the axis. */
type Pass = {
  readonly before: string[];
  readonly looped: boolean;
  readonly head: string;
  readonly tail: string;
  readonly finished: string;
  readonly position: string;
  readonly extent: string;
  readonly stride: number;
  readonly body: string[];
  readonly after: string[];
};

/** Holes of `reduce/sm80.ptx.hbs` besides the kernel's header. */
type ReduceView = {
  readonly index: string[];
  readonly ragged: boolean;
  readonly outside: string;
  readonly row: string[];
  readonly passes: Pass[];
  readonly rowStores: string[];
};

interface Walk {
  readonly before: Block;
  readonly body: Block;
  readonly after: Block;
  readonly position: Value;
  readonly label: string;
}

/** A step along the axis: its scope, and the predicate of being inside (null: always). */
interface Chunk {
  readonly scope: Scope;
  readonly inside: Value | null;
}

export class RowReduction {
  readonly kernel: PtxKernel;
  readonly sharedBytes: number;
  readonly #desc: ReduceDesc;
  readonly #config: RowConfig;
  readonly #b: PtxBuilder;
  readonly #root: Scope;
  #chunks: Chunk[] | null = null;

  constructor(desc: ReduceDesc, config: RowConfig, target: Target) {
    this.#desc = desc;
    this.#config = config;
    this.kernel = new PtxKernel(desc.operands, target);
    this.#b = this.kernel.b;
    this.#root = Scope.root(this.kernel);
    this.sharedBytes =
      config.rowThreads > 32 ? desc.stages.length * 8 * (config.rowThreads / 32) : 0;
  }

  emit(): ReduceView {
    const index = this.kernel.section();
    const row = this.kernel.section();
    const { layout, lanes, threads, rowThreads } = this.#config;
    const columns = layout === "columns";
    let scope = this.#root.child({ block: row, lanes: columns ? lanes : 1 });
    const outside = this.#b.into(index, () => this.#bindRow(scope));
    const walks: Walk[] = [];
    this.#desc.stages.forEach((stage, i) => {
      const walk = this.#walk(i);
      scope = this.#stage(scope, stage, i, walk);
      walks.push(walk);
    });
    if (this.#desc.elementStores.length > 0) {
      const walk = this.#walk(this.#desc.stages.length);
      for (const chunk of this.#steps(scope, walk))
        emitStores(chunk.scope, this.#desc.elementStores);
      walks.push(walk);
    }
    const rowStores = this.kernel.section();
    this.#storeRows(scope, rowStores);
    const rows = volume(this.#desc.extents);
    const blockRows = columns ? threads * lanes : threads / rowThreads;
    const count = constValue(rows);
    const ragged = blockRows > 1 && (count === null || count % blockRows !== 0);
    // Only now: later walks add to the text of earlier ones what they share with them.
    const passes = walks.map((walk) => this.#pass(walk));
    return {
      index: index.lines(),
      ragged,
      outside: outside.text,
      row: row.lines(),
      passes,
      rowStores: rowStores.lines(),
    };
  }

  /** Binds the row coordinates; returns the predicate of rows beyond the box. */
  #bindRow(scope: Scope): Value {
    const { layout, threads, rowThreads, lanes } = this.#config;
    const b = this.#b;
    const tid = this.kernel.special("%tid.x");
    const columns = layout === "columns";
    const perBlock = columns ? threads : threads / rowThreads;
    const first = blockOffset(this.#root, "x", perBlock);
    const own = columns
      ? tid
      : rowThreads === threads
        ? null
        : b.op("shr.u32", "s32", tid, Math.log2(rowThreads));
    const flat = own === null ? first : b.op(binaryInstruction.add.s32!, "s32", first, own);
    const last = this.#desc.coords.length - 1;
    bindBox(
      scope,
      flat,
      this.#desc.coords.map((coord, i) => ({
        coord,
        extent: this.#desc.extents[i]!,
        unit: columns && i === last ? lanes : 1,
        step: columns && i === last ? 1 : 0,
      })),
    );
    const inside = below(
      this.#root,
      flat,
      div(volume(this.#desc.extents), int(columns ? lanes : 1)),
    );
    return b.op("not.pred", "pred", inside);
  }

  #walk(index: number): Walk {
    const [before, body, after] = [
      this.kernel.section(),
      this.kernel.section(),
      this.kernel.section(),
    ];
    return { before, body, after, position: this.#b.reg("s32"), label: `PASS${index}` };
  }

  #pass(walk: Walk): Pass {
    const { chunks, rowThreads, lanes, layout } = this.#config;
    const extent = this.#b.into(walk.before, () =>
      extentValue(this.#root, this.#desc.axisExtent, "s32"),
    );
    return {
      before: walk.before.lines(),
      looped: chunks === 0,
      head: `${walk.label}_HEAD`,
      tail: `${walk.label}_TAIL`,
      finished: this.#b.reg("pred").text,
      position: walk.position.text,
      extent: extent.text,
      stride: layout === "columns" ? 1 : rowThreads * lanes,
      body: walk.body.lines(),
      after: walk.after.lines(),
    };
  }

  /** First axis position of this thread. */
  #start(): Value | 0 {
    const { layout, rowThreads, threads, lanes } = this.#config;
    if (layout === "columns") return 0;
    const tid = this.kernel.special("%tid.x");
    const b = this.#b;
    const inRow = rowThreads === threads ? tid : b.op("and.b32", "s32", tid, rowThreads - 1);
    return lanes === 1 ? inRow : b.op(binaryInstruction.mul.s32!, "s32", inRow, lanes);
  }

  /** The steps of a walk: all of them where unrolled (the same in every walk), else the loop's one. */
  #steps(row: Scope, walk: Walk): Chunk[] {
    const { chunks, lanes, layout } = this.#config;
    const axisLanes = layout === "columns" ? 0 : lanes;
    if (chunks === 0) {
      this.#b.into(walk.before, () => {
        const start = this.#start();
        this.#b.line(ptx.move("s32"), walk.position, start === 0 ? "0" : start);
      });
      const scope = row.child({ block: walk.body, lanes });
      scope.bind(this.#desc.axis, walk.position, {
        step: axisLanes > 0 ? 1 : 0,
        multiple: Math.max(1, axisLanes),
      });
      return [{ scope, inside: null }];
    }
    this.#chunks ??= this.#unrolled(row, walk);
    return this.#chunks.map(({ scope, inside }) => ({
      scope: scope.child({ block: walk.body, also: [row] }),
      inside,
    }));
  }

  #unrolled(row: Scope, walk: Walk): Chunk[] {
    const { chunks, lanes, layout, rowThreads } = this.#config;
    const b = this.#b;
    const columns = layout === "columns";
    const unit = columns ? 1 : lanes;
    const stride = columns ? 1 : rowThreads * lanes;
    const sure = rangeOf(this.#desc.axisExtent).min;
    return b.into(walk.body, () => {
      const start = this.#start();
      return Array.from({ length: chunks }, (_, i) => {
        const position =
          start === 0
            ? b.op(ptx.move("s32"), "s32", i)
            : i === 0
              ? start
              : b.op(binaryInstruction.add.s32!, "s32", start, i * stride);
        const inside =
          (i + 1) * stride <= sure ? null : below(this.#root, position, this.#desc.axisExtent);
        const scope = row.child({
          block: walk.body,
          lanes,
          guard: inside === null ? null : [inside],
        });
        scope.bind(this.#desc.axis, position, { step: columns ? 0 : 1, multiple: unit });
        return { scope, inside };
      });
    });
  }

  /** Computes one stage: returns the scope in which its value is bound. */
  #stage(row: Scope, stage: Stage, index: number, walk: Walk): Scope {
    const b = this.#b;
    const type = machineType[stage.body.type]!;
    const { lanes, layout } = this.#config;
    const neutral = identity(stage.kind, type);
    const sums = b.regs(type, lanes);
    b.into(walk.before, () => sums.forEach((sum) => b.line(ptx.move(type), sum, neutral)));
    for (const { scope, inside } of this.#steps(row, walk))
      for (let lane = 0; lane < lanes; lane++) {
        const raw = scope.value(stage.body, lane);
        b.into(walk.body, () => {
          const value = convertRegister(b, raw, type);
          const counted =
            inside === null ? value : b.op(ptx.select(type), type, value, neutral, inside);
          b.assign(sums[lane]!, combine(b, stage.kind, sums[lane]!, counted));
        });
      }
    const values = b.into(walk.after, () =>
      layout === "columns" ? sums : [this.#across(stage, index, sums)],
    );
    const raw = row
      .child({ block: walk.after })
      .bindLanes(param(rawName(stage.name), stage.body.type), values);
    const finished = Array.from({ length: raw.lanes }, (_, lane) => raw.value(stage.finish, lane));
    return raw.child().bindLanes(param(stage.name, stage.finish.type), finished);
  }

  #across(stage: Stage, index: number, sums: readonly Value[]): Value {
    const b = this.#b;
    const { rowThreads } = this.#config;
    const own = warpReduce(b, stage.kind, combineAll(b, stage.kind, sums));
    if (rowThreads === 32) return own;
    const tid = this.kernel.special("%tid.x");
    const warps = rowThreads / 32;
    const lane = b.op("and.b32", "s32", tid, 31);
    return blockReduce(b, stage.kind, own, {
      base: b.op("mov.u32", "s32", sharedSymbol),
      offset: index * 8 * warps,
      warps,
      warp: b.op("shr.u32", "s32", tid, 5),
      first: b.op(ptx.setp("eq", "s32"), "pred", lane, 0),
    });
  }

  #storeRows(row: Scope, block: Block): void {
    if (this.#desc.rowStores.length === 0) return;
    const { layout, rowThreads } = this.#config;
    const guard = this.#b.into(block, () => {
      if (layout === "columns") return null;
      const inRow = this.#b.op("and.b32", "s32", this.kernel.special("%tid.x"), rowThreads - 1);
      return [this.#b.op(ptx.setp("eq", "s32"), "pred", inRow, 0)];
    });
    emitStores(row.child({ block, guard }), this.#desc.rowStores);
  }
}
