/** Rows of a box, one to a warp or to a thread: what templates that walk an axis have in common. */
import type { AlongDesc } from "../../kernel/desc-along.js";
import type { Target } from "../../kernel/target.js";
import type { Launch } from "../../kernel/family.js";
import { one } from "../../scalar/build.js";
import type { Block, Value } from "./builder.js";
import { Scope } from "./expr.js";
import { below, bindBox, blockOffset, blocksOf, extentValue, volume } from "./geometry.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { PtxKernel } from "./kernel.js";

export interface RowsConfig {
  readonly threads: number;
  /** 1 or 32. */
  readonly rowThreads: number;
}

/** The holes of every such template besides the kernel's header. */
export type RowsView = {
  readonly index: string[];
  readonly outside: string;
  readonly row: string[];
  readonly body: string[];
  readonly position: string;
  readonly extent: string;
};

/** A kernel with its row's coordinates bound, and a position along the axis. */
export class RowKernel {
  readonly kernel: PtxKernel;
  readonly row: Scope;
  /** The text of one step along the axis. */
  readonly body: Block;
  /** First element of the step: the same in all threads of a row. */
  readonly position: Value;
  readonly lane: Value;
  readonly #desc: AlongDesc;
  readonly #config: RowsConfig;
  readonly #index: Block;
  readonly #rowText: Block;
  readonly #outside: Value;

  constructor(desc: AlongDesc, config: RowsConfig, target: Target) {
    this.#desc = desc;
    this.#config = config;
    this.kernel = new PtxKernel(desc.operands, target);
    const { b } = this.kernel;
    this.#index = this.kernel.section();
    this.#rowText = this.kernel.section();
    this.body = this.kernel.section();
    const root = Scope.root(this.kernel);
    this.row = root.child({ block: this.#rowText });
    this.position = b.reg("s32");
    const { threads, rowThreads } = config;
    const thread = this.kernel.special("%tid.x");
    [this.#outside, this.lane] = b.into(this.#index, () => {
      const own = rowThreads === 1 ? thread : b.op("shr.u32", "s32", thread, Math.log2(rowThreads));
      const first = blockOffset(root, "x", threads / rowThreads);
      const flat = b.op(binaryInstruction.add.s32!, "s32", first, own);
      const axes = desc.coords.map((coord, i) => ({ coord, extent: desc.extents[i]! }));
      bindBox(this.row, flat, axes);
      const inside = below(root, flat, volume(desc.extents));
      const lane = b.op("and.b32", "s32", thread, rowThreads - 1);
      return [b.op("not.pred", "pred", inside), lane] as const;
    });
  }

  /** This thread's element of the step, and whether it exists. */
  element(reverse: boolean): { readonly at: Value; readonly inside: Value } {
    const { b } = this.kernel;
    return b.into(this.body, () => {
      const place = b.op(binaryInstruction.add.s32!, "s32", this.position, this.lane);
      const extent = this.#extent();
      const inside = b.op(ptx.setp("lt", "s32"), "pred", place, extent);
      if (!reverse) return { at: place, inside };
      const last = b.op(binaryInstruction.sub.s32!, "s32", extent, 1);
      return { at: b.op(binaryInstruction.sub.s32!, "s32", last, place), inside };
    });
  }

  #extent(): Value {
    const { b } = this.kernel;
    return b.into(this.kernel.entry, () =>
      b.inRegister(extentValue(this.row, this.#desc.axisExtent, "s32")),
    );
  }

  /** Everything but what a family adds. Only now: later text may still add to earlier blocks. */
  view(): RowsView {
    const extent = this.#extent().text;
    return {
      index: this.#index.lines(),
      outside: this.#outside.text,
      row: this.#rowText.lines(),
      body: this.body.lines(),
      position: this.position.text,
      extent,
    };
  }

  launch(): Launch & { kind: "gpu" } {
    const { threads, rowThreads } = this.#config;
    const grid = blocksOf(volume(this.#desc.extents), threads / rowThreads);
    return { kind: "gpu", grid: [grid, one, one], threads, sharedBytes: 0 };
  }
}
