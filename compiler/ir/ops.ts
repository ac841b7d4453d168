/**
 * The core operators and the types of their attributes. Every other table per operator is total over
 * `OpName`, so that a new operator does not type-check until each of them answers.
 *
 * Shapes below are written [outer, …]; `…` is any number of leading axes.
 */
import type { Expr } from "../scalar/expr.js";
import type { ScalarFunction } from "../scalar/function.js";

/** Where the bytes of a constant are. Constants are compared by place, never by content. */
export type ConstantSource =
  /** A range of a model file; `tensor` is its name there. */
  | {
      readonly kind: "file";
      readonly file: string;
      readonly offset: number;
      readonly bytes: number;
      readonly tensor: string;
    }
  /** Bytes written by a frontend or by folding, little endian and packed. */
  | { readonly kind: "literal"; readonly data: Uint8Array }
  /** No bytes: a shape only (`--weights none`), or made from a seed when bound (`--weights random`). */
  | { readonly kind: "absent"; readonly tensor: string };

export type ReduceKind = "sum" | "mean" | "max" | "min" | "prod";

export interface RouteAttrs {
  readonly count: number;
  readonly groups: number;
  readonly kept: number;
  readonly rank: "largest" | "two";
}

export type ScatterReduction = "none" | "add" | "mul" | "max" | "min";

export interface OpAttrs {
  /** A tensor that the caller gives. */
  input: { readonly name: string };
  /** A tensor of the model. */
  constant: { readonly source: ConstantSource };
  /** The state `name` before this run; shape is its capacity. */
  state: { readonly name: string };
  /** i64: the coordinate along `axis`. */
  iota: { readonly axis: number };
  /** Rank 0, i64: the value of an expression over symbols. */
  dim: { readonly value: Expr };

  /** Elementwise; inputs have the shape of the output, or rank 0. */
  map: { readonly fn: ScalarFunction };
  /** Conversion to the node's dtype. */
  cast: null;

  /** The same elements in row-major order under another shape. */
  reshape: null;
  /** Output axis i is input axis perm[i]. */
  transpose: { readonly perm: readonly number[] };
  /** NumPy broadcasting to the node's shape: axes align at the right; extent 1 repeats. */
  broadcast: null;
  /** Output index i along axis a is input index starts[a] + i * steps[a]. */
  slice: { readonly starts: readonly Expr[]; readonly steps: readonly number[] };
  /** Inputs one after the other along `axis`. */
  concat: { readonly axis: number };
  /** data, indices (any integer shape): the axis is replaced by the shape of the indices. */
  gather: { readonly axis: number };
  /** data, indices […, n]: index tuples over the first n axes after `batchDims`. */
  gather_nd: { readonly batchDims: number };

  /** Reduction over `axes`, which stay with extent 1. */
  reduce: { readonly kind: ReduceKind; readonly axes: readonly number[] };
  /** The total of the elements up to each along `axis`; `exclusive` leaves out the element itself. */
  scan: {
    readonly kind: "sum" | "prod";
    readonly axis: number;
    readonly exclusive: boolean;
    readonly reverse: boolean;
  };
  /**
   * i64: where along `axis` the `count` largest (or smallest) elements are, in their order; equal
   * ones by ascending index. NaN is above everything.
   */
  top_k: { readonly axis: number; readonly count: number; readonly largest: boolean };
  /**
   * data, indices, updates (of one shape): data where the element at the place of each update, with
   * its index as the coordinate along `axis`, is replaced, or combined with it; in row-major order.
   */
  scatter: { readonly axis: number; readonly reduction: ScatterReduction };
  softmax: { readonly axis: number };
  /**
   * Over the last axis: (x - mean) * rsqrt(var + epsilon) for `layer`, x * rsqrt(mean(x²) + epsilon)
   * for `rms`, in at least f32. Scale and bias are ordinary `map` nodes after it.
   */
  normalize: { readonly kind: "layer" | "rms"; readonly epsilon: number };

  /** […, m, k] × […, k, n] → […, m, n]; leading axes are equal. Accumulates in at least f32. */
  matmul: null;
  /**
   * x […, s, d], cos and sin (same leading axes or extent 1) […, s, d/2]: rotates each pair by its
   * angle. Pairs are (i, i + d/2), or (2i, 2i + 1) where `interleaved`.
   */
  rotary: { readonly interleaved: boolean };
  /**
   * q [b, h, s, d], k [b, g, t, d], v [b, g, t, e], then tensors that the score body loads →
   * [b, h, s, e]: softmax over t of `score`, times v. h is a multiple of g.
   * `score` is an f32 expression of param("score") = scale·q·k and i64 params b, h, q, k; it may
   * load input i (from 3) as `load("input<i>", row-major offset)`. Minus infinity masks; a row that
   * is masked everywhere gives zeros.
   */
  attention: { readonly scale: number; readonly score: Expr };
  /**
   * state [b, g, c, d], value [b, g, s, d], start [b] i64 → the state with value[i, :, j] at
   * position start[i] + j.
   */
  cache_write: null;
  /**
   * state [p, g, n, d], a pool of p pages of n rows, value [b, g, s, d], slots [b, s] i64, count [b]
   * i64 → the state with value[i, :, j], for j below count[i], at row slots[i, j] mod n of page
   * slots[i, j] / n.
   */
  paged_write: null;
  /**
   * choice [t, e] → i32 [t, count]: the `count` largest of each row, descending, equal ones by
   * ascending index. The e are `groups` runs of equal length, of which the `kept` with the largest
   * `rank` may be chosen from: the largest of the run, or the sum of its two largest.
   */
  route: RouteAttrs;
  /**
   * chosen [t, k] i32 below `experts` → i32 [2·experts + 1 + t·k]: what a product by experts walks.
   * First the experts that rows have, ascending, then zeros, `experts` in all; then `experts` + 1
   * starts, those of the same experts, then t·k; then the positions in [t, k] of each expert's rows,
   * ascending, one expert after the other.
   */
  expert_groups: { readonly experts: number };
  /**
   * x [t, d] (or [t, k, d]), weights [e, d, n], chosen [t, k] i32, its `expert_groups` → [t, k, n]:
   * each row times the matrix of its expert. Accumulates in at least f32.
   */
  expert_matmul: null;
  /**
   * values [t, v], noise [t, v], then temperature, count i32 and mass [t] → i64 [t]: the index of the
   * largest values / temperature + noise, the first of equal ones, among the nucleus of each row: its
   * `count` largest values (all where count < 1), and of these the largest whose softmax (of values /
   * temperature) reaches `mass` of theirs (all unless mass < 1). What equals the lowest of the nucleus
   * belongs to it. Without a positive temperature values stay as they are, and there is no noise. NaN
   * is below everything.
   */
  sample: null;
  /** x (packed or e.g. fp8), scale: x · scale, one scale for `group` elements along `axis`. */
  dequantize: { readonly axis: number; readonly group: number };
}

export type OpName = keyof OpAttrs;
