/** Positions sorted by expert on a CPU: counted, then placed, in one task. */
import type { GroupDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { one } from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";

export interface GroupCpuConfig {
  readonly tasks: 1;
}

/** The holes of `cpu.c.hbs`. */
interface GroupView extends View {
  readonly head: string;
  readonly experts: number;
  readonly extent: string;
  readonly lines: string;
  readonly expert: string;
  readonly target: string;
}

function render(desc: GroupDesc): KernelText {
  const emitter = new CEmitter(desc.operands);
  const extent = emitter.value(desc.extent, emitter.root);
  const each = emitter.block(emitter.root, [[desc.position, "position"]]);
  emitter.mark([desc.expert]);
  const expert = emitter.value(desc.expert, each);
  const view: GroupView = {
    experts: desc.experts,
    extent,
    lines: indent(each.lines, 4),
    expert,
    target: emitter.pointer(desc.target),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("group/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks: one, scratchBytes: desc.experts * 8 },
  };
}

export const groupCpu: FamilyTemplate<"group", GroupCpuConfig> = {
  family: "group",
  candidates: () => [{ tasks: 1 }],
  render: (desc) => render(desc),
};
