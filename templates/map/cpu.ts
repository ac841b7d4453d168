/** Independent elements on a CPU: tasks are runs of the flattened box, loops follow its last axis. */
import type { MapDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { CEmitter } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { ceilDiv, int, isOp, mul, one } from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";

export interface MapCpuConfig {
  /** Elements of a task. */
  readonly block: number;
}

/** The holes of `cpu.c.hbs`. */
interface MapView extends View {
  readonly head: string;
  readonly block: number;
  readonly total: string;
  /** Coordinates but the inner one, the fastest first. */
  readonly outer: readonly { readonly name: string; readonly extent: string }[];
  readonly innerExtent: string;
  readonly row: string;
  readonly element: string;
}

export const mapCpu: FamilyTemplate<"map", MapCpuConfig> = {
  family: "map",
  candidates: () => [{ block: 16384 }, { block: 4096 }, { block: 65536 }],
  render: (desc, config) => renderMap(desc, config),
};

function renderMap(desc: MapDesc, { block }: MapCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const axes = desc.coords.map((coord, index) => ({
    coord,
    extent: desc.extents[index]!,
    name: `c${index}`,
  }));
  const moving = axes.filter(({ coord }) => isOp(coord, "coord"));
  const inner = moving.at(-1) ?? { coord: int(0), extent: one, name: "x" };
  const outer = moving.slice(0, -1).reverse();
  const row = emitter.block(
    emitter.root,
    outer.map(({ coord, name }) => [coord, name] as const),
  );
  const element = emitter.block(row, [[inner.coord, "x"]]);
  emitter.stores(desc.stores, element);
  const total = desc.extents.reduce(mul, one);
  const view: MapView = {
    block,
    total: extentName(emitter, total),
    outer: outer.map(({ name, extent }) => ({ name, extent: extentName(emitter, extent) })),
    innerExtent: extentName(emitter, inner.extent),
    row: indent(row.lines, 4),
    element: indent(element.lines, 6),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("map/cpu.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: { kind: "cpu", tasks: ceilDiv(total, int(block)), scratchBytes: 0 },
  };
}

const extentName = (emitter: CEmitter, extent: Expr): string => emitter.value(extent, emitter.root);
