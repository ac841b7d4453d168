/**
 * What a kernel computes, for every target: an anchor with expression bodies. Nothing here says how
 * (tiles, stages, threads): that is a `Config` of the family.
 *
 * Bodies are `Expr` over the coordinates of the anchor, host symbols, and the params that its
 * template provides; they read operands by `load(operand name, element offset)`.
 */
import type { DType } from "../ir/dtype.js";
import type { ReduceKind, RouteAttrs } from "../ir/ops.js";
import type { Expr } from "../scalar/expr.js";
import type { AlongDesc } from "./desc-along.js";

/** A tensor argument of a kernel, passed by address, in this order. */
export interface Operand {
  readonly name: string;
  readonly dtype: DType;
  readonly access: "read" | "write" | "readwrite";
  /** Elements that exist behind the address: what a guard band is put after. */
  readonly elements: Expr;
  /** No step of a plan writes it: a kernel may read it before the steps before it have ended. */
  readonly weight?: boolean;
}

/** One element written: `value` (cast to the operand's dtype when stored) at `offset` where `guard`. */
export interface Store {
  readonly operand: string;
  /** Element offset, i64. */
  readonly offset: Expr;
  readonly value: Expr;
  /** bool; null is always. */
  readonly guard: Expr | null;
}

/**
 * One reduction along the row axis. Later stages and the bodies after them may use
 * `param(name)`, the finished value.
 */
export interface Stage {
  readonly name: string;
  readonly kind: Exclude<ReduceKind, "mean">;
  /** f32, f64 or an integer type: over row coordinates, the row axis and earlier stages. */
  readonly body: Expr;
  /** The finished value, as an expression of `param(rawName(name))` and earlier stages. */
  readonly finish: Expr;
}

export const rawName = (stage: string): string => `${stage}.raw`;

export interface KernelBase {
  /** Arguments in order. The last may be the status word: see `statusOperand`. */
  readonly operands: readonly Operand[];
  /** What it computes, for people: names of the model's values, outermost last. */
  readonly label: string;
}

/** An i64 word that a failed `check` sets to its `failureWord` (never 0); present only where a body checks. */
export const statusOperand = "status";

/** An index that is further from 0 is told as if it were so far: one store tells site and index together. */
export const furthestIndex = 2 ** 39;

/** What the status word of a site is for index 0; other indices are added to it. */
export const failureWord = (site: number): bigint => (BigInt(site) << 40n) + BigInt(furthestIndex);

/** Independent elements: stores for each point of a row-major box, last coordinate fastest. */
export interface MapDesc extends KernelBase {
  readonly family: "map";
  /** `coord` expressions (or the literal 0 where the extent is 1). */
  readonly coords: readonly Expr[];
  readonly extents: readonly Expr[];
  readonly stores: readonly Store[];
}

/** Rows reduced along one axis by stages, then stores per element and per row. */
export interface ReduceDesc extends KernelBase {
  readonly family: "reduce";
  readonly coords: readonly Expr[];
  readonly extents: readonly Expr[];
  /** The coordinate and the extent of the row axis. */
  readonly axis: Expr;
  readonly axisExtent: Expr;
  readonly stages: readonly Stage[];
  /** Over the row coordinates and the axis. */
  readonly elementStores: readonly Store[];
  /** Over the row coordinates only. */
  readonly rowStores: readonly Store[];
}

/**
 * acc[i] = Σ_k a(batch…, m, k) · b(batch…, k, n, i) for i < group, then stores.
 *
 * `group` accumulators belong to each logical column n: physical column n·group + i of the packed
 * B. Gate and up, or the two halves of a rotary pair, so meet in one thread.
 */
export interface GemmDesc extends KernelBase {
  readonly family: "gemm";
  /** Leading independent products; usually none. */
  readonly batch: readonly Expr[];
  readonly batchExtents: readonly Expr[];
  readonly m: Expr;
  readonly mExtent: Expr;
  /** How many of the rows there are: over batch, may load what only the device knows. */
  readonly rows?: Expr;
  /** Where there are `rows`: how many those of the whole batch are together, over host symbols. */
  readonly rowsInAll?: Expr;
  /** Logical columns. */
  readonly n: Expr;
  readonly nExtent: Expr;
  readonly k: Expr;
  readonly kExtent: Expr;
  readonly group: 1 | 2;
  /** The multiply's element type: f32, f16 or bf16 (f64 on a CPU). Products accumulate in f32 (f64). */
  readonly dtype: DType;
  /** Element of A over batch, m, k, cast to `dtype`; may use the stages. */
  readonly a: Expr;
  /** Row statistics of A over k (coordinate `k`), computed before the product; usually none. */
  readonly stages: readonly Stage[];
  readonly b: GemmB;
  /**
   * Over batch, m, n: params `acc0` (and `acc1` where group is 2) of f32 (f64), and the stages.
   */
  readonly stores: readonly Store[];
}

