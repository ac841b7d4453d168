/**
 * The largest of each row for sm_80: a warp has a row, each lane every 32nd value, as keys that order
 * like the values and then against the index. Each choice is a maximum over the warp.
 */
import type { RouteDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { one, param } from "../../compiler/codegen/expressions.js";
import { address, type PtxBuilder, type Value } from "../../compiler/codegen/ptx/builder.js";
import { Scope, fits32 } from "../../compiler/codegen/ptx/expr.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { PtxKernel, sharedSymbol } from "../../compiler/codegen/ptx/kernel.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { combineAll, warpReduce } from "../../compiler/codegen/ptx/reduction.js";

export interface Sm80RouteConfig {
  /** Values of a lane. */
  readonly lanes: number;
}

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
interface RouteView {
  readonly values: string[];
  readonly grouped: boolean;
  readonly ranks: string[];
  readonly slot: string;
  readonly choose: string[];
  readonly stores: string[];
  readonly more: string;
  readonly count: number;
}

const warp = 32;
/** Values that a lane keeps in registers. */
const mostLanes = 32;

function candidates(desc: RouteDesc): readonly Sm80RouteConfig[] {
  const lanes = Math.ceil(desc.choices / warp);
  const fits = lanes <= mostLanes && desc.groups <= warp && fits32(desc.rowExtent);
  return desc.value.type === "f32" && fits ? [{ lanes }] : [];
}

/** One value of a lane: its index, whether it exists, and its key, 0 where it may not be chosen. */
interface Choice {
  readonly index: Value;
  readonly exists: Value | null;
  readonly value: Value;
  readonly key: Value;
}

/** Unsigned order of keys: by value, the two zeros alike, then the lower index first. */
function keyOf(b: PtxBuilder, value: Value, index: Value): Value {
  const bits = b.op("mov.b32", "s32", b.op(binaryInstruction.add.f32!, "f32", value, "0f00000000"));
  const sign = b.op("shr.s32", "s32", bits, 31);
  const mask = b.op("or.b32", "s32", sign, -(2 ** 31));
  const high = b.op("xor.b32", "s32", bits, mask);
  const low = b.op("not.b32", "s32", index);
  const key = b.reg("u64");
  b.raw(`mov.b64 ${key.text}, {${low.text}, ${high.text}};`);
  return key;
}

function choiceOf(scope: Scope, desc: RouteDesc, lane: Value, place: number): Choice {
  const { b } = scope;
  const index = b.op(binaryInstruction.add.s32!, "s32", lane, place * warp);
  const whole = (place + 1) * warp <= desc.choices;
  const exists = whole ? null : b.op(ptx.setp("lt", "s32"), "pred", index, desc.choices);
  const own = scope.child({ guard: exists === null ? null : [exists] }).bind(desc.index, index);
  const value = own.value(desc.value);
  const key = b.inRegister(keyOf(b, b.inRegister(value), index));
  if (exists !== null) b.line("selp.b64", key, key, 0, exists);
  return { index, exists, value, key };
}

/** Keys of groups that do not rank among the kept become 0. */
function closeGroups(
  b: PtxBuilder,
  desc: RouteDesc,
  lane: Value,
  choices: readonly Choice[],
): void {
  const { groups, kept, rank } = desc;
  const size = desc.choices / groups;
  const shared = b.op("mov.u32", "s32", sharedSymbol);
  const mine = b.op(ptx.setp("lt", "s32"), "pred", lane, groups);
  const group = b.op(binaryInstruction.min.s32!, "s32", lane, groups - 1);
  const [first, second] = [
    b.op("mov.b32", "f32", "0fFF800000"),
    b.op("mov.b32", "f32", "0fFF800000"),
  ];
  const from = b.op("mad.lo.s32", "s32", group, size * 4, shared);
  b.repeat(size, () => {
    const x = b.op(ptx.loadShared("f32", 1), "f32", address(from));
    const lower = b.op("min.f32", "f32", first, x);
    b.line("max.f32", second, second, lower);
    b.line("max.f32", first, first, x);
    b.line(binaryInstruction.add.s32!, from, from, 4);
  });
  const own = rank === "two" ? b.op(binaryInstruction.add.f32!, "f32", first, second) : first;
  const better = b.op("mov.b32", "s32", 0);
  for (let other = 0; other < groups; other++) {
    const rankOfOther = b.op(ptx.shuffleIndex, "f32", own, other, "0x1f", "0xffffffff");
    const above = b.op(ptx.setp("gt", "f32"), "pred", rankOfOther, own);
    const equal = b.op(ptx.setp("eq", "f32"), "pred", rankOfOther, own);
    const before = b.op(ptx.setp("gt", "s32"), "pred", lane, other);
    const earlier = b.op("and.pred", "pred", equal, before);
    const ahead = b.op("or.pred", "pred", above, earlier);
    b.lineIf(ahead, binaryInstruction.add.s32!, better, better, 1);
  }
  const open = b.op("and.pred", "pred", mine, b.op(ptx.setp("lt", "s32"), "pred", better, kept));
  const mask = b.op("vote.sync.ballot.b32", "u32", open, "0xffffffff");
  for (const { index, key } of choices) {
    const bit = b.op("shr.u32", "u32", mask, b.op("div.u32", "u32", index, size));
    const isOpen = b.op(ptx.setp("ne", "s32"), "pred", b.op("and.b32", "s32", bit, 1), 0);
    b.line("selp.b64", key, key, 0, isOpen);
  }
}

function render(desc: RouteDesc, { lanes }: Sm80RouteConfig, target: Target): KernelText {
  const kernel = new PtxKernel(desc.operands, target);
  const { b } = kernel;
  const [values, ranks, choose, stores] = [0, 1, 2, 3].map(() => kernel.section());
  const row = Scope.root(kernel).child({ block: values! });
  row.bind(desc.row, kernel.special("%ctaid.x"));
  const lane = kernel.special("%tid.x");
  const choices = b.into(values!, () =>
    Array.from({ length: lanes }, (_, place) => choiceOf(row, desc, lane, place)),
  );
  const grouped = desc.groups > 1;
  if (grouped) {
    b.into(values!, () => {
      const shared = b.op("mov.u32", "s32", sharedSymbol);
      for (const { index, exists, value } of choices) {
        const place = b.op("mad.lo.s32", "s32", index, 4, shared);
        b.lineIf(exists, ptx.storeShared("f32", 1), address(place), value);
      }
    });
    b.into(ranks!, () => closeGroups(b, desc, lane, choices));
  }
  const slot = b.reg("s32");
  const chosen = b.into(choose!, () => {
    const best = warpReduce(
      b,
      "max",
      combineAll(
        b,
        "max",
        choices.map(({ key }) => key),
      ),
    );
    for (const { key } of choices)
      b.line("selp.b64", key, 0, key, b.op(ptx.setp("eq", "u64"), "pred", key, best));
    const low = b.op("cvt.u32.u64", "u32", best);
    return b.op("cvt.u64.u32", "s64", b.op("not.b32", "u32", low));
  });
  const first = b.into(choose!, () => b.op(ptx.setp("eq", "s32"), "pred", lane, 0));
  const scope = row
    .child({ block: stores!, guard: [first] })
    .bind(desc.slot, slot)
    .bind(param("chosen", "i64"), chosen);
  emitStores(scope, desc.stores);
  const view: RouteView = {
    values: values!.lines(),
    grouped,
    ranks: ranks!.lines(),
    slot: slot.text,
    choose: choose!.lines(),
    stores: stores!.lines(),
    more: b.reg("pred").text,
    count: desc.count,
  };
  const launch = {
    kind: "gpu",
    grid: [desc.rowExtent, one, one],
    threads: warp,
    sharedBytes: desc.choices * 4,
  } as const;
  return kernel.render("route/sm80.ptx.hbs", launch, { ...view });
}

export const sm80Route: FamilyTemplate<"route", Sm80RouteConfig> = {
  family: "route",
  candidates,
  render,
};
