/** The largest of each row on a CPU: a task is a row, which is searched once for each choice. */
import type { RouteDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { literal } from "../../compiler/codegen/c/types.js";
import { param } from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";

export interface RouteCpuConfig {
  readonly rows: 1;
}

/** The holes of `cpu.c.hbs`. */
interface RouteView extends View {
  readonly head: string;
  readonly real: string;
  readonly lowest: string;
  readonly choices: number;
  readonly rowLines: string;
  readonly elementLines: string;
  readonly value: string;
  readonly grouped: boolean;
  readonly groups: number;
  readonly size: number;
  readonly kept: number;
  readonly rank: string;
  readonly count: number;
  readonly stores: string;
}

function render(desc: RouteDesc): KernelText {
  const emitter = new CEmitter(desc.operands);
  const double = desc.value.type === "f64";
  const row = emitter.block(emitter.root, [[desc.row, "row"]]);
  const element = emitter.block(row, [[desc.index, "index"]]);
  emitter.mark([desc.value]);
  const value = emitter.value(desc.value, element);
  const choice = emitter.block(row, [
    [desc.slot, "slot"],
    [param("chosen", "i64"), "chosen"],
  ]);
  emitter.stores(desc.stores, choice);
  const { choices, groups, kept, count } = desc;
  const view: RouteView = {
    real: double ? "double" : "float",
    lowest: literal(double ? "f64" : "f32", -Infinity),
    choices,
    rowLines: indent(row.lines, 2),
    elementLines: indent(element.lines, 4),
    value,
    grouped: groups > 1,
    groups,
    size: choices / groups,
    kept,
    rank: desc.rank === "two" ? "first + second" : "first",
    count,
    stores: indent(choice.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("route/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks: desc.rowExtent, scratchBytes: choices * (double ? 8 : 4) },
  };
}

export const routeCpu: FamilyTemplate<"route", RouteCpuConfig> = {
  family: "route",
  candidates: () => [{ rows: 1 }],
  render: (desc) => render(desc),
};
