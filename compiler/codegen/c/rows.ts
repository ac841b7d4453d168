/** Rows of a box, in tasks: what templates that walk an axis in order have in common. */
import type { AlongDesc } from "../../kernel/desc-along.js";
import { ceilDiv, div, int, max, mul, one } from "../../scalar/build.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import type { View } from "../render.js";
import { isHostExpr } from "../scalars.js";
import type { Block, CEmitter } from "./emitter.js";

/** The holes of every such template. */
export interface RowsView extends View {
  readonly rows: string;
  readonly rowsPerTask: string;
  /** Row coordinates, the fastest first. */
  readonly coords: readonly { readonly name: string; readonly extent: string }[];
  readonly axisExtent: string;
}

export interface TaskRows {
  readonly view: RowsView;
  /** The scope of a row. */
  readonly row: Block;
  readonly tasks: Expr;
}

/** @param block elements that a task walks, about */
export function taskRows(emitter: CEmitter, desc: AlongDesc, block: number): TaskRows {
  const moving = desc.coords
    .map((coord, index) => ({ coord, extent: desc.extents[index]!, name: `c${index}` }))
    .filter(({ coord }) => isOp(coord, "coord"))
    .reverse();
  const rows = desc.extents.reduce(mul, one);
  const { axisExtent } = desc;
  // Lengths that only the device knows may differ from row to row.
  const perTask = isHostExpr(axisExtent) ? max(one, div(int(block), max(one, axisExtent))) : one;
  const row = emitter.block(
    emitter.root,
    moving.map(({ coord, name }) => [coord, name] as const),
  );
  emitter.mark([axisExtent]);
  const view: RowsView = {
    rows: emitter.value(rows, emitter.root),
    rowsPerTask: emitter.value(perTask, emitter.root),
    coords: moving.map(({ name, extent }) => ({
      name,
      extent: emitter.value(extent, emitter.root),
    })),
    axisExtent: emitter.value(axisExtent, row),
  };
  return { view, row, tasks: ceilDiv(rows, perTask) };
}
