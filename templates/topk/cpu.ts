/** The largest elements on a CPU: each is found by a walk of its row among those below the last. */
import type { TopKDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { taskRows, type RowsView } from "../../compiler/codegen/c/rows.js";
import { param } from "../../compiler/codegen/expressions.js";
import { indent } from "../../compiler/codegen/render.js";

export interface TopKCpuConfig {
  /** Elements that a task walks once, about. */
  readonly block: number;
}

/** The holes of `cpu.c.hbs`. */
interface TopKView extends RowsView {
  readonly head: string;
  readonly row: string;
  readonly count: number;
  readonly element: string;
  readonly key: string;
  readonly stores: string;
}

export const topKCpu: FamilyTemplate<"topk", TopKCpuConfig> = {
  family: "topk",
  candidates: () => [{ block: 4096 }, { block: 16384 }],
  render: (desc, config) => renderTopK(desc, config),
};

function renderTopK(desc: TopKDesc, { block }: TopKCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const { view: rows, row, tasks } = taskRows(emitter, desc, block);
  const slot = emitter.block(row, [
    [desc.slot, "slot"],
    [param("chosen", "i64"), "chosen"],
  ]);
  emitter.stores(desc.stores, slot);
  const element = emitter.block(row, [[desc.axis, "k"]]);
  emitter.mark([desc.key]);
  const key = emitter.value(desc.key, element);
  const view: TopKView = {
    ...rows,
    count: desc.count,
    element: indent(element.lines, 8),
    key,
    stores: indent(slot.lines, 6),
    row: indent(row.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("topk/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks, scratchBytes: 0 },
  };
}
