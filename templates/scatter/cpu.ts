/** Scattering on a CPU: a task is a run of rows, each stored in order. */
import type { ScatterDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { taskRows, type RowsView } from "../../compiler/codegen/c/rows.js";
import { indent } from "../../compiler/codegen/render.js";

export interface ScatterCpuConfig {
  /** Elements that a task stores, about. */
  readonly block: number;
}

/** The holes of `cpu.c.hbs`. */
interface ScatterView extends RowsView {
  readonly head: string;
  readonly row: string;
  readonly element: string;
}

export const scatterCpu: FamilyTemplate<"scatter", ScatterCpuConfig> = {
  family: "scatter",
  candidates: () => [{ block: 16384 }, { block: 65536 }],
  render: (desc, config) => renderScatter(desc, config),
};

function renderScatter(desc: ScatterDesc, { block }: ScatterCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const { view: rows, row, tasks } = taskRows(emitter, desc, block);
  // What a row has stored is loaded again: nothing that is loaded may leave the loop.
  const element = emitter.block(row, [[desc.axis, "k"]]);
  emitter.stores(desc.stores, element);
  const view: ScatterView = {
    ...rows,
    element: indent(element.lines, 6),
    row: indent(row.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("scatter/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks, scratchBytes: 0 },
  };
}
