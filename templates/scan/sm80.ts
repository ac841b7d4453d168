/** Family scan for sm_80: a warp walks a row 32 elements at a time and carries their total along. */
import type { ScanDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { param } from "../../compiler/codegen/expressions.js";
import { convertRegister } from "../../compiler/codegen/ptx/arithmetic.js";
import type { PtxBuilder, Value } from "../../compiler/codegen/ptx/builder.js";
import { machineType, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { combine, identity, shuffleLast, shuffleUp } from "../../compiler/codegen/ptx/reduction.js";
import { RowKernel, type RowsConfig, type RowsView } from "../../compiler/codegen/ptx/rows.js";

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
type ScanView = RowsView & {
  /** Predicate of the end of the walk. */
  readonly finished: string;
  /** Nothing is carried into the first step. */
  readonly start: string[];
};

function render(desc: ScanDesc, config: RowsConfig, target: Target): KernelText {
  const rows = new RowKernel(desc, config, target);
  const { b } = rows.kernel;
  const type = machineType[desc.body.type]!;
  const neutral = identity(desc.kind, type);
  const carry = b.reg(type);
  const { at, inside } = rows.element(desc.reverse);
  const step = rows.row.child({ block: rows.body, guard: [inside] }).bind(desc.axis, at);
  const raw = step.value(desc.body);
  const total = b.into(rows.body, () => {
    const own = convertRegister(b, raw, type);
    const value = b.op(ptx.select(type), type, own, neutral, inside);
    const upTo = prefix(b, desc.kind, value, rows.lane);
    const before = desc.exclusive ? shifted(b, upTo, neutral, rows.lane) : upTo;
    const result = combine(b, desc.kind, carry, before);
    b.assign(carry, combine(b, desc.kind, carry, shuffleLast(b, upTo)));
    return result;
  });
  const after = step.child({ block: rows.body }).bind(param("total", desc.body.type), total);
  emitStores(after, desc.stores);
  const view: ScanView = {
    ...rows.view(),
    finished: b.reg("pred").text,
    start: [`${ptx.move(type)} ${carry.text}, ${neutral.text};`],
  };
  return rows.kernel.render("scan/sm80.ptx.hbs", rows.launch(), { ...view });
}

/** The total of the lanes up to each, in their order. */
function prefix(b: PtxBuilder, kind: ScanDesc["kind"], value: Value, lane: Value): Value {
  let result = value;
  for (let distance = 1; distance < 32; distance *= 2) {
    const earlier = combine(b, kind, shuffleUp(b, result, distance), result);
    const has = b.op(ptx.setp("ge", "s32"), "pred", lane, distance);
    result = b.op(ptx.select(result.type), result.type, earlier, result, has);
  }
  return result;
}

/** What the lane before has; the first has nothing. */
function shifted(b: PtxBuilder, value: Value, neutral: Value, lane: Value): Value {
  const first = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
  return b.op(ptx.select(value.type), value.type, neutral, shuffleUp(b, value, 1), first);
}

export const sm80Scan: FamilyTemplate<"scan", RowsConfig> = {
  family: "scan",
  candidates: () => [128, 256].map((threads) => ({ threads, rowThreads: 32 })),
  render,
};
