/**
 * One of each row for sm_80: a block has a row. The lowest of the `count` largest keys is found by
 * their bits, 11 at a time, counted in shared memory. The mass needs no order: if the nucleus does not
 * hold the best of all, it holds nothing that is not larger, and the search goes on above it. (After
 * the rejection sampling of FlashInfer, with noise that stays the same.)
 */
import type { SampleDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { one, param, rangeOf } from "../../compiler/codegen/expressions.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { convertRegister } from "../../compiler/codegen/ptx/arithmetic.js";
import { address, type Block, type Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope, fits32 } from "../../compiler/codegen/ptx/expr.js";
import { alignmentOf } from "../../compiler/codegen/affine.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import { both } from "../../compiler/codegen/ptx/mma-copy.js";
import {
  type BlockSlots,
  blockReduce,
  combine,
  shuffleUp,
  warpReduce,
} from "../../compiler/codegen/ptx/reduction.js";
import type { View } from "../../compiler/codegen/render.js";
import { sampleBodies, top } from "./bodies.js";

export interface Sm80SampleConfig {
  readonly threads: number;
}

const warp = 32;
/** Neighbours that a thread has at each step of a walk: enough for a load of 16 bytes. */
const lanes = 8;
const bins = 2048;
const binsOfLane = bins / warp;
/** Shared memory: bins, one slot of 8 bytes for each warp and reduction, what the first warp found. */
const slotBytes = 8 * warp;
const reductions = { best: 0, above: 1, top: 2, total: 3 };
const slotsAt = 4 * bins;
const foundAt = slotsAt + slotBytes * Object.keys(reductions).length;
const sharedBytes = foundAt + 16;

function candidates(desc: SampleDesc): readonly Sm80SampleConfig[] {
  if (!fits32(desc.choices) || !fits32(desc.rowExtent)) return [];
  const wide = { threads: 1024 };
  const narrow = { threads: 256 };
  return rangeOf(desc.choices).max > 8192 ? [wide, narrow] : [narrow, wide];
}

/** Registers that the skeleton names. */
interface Registers {
  /** Where a thread's walk begins, and where it is. */
  readonly start: Value;
  readonly at: Value;
  readonly extent: Value;
  readonly least: Value;
  readonly shift: Value;
  readonly wanted: Value;
  readonly span: Value;
  readonly finished: Value;
  /** The same in all threads, which `finished` is not. */
  readonly last: Value;
  /** Not of the first warp. */
  readonly resting: Value;
  /** Where mass limits the row: the largest value, and how much the nucleus has to reach. */
  readonly top: Value;
  readonly goal: Value;
}

class SampleKernel {
  readonly kernel: PtxKernel;
  readonly #b;
  readonly #desc: SampleDesc;
  readonly #threads: number;
  readonly #row: Scope;
  readonly #names: Registers;
  readonly #shared: Value;
  readonly #thread: Value;
  readonly #slots: Omit<BlockSlots, "offset"> & { readonly lane: Value };
  readonly #bodies;
  readonly #texts = new Map<string, Block>();

  constructor(desc: SampleDesc, threads: number, target: Target) {
    this.#desc = desc;
    this.#threads = threads;
    this.#bodies = sampleBodies(desc);
    this.kernel = new PtxKernel(desc.operands, target);
    const { b } = this.kernel;
    this.#b = b;
    this.#row = Scope.root(this.kernel).child({ block: this.text("row") });
    this.#row.bind(desc.row, this.kernel.special("%ctaid.x"));
    this.#thread = this.kernel.special("%tid.x");
    [this.#shared, this.#slots] = b.into(this.kernel.entry, () => {
      const base = b.op("mov.u32", "s32", sharedSymbol);
      const lane = b.op("and.b32", "s32", this.#thread, warp - 1);
      const own = b.op("shr.u32", "s32", this.#thread, 5);
      const first = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
      return [base, { base, warps: threads / warp, warp: own, first, lane }] as const;
    });
    this.#names = {
      start: b.into(this.kernel.entry, () => integer(b, "mul", this.#thread, lanes)),
      at: b.reg("s32"),
      extent: b.into(this.kernel.entry, () =>
        b.inRegister(extentValue(this.#row, desc.choices, "s32")),
      ),
      least: b.reg("u32"),
      shift: b.reg("s32"),
      wanted: b.reg("s32"),
      span: b.reg("u32"),
      finished: b.reg("pred"),
      last: b.reg("pred"),
      resting: b.reg("pred"),
      top: b.reg("f32"),
      goal: b.reg("f32"),
    };
  }

  text(name: string): Block {
    const known = this.#texts.get(name);
    if (known !== undefined) return known;
    const made = this.kernel.section();
    this.#texts.set(name, made);
    return made;
  }

  /** The elements from `at` on, in the text of a walk. */
  #elements(name: string): Scope {
    const block = this.text(name);
    const b = this.#b;
    const { at, extent } = this.#names;
    const whole = alignmentOf(this.#desc.choices, lanes) === lanes;
    const inside = (lane: number): Value =>
      b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", at, lane), extent);
    const guard = whole
      ? null
      : b.into(block, () => Array.from({ length: lanes }, (_, i) => inside(i)));
    return this.#row
      .child({ block, lanes, guard })
      .bind(this.#desc.index, at, { step: 1, multiple: lanes });
  }

  #reduction(name: keyof typeof reductions): BlockSlots {
    return { ...this.#slots, offset: slotsAt + slotBytes * reductions[name] };
  }

  /** Whether the row has a limit of each kind. */
  limits(): Record<"counted" | "limited" | "mass" | "noisy", Value> {
    const { choices, count, mass, noisy } = this.#desc;
    const b = this.#b;
    return b.into(this.text("row"), () => {
      const integer = (expr: Expr): Value =>
        b.inRegister(convertRegister(b, this.#row.value(expr), "s64"));
      const [some, share] = [integer(count), b.inRegister(this.#row.value(mass))];
      const positive = b.op(ptx.setp("gt", "s64"), "pred", some, 0);
      const fewer = b.op(ptx.setp("lt", "s64"), "pred", some, integer(choices));
      b.line("cvt.u32.u64", this.#names.wanted, some);
      const limited = b.op(ptx.setp("lt", "f32"), "pred", share, "0f3F800000");
      return {
        counted: b.op("and.pred", "pred", positive, fewer),
        limited,
        mass: share,
        noisy: b.inRegister(this.#row.value(noisy)),
      };
    });
  }

  /** Empties this thread's bins. */
  clear(): void {
    const b = this.#b;
    b.into(this.text("clear"), () => {
      const own = b.op("mad.lo.s32", "s32", this.#thread, 4, this.#shared);
      const none = b.op("mov.b32", "s32", 0);
      for (let bin = 0; bin < bins; bin += this.#threads)
        b.line(ptx.storeShared("b32", 1), address(own, 4 * bin), none);
    });
  }

  /** Counts the elements whose upper bits are those of `least`. */
  count(): void {
    const b = this.#b;
    const { least, shift, span } = this.#names;
    const elements = this.#elements("counting");
    const keys = elements.values(this.#bodies.key);
    b.into(elements.block, () => {
      const mask = b.op(binaryInstruction.sub.u32!, "u32", span, 1);
      keys.forEach((key, lane) => {
        const differing = b.op("shr.u32", "u32", b.op("xor.b32", "u32", key, least), shift);
        const inPrefix = b.op(ptx.setp("lt", "u32"), "pred", differing, span);
        const digit = b.op("and.b32", "u32", b.op("shr.u32", "u32", key, shift), mask);
        const place = b.op("mad.lo.s32", "s32", digit, 4, this.#shared);
        const counted = both(b, inPrefix, elements.guardOf(lane));
        b.lineIf(counted, ptx.reduceShared("add", "u32"), address(place), 1);
      });
    });
  }

  /** The bin of the `wanted`-th, from above; by the first warp, each lane having 64 bins. */
  search(): void {
    const b = this.#b;
    const { wanted } = this.#names;
    b.into(this.text("search"), () => {
      const fromTop = b.op(binaryInstruction.sub.s32!, "s32", warp - 1, this.#slots.lane);
      const last = b.op("mad.lo.s32", "s32", fromTop, 4 * binsOfLane, this.#shared);
      const at = b.op(binaryInstruction.add.s32!, "s32", last, 4 * (binsOfLane - 1));
      const own = b.op("mov.b32", "s32", 0);
      b.repeat(binsOfLane, () => {
        const held = b.op(ptx.loadShared("b32", 1), "s32", address(at));
        b.line(binaryInstruction.add.s32!, own, own, held);
        b.line(binaryInstruction.sub.s32!, at, at, 4);
      });
      const upTo = b.op("mov.b32", "s32", own);
      for (let distance = 1; distance < warp; distance *= 2) {
        const other = shuffleUp(b, upTo, distance);
        const exists = b.op(ptx.setp("ge", "s32"), "pred", this.#slots.lane, distance);
        b.lineIf(exists, binaryInstruction.add.s32!, upTo, upTo, other);
      }
      const before = b.op(binaryInstruction.sub.s32!, "s32", upTo, own);
      const reached = b.op(ptx.setp("ge", "s32"), "pred", upTo, wanted);
      const open = b.op(ptx.setp("lt", "s32"), "pred", before, wanted);
      const mine = b.op("and.pred", "pred", reached, open);
      // Its bins again: those that end before the wanted one.
      const bin = b.op("mad.lo.s32", "s32", fromTop, binsOfLane, binsOfLane - 1);
      const [found, left] = [b.op("mov.b32", "s32", bin), b.op("mov.b32", "s32", 0)];
      b.line(binaryInstruction.sub.s32!, left, wanted, before);
      const from = b.op("mad.lo.s32", "s32", bin, 4, this.#shared);
      b.repeat(binsOfLane, () => {
        const held = b.op(ptx.loadShared("b32", 1), "s32", address(from));
        const step = b.op("mad.lo.s32", "s32", found, 4, this.#shared);
        const here = b.op(ptx.setp("eq", "s32"), "pred", step, from);
        const less = b.op(ptx.setp("lt", "s32"), "pred", held, left);
        const passed = b.op("and.pred", "pred", here, less);
        b.lineIf(passed, binaryInstruction.sub.s32!, left, left, held);
        b.lineIf(passed, binaryInstruction.sub.s32!, found, found, 1);
        b.line(binaryInstruction.sub.s32!, from, from, 4);
      });
      b.lineIf(
        mine,
        ptx.storeShared("b32", 2),
        address(this.#shared, foundAt),
        `{${found.text}, ${left.text}}`,
      );
    });
  }

  /** The bin that was found, as bits of the key, and how many are still wanted in it. */
  take(): void {
    const b = this.#b;
    const { least, shift, wanted } = this.#names;
    b.into(this.text("take"), () => {
      const [found, left] = [b.reg("u32"), b.reg("u32")];
      b.line(
        ptx.loadShared("b32", 2),
        `{${found.text}, ${left.text}}`,
        address(this.#shared, foundAt),
      );
      b.assign(wanted, left);
      b.line("or.b32", least, least, b.op("shl.b32", "u32", found, shift));
    });
  }

  /** A fold of the elements that are admitted, and its result for all threads. */
  fold(name: keyof typeof reductions, options: FoldOptions): Value {
    const b = this.#b;
    const { kind, begin, known = null, admits } = options;
    const partial = b.reg(options.type);
    b.into(this.text(`${name}Start`), () => b.line(ptx.move(partial.type), partial, begin));
    for (const [step, values] of Object.entries(options.steps)) {
      const elements = this.#elements(step);
      if (known !== null) elements.bind(top, known);
      b.into(elements.block, () => {
        const keys = admits === undefined ? null : elements.values(this.#bodies.key);
        values(elements).forEach((value, lane) => {
          const admitted = keys === null ? null : admits!(b.inRegister(keys[lane]!));
          const folded = combine(b, kind, partial, value);
          const taken = both(b, admitted, elements.guardOf(lane));
          b.lineIf(taken, ptx.move(partial.type), partial, folded);
        });
      });
    }
    return b.into(this.text(`${name}End`), () =>
      blockReduce(b, kind, warpReduce(b, kind, partial), this.#reduction(name)),
    );
  }

  notBelowLeast(key: Value): Value {
    return this.#b.op(ptx.setp("ge", "u32"), "pred", key, this.#names.least);
  }

  /** How many of the softmax's units the nucleus has to reach. */
  goal(mass: Value): void {
    const b = this.#b;
    const { top: known, goal } = this.#names;
    const largest = this.fold("top", {
      type: "f32",
      kind: "max",
      begin: "0fFF800000",
      steps: { topStep: (elements) => elements.values(this.#bodies.value) },
    });
    b.into(this.text("topEnd"), () => b.assign(known, largest));
    const total = this.fold("total", {
      type: "f32",
      kind: "sum",
      begin: "0f00000000",
      known,
      steps: { totalStep: (elements) => elements.values(this.#bodies.weight) },
      admits: (key) => this.notBelowLeast(key),
    });
    b.into(this.text("totalEnd"), () => b.line(binaryInstruction.mul.f32!, goal, mass, total));
  }

  /** The index of the best that may be chosen. */
  best(): Value {
    const b = this.#b;
    // By score, and against the index.
    const first = (elements: Scope, order: Expr): Value[] =>
      elements.values(order).map((value, lane) => {
        const score = b.inRegister(value);
        const against = b.op("not.b32", "u32", integer(b, "add", this.#names.at, lane));
        const pair = b.reg("u64");
        b.raw(`mov.b64 ${pair.text}, {${against.text}, ${score.text}};`);
        return pair;
      });
    const best = this.fold("best", {
      type: "u64",
      kind: "max",
      begin: "0",
      steps: {
        bestStep: (elements) => first(elements, this.#bodies.key),
        noisyStep: (elements) => first(elements, this.#bodies.score),
      },
      admits: (key) => this.notBelowLeast(key),
    });
    return b.into(this.text("bestEnd"), () =>
      b.op("not.b32", "u32", b.op("cvt.u32.u64", "u32", best)),
    );
  }

  /** Whether the nucleus holds the element `chosen`; if not, what may be chosen is above it. */
  accepted(chosen: Value): Value {
    const b = this.#b;
    const { top: known, goal } = this.#names;
    const block = this.text("level");
    const index = b.into(block, () => b.op("mov.b32", "s32", chosen));
    const own = this.#row.child({ block }).bind(this.#desc.index, index);
    const level = b.into(block, () => b.inRegister(own.value(this.#bodies.key)));
    const above = this.fold("above", {
      type: "f32",
      kind: "sum",
      begin: "0f00000000",
      known,
      steps: { aboveStep: (elements) => elements.values(this.#bodies.weight) },
      admits: (key) => b.op(ptx.setp("gt", "u32"), "pred", key, level),
    });
    return b.into(this.text("aboveEnd"), () => {
      const less = b.op(ptx.setp("lt", "f32"), "pred", above, goal);
      const none = b.op(ptx.setp("eq", "f32"), "pred", above, "0f00000000");
      b.line(binaryInstruction.add.u32!, this.#names.least, level, 1);
      return b.op("or.pred", "pred", less, none);
    });
  }

  stores(chosen: Value): void {
    const b = this.#b;
    const block = this.text("stores");
    const guard = b.into(block, () => b.op(ptx.setp("eq", "s32"), "pred", this.#thread, 0));
    const wide = b.into(block, () => b.op("cvt.u64.u32", "s64", chosen));
    const scope = this.#row.child({ block, guard: [guard] });
    emitStores(scope.bind(param("chosen", "i64"), wide), this.#desc.stores);
  }

  view(): View {
    const names = Object.entries(this.#names).map(([name, { text }]) => [name, text] as const);
    const texts = [...this.#texts].map(([name, block]) => [name, block.lines()] as const);
    return {
      ...Object.fromEntries<string | string[]>([...texts, ...names]),
      thread: this.#thread.text,
      step: lanes * this.#threads,
    };
  }
}

interface FoldOptions {
  readonly type: "f32" | "u64";
  readonly kind: "sum" | "max";
  readonly begin: string;
  /** The row's largest value, where weights are taken from it. */
  readonly known?: Value;
  /** Texts of a walk's step: what each element brings. */
  readonly steps: Readonly<Record<string, (elements: Scope) => readonly Value[]>>;
  readonly admits?: (key: Value) => Value;
}

function render(desc: SampleDesc, { threads }: Sm80SampleConfig, target: Target): KernelText {
  const sample = new SampleKernel(desc, threads, target);
  const { mass, ...conditions } = sample.limits();
  sample.clear();
  sample.count();
  sample.search();
  sample.take();
  sample.goal(mass);
  const chosen = sample.best();
  const accepted = sample.accepted(chosen);
  sample.stores(chosen);
  const view = {
    ...sample.view(),
    ...Object.fromEntries(Object.entries(conditions).map(([name, { text }]) => [name, text])),
    accepted: accepted.text,
  };
  const grid = [desc.rowExtent, one, one] as const;
  return sample.kernel.render(
    "sample/sm80.ptx.hbs",
    { kind: "gpu", grid, threads, sharedBytes },
    view,
  );
}

export const sm80Sample: FamilyTemplate<"sample", Sm80SampleConfig> = {
  family: "sample",
  candidates,
  render,
};
