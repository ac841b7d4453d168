/** Running totals on a CPU: a task is a run of rows, each walked from one end to the other. */
import type { ScanDesc } from "../../compiler/kernel/desc-along.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { taskRows, type RowsView } from "../../compiler/codegen/c/rows.js";
import { cType } from "../../compiler/codegen/c/types.js";
import { param } from "../../compiler/codegen/expressions.js";
import { indent } from "../../compiler/codegen/render.js";

export interface ScanCpuConfig {
  /** Elements that a task walks, about. */
  readonly block: number;
}

/** The holes of `cpu.c.hbs`. */
interface ScanView extends RowsView {
  readonly head: string;
  readonly row: string;
  readonly reverse: boolean;
  readonly exclusive: boolean;
  /** Of the value, and of the sum: floats are summed in f64. */
  readonly type: string;
  readonly sumType: string;
  readonly identity: string;
  readonly operator: string;
  readonly element: string;
  readonly value: string;
  readonly stores: string;
}

export const scanCpu: FamilyTemplate<"scan", ScanCpuConfig> = {
  family: "scan",
  candidates: () => [{ block: 16384 }, { block: 65536 }],
  render: (desc, config) => renderScan(desc, config),
};

function renderScan(desc: ScanDesc, { block }: ScanCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const { view: rows, row, tasks } = taskRows(emitter, desc, block);
  const { body } = desc;
  const element = emitter.block(row, [[desc.axis, "k"]]);
  emitter.mark([body]);
  const value = emitter.value(body, element);
  const after = emitter.block(element, [[param("total", body.type), "total"]]);
  emitter.stores(desc.stores, after);
  const { value: type } = cType(body.type);
  const view: ScanView = {
    ...rows,
    reverse: desc.reverse,
    exclusive: desc.exclusive,
    type,
    sumType: body.type === "f32" ? "double" : type,
    identity: desc.kind === "sum" ? "0" : "1",
    operator: desc.kind === "sum" ? "+" : "*",
    element: indent(element.lines, 6),
    value,
    stores: indent(after.lines, 6),
    row: indent(row.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("scan/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks, scratchBytes: 0 },
  };
}
