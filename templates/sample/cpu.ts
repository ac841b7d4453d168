/** One of each row on a CPU: a task is a row. */
import type { SampleDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { param } from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";
import { sampleBodies, top } from "./bodies.js";

export interface SampleCpuConfig {
  readonly rows: 1;
}

/** An element's values, each with the lines that compute it. */
interface ElementView extends View {
  readonly lines: string;
  readonly key: string;
  readonly value: string;
}

/** The holes of `cpu.c.hbs`. */
interface SampleView extends View {
  readonly head: string;
  readonly row: string;
  readonly choices: string;
  readonly count: string;
  readonly mass: string;
  readonly keyed: ElementView;
  readonly known: ElementView;
  readonly weighed: ElementView;
  readonly noisy: string;
  readonly scored: ElementView;
  readonly stores: string;
}

function render(desc: SampleDesc): KernelText {
  const emitter = new CEmitter(desc.operands);
  const row = emitter.block(emitter.root, [[desc.row, "row"]]);
  const bodies = sampleBodies(desc);
  const { key, score, weight } = bodies;
  const ofRow = [desc.count, desc.mass, desc.noisy];
  emitter.mark(ofRow);
  const [count, mass, noisy] = ofRow.map((each) => emitter.value(each, row)) as [
    string,
    string,
    string,
  ];
  const choices = emitter.value(desc.choices, emitter.root);
  /** Of an element, its key and `value`, or `value` alone. */
  const walk = (value: Expr, keyed = true): ElementView => {
    const element = emitter.block(row, [
      [desc.index, "index"],
      [top, "top"],
    ]);
    emitter.mark(keyed ? [key, value] : [value]);
    const own = keyed ? emitter.value(key, element) : "";
    return { key: own, value: emitter.value(value, element), lines: indent(element.lines, 6) };
  };
  const choice = emitter.block(row, [[param("chosen", "i64"), "chosen"]]);
  emitter.stores(desc.stores, choice);
  const view: SampleView = {
    choices,
    count,
    mass,
    keyed: walk(key),
    known: walk(bodies.value, false),
    noisy,
    weighed: walk(weight),
    scored: walk(score),
    stores: indent(choice.lines, 2),
    row: indent(row.lines, 2),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("sample/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks: desc.rowExtent, scratchBytes: 0 },
  };
}

export const sampleCpu: FamilyTemplate<"sample", SampleCpuConfig> = {
  family: "sample",
  candidates: () => [{ rows: 1 }],
  render: (desc) => render(desc),
};
