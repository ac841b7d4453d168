/** Puts a kernel's text together: the preludes it needs, then its function. */
import type { DType } from "../../ir/dtype.js";
import { bug } from "../../errors.js";
import { renderTemplate, type View } from "../render.js";

/** Storage types of the right operands for which there are register tiles. */
export type TileStorage = "f32" | "f64" | "f16" | "bf16";

export interface Preludes {
  /** Reductions of strips. */
  readonly lanes?: boolean;
  readonly tiles?: readonly TileStorage[];
}

/** Each part of the prelude guards itself, so that texts of many kernels can be one file. */
export function cModule(template: string, view: View, preludes: Preludes): string {
  const parts = [renderTemplate("prelude/cpu.c.hbs", {})];
  if (preludes.lanes === true) parts.push(renderTemplate("prelude/cpu-lanes.c.hbs", {}));
  const tiles = [...new Set(preludes.tiles ?? [])];
  if (tiles.length > 0) parts.push(renderTemplate("prelude/cpu-vector.c.hbs", { lda }));
  for (const storage of tiles)
    parts.push(renderTemplate("prelude/cpu-tile.c.hbs", tileView(storage)));
  // Holes without statements leave lines of blanks.
  return [...parts, renderTemplate(template, view).replaceAll(/^ *\n/gm, "")].join("\n");
}

/** Depth of the blocks that tiles multiply: a tile of each operand stays in L1. */
export const tileDepth = 384;
/** Row stride of left operands in scratch, in elements. */
export const lda = tileDepth + 16;
/** Columns of a panel: `target.packing` of the CPU. */
export const panelColumns = 16;
/** A multiple of every tile height: what row counts are rounded up to. */
export const tallestTile = 12;

const tileRows = [1, 2, 4, 6, 8, 12];

function tileView(storage: TileStorage): View {
  const wide = storage === "f64";
  const names = {
    storage,
    arithmetic: wide ? "f64" : "f32",
    real: wide ? "double" : "float",
    element: wide ? "double" : storage === "f32" ? "float" : "uint16_t",
  };
  const tile = (rows: number): View => ({
    ...names,
    rows,
    // Addresses have one register and one scale: three rows share a base.
    bases: Array.from({ length: Math.ceil(rows / 3) }, (_, index) => ({ index, first: 3 * index })),
    row: Array.from({ length: rows }, (_, index) => ({
      index,
      base: Math.floor(index / 3),
      times: index % 3,
    })),
  });
  return { ...names, tiles: tileRows.map(tile), thin: [1, 2, 4].map(tile) };
}

export function tileStorage(dtype: DType): TileStorage {
  if (dtype === "f32" || dtype === "f64" || dtype === "f16" || dtype === "bf16") return dtype;
  throw bug(`there is no register tile for products of ${dtype}`);
}
