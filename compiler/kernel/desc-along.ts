/** Kernels that walk one axis in order: running totals, the largest elements, scattering. */
import type { OpAttrs } from "../ir/ops.js";
import type { Expr } from "../scalar/expr.js";
import type { KernelBase, Store } from "./desc.js";

interface AlongBase extends KernelBase {
  /** Independent rows: `coord` expressions, or the literal 0 where the extent is 1. */
  readonly coords: readonly Expr[];
  readonly extents: readonly Expr[];
  /** The coordinate and the extent of the axis. */
  readonly axis: Expr;
  readonly axisExtent: Expr;
}

/** The total of a row up to each element. */
export interface ScanDesc extends AlongBase {
  readonly family: "scan";
  readonly kind: OpAttrs["scan"]["kind"];
  /** Without the element itself. */
  readonly exclusive: boolean;
  /** From the end of the axis. */
  readonly reverse: boolean;
  /** f32, f64 or i64: over the row and the axis. */
  readonly body: Expr;
  /** Over the row and the axis: param("total") is of the body's type. */
  readonly stores: readonly Store[];
}

/** Where the `count` largest keys of each row are, descending, equal ones by ascending index. */
export interface TopKDesc extends AlongBase {
  readonly family: "topk";
  readonly count: number;
  /** i64, over the row and the axis. */
  readonly key: Expr;
  /** The coordinate among the chosen. */
  readonly slot: Expr;
  /** Over the row and the slot: param("chosen", "i64") is the index. */
  readonly stores: readonly Store[];
}

/**
 * Stores for each element, those of a row in the order of the axis: what one stores the next may
 * load. Rows store apart from one another.
 */
export interface ScatterDesc extends AlongBase {
  readonly family: "scatter";
  /** Over the row and the axis; they may load the operand that they store to. */
  readonly stores: readonly Store[];
}

export type AlongDesc = ScanDesc | TopKDesc | ScatterDesc;
