/**
 * Positions sorted by expert for sm_80: one block, a thread for each expert, which walks the positions
 * twice. Their order within an expert is that of the positions, whatever the threads do.
 */
import type { GroupDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { one } from "../../compiler/codegen/expressions.js";
import { address, type PtxBuilder, type Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope, fits32 } from "../../compiler/codegen/ptx/expr.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";

export interface Sm80GroupConfig {
  readonly threads: number;
}

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
interface GroupView {
  readonly count: string;
  readonly position: string;
  readonly extent: string;
  readonly none: string;
  readonly more: string;
  readonly counting: string[];
  readonly publish: string[];
  readonly sum: string[];
  readonly table: string[];
  readonly placing: string[];
}

const mostThreads = 1024;

function candidates(desc: GroupDesc): readonly Sm80GroupConfig[] {
  const threads = Math.ceil(desc.experts / 32) * 32;
  return threads <= mostThreads && fits32(desc.extent) ? [{ threads }] : [];
}

/** Totals over the experts: positions before this one's, experts before it and in all that have any. */
interface Totals {
  readonly start: Value;
  readonly rank: Value;
  readonly present: Value;
}

function totalsOf(b: PtxBuilder, desc: GroupDesc, expert: Value, shared: Value): Totals {
  const [start, rank, present] = [0, 1, 2].map(() => b.op("mov.b32", "s32", 0)) as [
    Value,
    Value,
    Value,
  ];
  const from = b.op("mov.b32", "s32", shared);
  const other = b.op("mov.b32", "s32", 0);
  b.repeat(desc.experts, () => {
    const count = b.op(ptx.loadShared("b32", 1), "s32", address(from));
    const some = b.op(binaryInstruction.min.s32!, "s32", count, 1);
    const before = b.op(ptx.setp("lt", "s32"), "pred", other, expert);
    b.line(binaryInstruction.add.s32!, present, present, some);
    b.lineIf(before, binaryInstruction.add.s32!, start, start, count);
    b.lineIf(before, binaryInstruction.add.s32!, rank, rank, some);
    b.line(binaryInstruction.add.s32!, from, from, 4);
    b.line(binaryInstruction.add.s32!, other, other, 1);
  });
  return { start, rank, present };
}

function render(desc: GroupDesc, { threads }: Sm80GroupConfig, target: Target): KernelText {
  const kernel = new PtxKernel(desc.operands, target);
  const { b } = kernel;
  const [counting, publish, sum, table, placing] = [0, 1, 2, 3, 4].map(() => kernel.section());
  const root = Scope.root(kernel);
  const expert = kernel.special("%tid.x");
  const [count, position] = [b.reg("s32"), b.reg("s32")];
  const extent = b.into(kernel.entry, () => b.inRegister(extentValue(root, desc.extent, "s32")));
  const { experts } = desc;
  const { base } = kernel.operand(desc.target);
  const isOwn = (block: typeof counting): Value =>
    b.into(block!, () => {
      const scope = root.child({ block: block! }).bind(desc.position, position);
      return b.op(ptx.setp("eq", "s32"), "pred", scope.index(desc.expert), expert);
    });
  const write = (at: Value, first: number, value: Value | number, guard: Value): void => {
    const place = b.op(ptx.madWide.s32!, "u64", at, 4, base);
    const register = typeof value === "number" ? b.op("mov.b32", "s32", value) : value;
    b.lineIf(guard, ptx.storeGlobal("b32", 1), address(place, first * 4), register);
  };
  const counted = isOwn(counting);
  b.into(counting!, () => b.lineIf(counted, binaryInstruction.add.s32!, count, count, 1));
  const { shared, exists } = b.into(publish!, () => {
    const memory = b.op("mov.u32", "s32", sharedSymbol);
    const inside = b.op(ptx.setp("lt", "s32"), "pred", expert, experts);
    const own = b.op("mad.lo.s32", "s32", expert, 4, memory);
    b.lineIf(inside, ptx.storeShared("b32", 1), address(own), count);
    return { shared: memory, exists: inside };
  });
  const { start, rank, present } = b.into(sum!, () => totalsOf(b, desc, expert, shared));
  b.into(table!, () => {
    const some = b.op(ptx.setp("gt", "s32"), "pred", count, 0);
    write(rank, 0, expert, some);
    write(rank, experts, start, some);
    const beyond = b.op(ptx.setp("ge", "s32"), "pred", expert, present);
    const unused = b.op("and.pred", "pred", beyond, exists);
    write(expert, 0, 0, unused);
    write(expert, experts, extent, unused);
    const isFirst = b.op(ptx.setp("eq", "s32"), "pred", expert, 0);
    write(expert, 2 * experts, extent, isFirst);
  });
  const placed = isOwn(placing);
  b.into(placing!, () => {
    write(start, 2 * experts + 1, position, placed);
    b.lineIf(placed, binaryInstruction.add.s32!, start, start, 1);
  });
  const view: GroupView = {
    count: count.text,
    position: position.text,
    extent: extent.text,
    none: b.reg("pred").text,
    more: b.reg("pred").text,
    counting: counting!.lines(),
    publish: publish!.lines(),
    sum: sum!.lines(),
    table: table!.lines(),
    placing: placing!.lines(),
  };
  const launch = {
    kind: "gpu",
    grid: [one, one, one],
    threads,
    sharedBytes: experts * 4,
  } as const;
  return kernel.render("group/sm80.ptx.hbs", launch, { ...view });
}

export const sm80Group: FamilyTemplate<"group", Sm80GroupConfig> = {
  family: "group",
  candidates,
  render,
};
