/** Family scatter for sm_80: a thread stores the elements of a row in order. */
import type { ScatterDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { RowKernel, type RowsConfig, type RowsView } from "../../compiler/codegen/ptx/rows.js";

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
type ScatterView = RowsView & {
  /** Predicate of the end of the walk. */
  readonly finished: string;
};

function render(desc: ScatterDesc, config: RowsConfig, target: Target): KernelText {
  const rows = new RowKernel(desc, config, target);
  const step = rows.row.child({ block: rows.body });
  step.bind(desc.axis, rows.position);
  emitStores(step, desc.stores);
  const finished = rows.kernel.b.reg("pred").text;
  const view: ScatterView = { ...rows.view(), finished };
  return rows.kernel.render("scatter/sm80.ptx.hbs", rows.launch(), { ...view });
}

export const sm80Scatter: FamilyTemplate<"scatter", RowsConfig> = {
  family: "scatter",
  candidates: () => [128, 256].map((threads) => ({ threads, rowThreads: 1 })),
  render,
};
