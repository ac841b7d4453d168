/**
 * The layouts of B in which gemm kernels read weights. A packed weight is an ordinary derived weight:
 * its element at a packed offset is an expression over the source tensors, so that packing is a map
 * kernel of the weight program.
 */
import type { DType } from "../ir/dtype.js";
import type { Expr } from "../scalar/expr.js";
import { add, ceilDiv, div, int, mod, mul } from "../scalar/build.js";

/**
 * Panels of `columns` physical columns; within a panel, blocks of `rows` consecutive k; within a
 * block, the columns one after the other, each with its `rows` values of k (`columnMajor`), or the
 * rows one after the other. Both extents are padded with zeros to whole panels and blocks.
 *
 * `{ columns: 1, rows: K }` is the transpose [n, k] as checkpoints store it.
 */
export interface PackedLayout {
  readonly columns: number;
  readonly rows: number;
  readonly columnMajor: boolean;
  /** Storage type of the packed values. */
  readonly dtype: DType;
}

/** Elements of a packed [k, n] weight, padding included. */
export function packedElements(layout: PackedLayout, k: Expr, n: Expr): Expr {
  return mul(
    mul(ceilDiv(n, int(layout.columns)), int(layout.columns)),
    mul(ceilDiv(k, int(layout.rows)), int(layout.rows)),
  );
}

/** The (k, n) whose value stands at packed offset `offset`; beyond the extents it is padding. */
export function unpackedIndex(
  layout: PackedLayout,
  offset: Expr,
  kExtent: Expr,
): { k: Expr; n: Expr } {
  const [columns, rows] = [int(layout.columns), int(layout.rows)];
  const panelSize = mul(columns, mul(ceilDiv(kExtent, rows), rows));
  const panel = div(offset, panelSize);
  const inPanel = mod(offset, panelSize);
  const block = div(inPanel, mul(columns, rows));
  const inBlock = mod(inPanel, mul(columns, rows));
  const [column, row] = layout.columnMajor
    ? [div(inBlock, rows), mod(inBlock, rows)]
    : [mod(inBlock, columns), div(inBlock, columns)];
  return { k: add(mul(block, rows), row), n: add(mul(panel, columns), column) };
}

/** Packed offset of element (k, n): the inverse of `unpackedIndex`. */
export function packedOffset(layout: PackedLayout, k: Expr, n: Expr, kExtent: Expr): Expr {
  const [columns, rows] = [int(layout.columns), int(layout.rows)];
  const panelSize = mul(columns, mul(ceilDiv(kExtent, rows), rows));
  const inBlock = layout.columnMajor
    ? add(mul(mod(n, columns), rows), mod(k, rows))
    : add(mul(mod(k, rows), columns), mod(n, columns));
  return add(mul(div(n, columns), panelSize), add(mul(div(k, rows), mul(columns, rows)), inBlock));
}
