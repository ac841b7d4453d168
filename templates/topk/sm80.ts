/** Family topk for sm_80: a warp finds each element among those below the last one found. */
import type { TopKDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { param } from "../../compiler/codegen/expressions.js";
import { convertRegister } from "../../compiler/codegen/ptx/arithmetic.js";
import type { PtxBuilder, Value } from "../../compiler/codegen/ptx/builder.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { shuffleXor } from "../../compiler/codegen/ptx/reduction.js";
import { RowKernel, type RowsConfig, type RowsView } from "../../compiler/codegen/ptx/rows.js";

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
type TopKView = RowsView & {
  /** Predicate of the end of a walk. */
  readonly finished: string;
  readonly count: number;
  /** How many were chosen, the last of them: its key and its index. */
  readonly slot: string;
  readonly above: string;
  readonly chosen: string;
  /** The best of this walk so far. */
  readonly best: string;
  readonly found: string;
  /** The best of the warp's. */
  readonly across: string[];
  readonly stores: string[];
};

interface Candidate {
  readonly key: Value;
  readonly index: Value;
}

function render(desc: TopKDesc, config: RowsConfig, target: Target): KernelText {
  const rows = new RowKernel(desc, config, target);
  const { kernel } = rows;
  const { b } = kernel;
  const [above, best] = b.regs("s64", 2) as [Value, Value];
  const [slot, chosen, found] = b.regs("s32", 3) as [Value, Value, Value];
  const { at, inside } = rows.element(false);
  const step = rows.row.child({ block: rows.body, guard: [inside] }).bind(desc.axis, at);
  const raw = step.value(desc.key);
  const last = { key: above, index: chosen };
  b.into(rows.body, () => {
    const candidate = { key: convertRegister(b, raw, "s64"), index: at };
    const left = b.op("and.pred", "pred", inside, isBehind(b, candidate, last));
    take(b, { key: best, index: found }, candidate, left);
  });
  const across = kernel.section();
  b.into(across, () => {
    for (let distance = 16; distance >= 1; distance /= 2) {
      const other = { key: shuffleXor(b, best, distance), index: shuffleXor(b, found, distance) };
      const exists = b.op(ptx.setp("ge", "s32"), "pred", other.index, 0);
      take(b, { key: best, index: found }, other, exists);
    }
    b.assign(above, best);
    b.assign(chosen, found);
  });
  const stores = kernel.section();
  const guard = b.into(stores, () => [b.op(ptx.setp("eq", "s32"), "pred", rows.lane, 0)]);
  const wide = b.into(stores, () => convertRegister(b, chosen, "s64"));
  const out = rows.row.child({ block: stores, guard }).bind(desc.slot, slot);
  emitStores(out.bind(param("chosen", "i64"), wide), desc.stores);
  const texts = Object.fromEntries(
    Object.entries({ slot, above, chosen, best, found }).map(([name, { text }]) => [name, text]),
  ) as Pick<TopKView, "slot" | "above" | "chosen" | "best" | "found">;
  const view: TopKView = {
    ...rows.view(),
    ...texts,
    finished: b.reg("pred").text,
    count: desc.count,
    across: across.lines(),
    stores: stores.lines(),
  };
  return kernel.render("topk/sm80.ptx.hbs", rows.launch(), { ...view });
}

/** Predicate: `x` comes after `y` in the order of the chosen. */
function isBehind(b: PtxBuilder, x: Candidate, y: Candidate): Value {
  const less = b.op(ptx.setp("lt", "s64"), "pred", x.key, y.key);
  const equal = b.op(ptx.setp("eq", "s64"), "pred", x.key, y.key);
  const later = b.op(ptx.setp("gt", "s32"), "pred", x.index, y.index);
  const tied = b.op("and.pred", "pred", equal, later);
  return b.op("or.pred", "pred", less, tied);
}

/** Replaces `best` by `other` where it is there and comes first. */
function take(b: PtxBuilder, best: Candidate, other: Candidate, exists: Value): void {
  const none = b.op(ptx.setp("lt", "s32"), "pred", best.index, 0);
  const ahead = isBehind(b, best, other);
  const better = b.op("or.pred", "pred", none, ahead);
  const taken = b.op("and.pred", "pred", better, exists);
  b.line(ptx.select("s64"), best.key, other.key, best.key, taken);
  b.line(ptx.select("s32"), best.index, other.index, best.index, taken);
}

export const sm80TopK: FamilyTemplate<"topk", RowsConfig> = {
  family: "topk",
  candidates: () => [128, 256].map((threads) => ({ threads, rowThreads: 32 })),
  render,
};
