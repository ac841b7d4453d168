/** Row reductions on a CPU: a task is a run of rows, the row axis is the vectorised loop. */
import type { ReduceDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { emitStage } from "../../compiler/codegen/c/stage.js";
import { ceilDiv, div, int, isOp, max, mul, one } from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";
import { prefersColumns, renderColumns } from "./cpu-columns.js";
import { isHostExpr } from "../../compiler/codegen/scalars.js";

export interface ReduceCpuConfig {
  /** Along which axis the vectorised loop goes: the reduced one, or across rows. */
  readonly layout: "rows" | "columns";
  /** By rows: elements that a task reduces, about. */
  readonly block: number;
}

/** The holes of `cpu.c.hbs`. */
interface ReduceView extends View {
  readonly head: string;
  readonly rows: string;
  readonly rowsPerTask: string;
  /** Row coordinates, the fastest first. */
  readonly coords: readonly { readonly name: string; readonly extent: string }[];
  readonly row: string;
  readonly axisExtent: string;
  readonly hasElements: boolean;
  readonly element: string;
  readonly rowStores: string;
}

export const reduceCpu: FamilyTemplate<"reduce", ReduceCpuConfig> = {
  family: "reduce",
  candidates: (desc) => [
    ...(prefersColumns(desc) ? [{ layout: "columns", block: 0 } as const] : []),
    { layout: "rows", block: 16384 },
    { layout: "rows", block: 65536 },
  ],
  render: (desc, config) =>
    config.layout === "columns" ? renderColumns(desc) : renderRows(desc, config),
};

function renderRows(desc: ReduceDesc, { block }: ReduceCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const axes = desc.coords.map((coord, index) => ({
    coord,
    extent: desc.extents[index]!,
    name: `c${index}`,
  }));
  const moving = axes.filter(({ coord }) => isOp(coord, "coord")).reverse();
  const rows = desc.extents.reduce(mul, one);
  const { axis, axisExtent } = desc;
  // Lengths that only the device knows may differ from row to row.
  const rowsPerTask = isHostExpr(axisExtent)
    ? max(one, div(int(block), max(one, axisExtent)))
    : one;
  const row = emitter.block(
    emitter.root,
    moving.map(({ coord, name }) => [coord, name] as const),
  );
  emitter.mark([axisExtent]);
  const extent = emitter.value(axisExtent, row);
  for (const stage of desc.stages) emitStage(emitter, stage, row, axis, extent);
  const element = emitter.block(row, [[axis, "k"]]);
  emitter.stores(desc.elementStores, element);
  const tail = emitter.block(row, []);
  emitter.stores(desc.rowStores, tail);
  const view: ReduceView = {
    rows: emitter.value(rows, emitter.root),
    rowsPerTask: emitter.value(rowsPerTask, emitter.root),
    coords: moving.map(({ name, extent }) => ({
      name,
      extent: emitter.value(extent, emitter.root),
    })),
    row: indent(row.lines, 4),
    axisExtent: extent,
    hasElements: desc.elementStores.length > 0,
    element: indent(element.lines, 6),
    rowStores: indent(tail.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("reduce/cpu.c.hbs", view, { lanes: true }),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks: ceilDiv(rows, rowsPerTask), scratchBytes: 0 },
  };
}