export type GemmB =
  /**
   * A weight in the target's packed layout (see `kernel/packing.ts`), the same for all of the batch,
   * or the matrix of a stack of them that begins at element `first`, over batch.
   */
  | { readonly kind: "packed"; readonly operand: string; readonly first?: Expr }
  /** Element of B over batch, k, n (group is 1): a load, cast at most, whose offset is linear in k and n. */
  | { readonly kind: "strided"; readonly value: Expr };

/**
 * Softmax attention with a score body, never holding the score matrix:
 * out(b, g, r, q, e) = Σ_k softmax_k(score)(…) · v(b, g, k, e), with
 * score over param("score") = scale · Σ_d q·k; query head h = g·groupSize + r.
 */
export interface AttentionDesc extends KernelBase {
  readonly family: "attention";
  /** Coordinates batch, key head, query head within the key head, query, key, depth, value depth. */
  readonly b: Expr;
  readonly g: Expr;
  readonly r: Expr;
  readonly q: Expr;
  readonly k: Expr;
  readonly d: Expr;
  readonly e: Expr;
  readonly extents: {
    readonly b: Expr;
    readonly g: Expr;
    readonly r: Expr;
    readonly q: Expr;
    /** Upper limit of the key loop; may load a device symbol (over b). */
    readonly k: Expr;
    /** Literals. */
    readonly d: Expr;
    readonly e: Expr;
  };
  /** Element type of both products. */
  readonly dtype: DType;
  /** Plain loads, unit stride along d (or e), the other strides free: over their coordinates. */
  readonly queries: Expr;
  readonly keys: Expr;
  readonly values: Expr;
  readonly scale: number;
  /** f32, over param("score") and b, g, r, q, k. Minus infinity masks. */
  readonly score: Expr;
  /** Keys that can be unmasked for a query: [first, end), over b and q; derived from `score`. */
  readonly bounds: { readonly first: Expr; readonly end: Expr };
  /** Over b, g, r, q, e: param("acc") is the f32 result. */
  readonly stores: readonly Store[];
}

/**
 * The `count` largest of each row's values, descending, equal ones by ascending index, from the
 * groups of equal length that rank highest.
 */
export interface RouteDesc extends KernelBase {
  readonly family: "route";
  readonly row: Expr;
  readonly rowExtent: Expr;
  /** The coordinate along a row, and how many values it has. */
  readonly index: Expr;
  readonly choices: number;
  /** f32 (f64 on a CPU), over row and index. */
  readonly value: Expr;
  readonly count: number;
  readonly groups: number;
  readonly kept: number;
  readonly rank: RouteAttrs["rank"];
  /** The coordinate of a choice among the row's. */
  readonly slot: Expr;
  /** Over row and slot: param("chosen", "i64") is the index. */
  readonly stores: readonly Store[];
}

/**
 * The index of each row's largest value + noise, the first of equal ones, among the row's nucleus:
 * see the operator `sample`.
 */
export interface SampleDesc extends KernelBase {
  readonly family: "sample";
  readonly row: Expr;
  readonly rowExtent: Expr;
  /** The coordinate along a row, and how many values it has. */
  readonly index: Expr;
  readonly choices: Expr;
  /** f32, over row and index. */
  readonly value: Expr;
  readonly noise: Expr;
  /** bool, over row: whether there is noise; where there is none its expression is not evaluated. */
  readonly noisy: Expr;
  /** i64 and f32, over row. */
  readonly count: Expr;
  readonly mass: Expr;
  /** Over row: param("chosen", "i64") is the index. */
  readonly stores: readonly Store[];
}

/** Positions sorted by the expert that each has: see the operator `expert_groups`. */
export interface GroupDesc extends KernelBase {
  readonly family: "group";
  readonly position: Expr;
  readonly extent: Expr;
  readonly experts: number;
  /** i64 from 0 below `experts`, over position. */
  readonly expert: Expr;
  /** The i32 operand that is written. */
  readonly target: string;
}

export type KernelDesc =
  MapDesc | ReduceDesc | GemmDesc | AttentionDesc | RouteDesc | GroupDesc | SampleDesc | AlongDesc;
export type Family = KernelDesc["family"];
export type DescOf<F extends Family> = Extract<KernelDesc, { family: F }>;
