/**
 * A plan: the steps that run an entry for a box of symbol ranges, and the weight program. These are
 * the types of `plan.json`; `docs/bundle.md` describes the file for whoever writes a loader.
 */
import type { DType } from "../ir/dtype.js";

/**
 * An integer expression that the host evaluates at launch: a literal, a host symbol, or an operator
 * with arguments. `div` and `mod` round towards minus infinity; comparisons give 0 or 1;
 * `select` is [condition, value if not 0, value if 0].
 */
export type HostExpr = number | string | readonly [HostOp, ...HostExpr[]];
export type HostOp =
  "add" | "sub" | "mul" | "div" | "mod" | "min" | "max" | "select" | "lt" | "le" | "eq" | "ne";

export interface PlanSymbol {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly divisor: number;
}

/** A tensor of the checkpoint, as stored. */
export interface SourceTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
  /**
   * `bundle`: a tensor of the bundle's `weights.safetensors`, by `name`. `file`: a range of an outside
   * file (`--weights reference`). `random`: values made from `seed` when bound. `none`: no values.
   */
  readonly from:
    | { readonly kind: "bundle" }
    | { readonly kind: "file"; readonly file: string; readonly offset: number }
    | {
        readonly kind: "random";
        readonly seed: number;
        readonly scale: number;
        readonly shift: number;
      }
    | { readonly kind: "none" };
}

export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly HostExpr[];
  /** May be left out: the runtime fills it with this value. */
  readonly fill?: number;
}

/** A persistent tensor of fixed capacity, zero when made. Its shape depends on no symbol but may on `batch`'s maximum. */
export interface StateSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: "contiguous";
}

export interface KernelEntry {
  /** Function in the module. */
  readonly symbol: string;
  /** File below the bundle; for a CPU the sources, all of which are in the `library` of the target. */
  readonly file: string;
  readonly family: string;
  /** For each buffer of a step: `r` it is read, `w` written, `b` both. What loaders check the memory plan by. */
  readonly access?: string;
  /** GPU: threads of a block and dynamic shared memory in bytes. CPU: scratch bytes of a thread. */
  readonly threads?: number;
  readonly sharedBytes?: number;
  readonly scratchBytes?: number;
  /** GPU: it waits for the kernel before itself, so that it may be launched before that has ended. */
  readonly dependent?: boolean;
}

/** Where a kernel argument's memory is. */
export type BufferRef =
  /** A range of the workspace, by offset in bytes. */
  | { readonly kind: "arena"; readonly offset: number; readonly bytes: number }
  | { readonly kind: "weight"; readonly index: number }
  | { readonly kind: "source"; readonly index: number }
  | { readonly kind: "input"; readonly index: number }
  | { readonly kind: "output"; readonly index: number }
  | { readonly kind: "state"; readonly index: number }
  /** The i64 status word of the run. */
  | { readonly kind: "status" }
  /** The first `count` of the plan's tickets. */
  | { readonly kind: "tickets"; readonly count: number };

/**
 * One step. A kernel's arguments are the addresses of `buffers`, in order, then `scalars`, each 64 bits.
 * GPU kernels are launched on `grid` blocks; CPU kernels are called for task 0 … tasks - 1.
 * Loaders refuse kinds that they do not know.
 */
export interface KernelStep {
  readonly kind: "kernel";
  readonly kernel: number;
  readonly buffers: readonly BufferRef[];
  readonly scalars: readonly HostExpr[];
  readonly grid?: readonly [HostExpr, HostExpr, HostExpr];
  readonly tasks?: HostExpr;
  readonly label: string;
}

export type Step = KernelStep;

export interface Plan {
  /** Ranges of symbols for which this plan is right; symbols left out are free. */
  readonly box: Readonly<Record<string, readonly [number, number]>>;
  readonly arenaBytes: number;
  /** u32 counters for steps whose blocks meet: zero before the first step, and left zero by each. */
  readonly tickets?: number;
  readonly steps: readonly Step[];
}

/** A weight as kernels read it: an alias of a source tensor, or made from others by steps. */
export interface WeightSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly bytes: number;
  readonly alias?: number;
  /**
   * Steps with `weight`, `source` and `arena` buffers; this weight itself is `{kind: "weight"}` with
   * its own index. Sources that no later weight or plan needs may be dropped after it.
   */
  readonly steps?: readonly Step[];
  readonly arenaBytes?: number;
}

export interface EntrySpec {
  readonly name: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

export interface TargetPlans {
  readonly kernels: readonly KernelEntry[];
  /** CPU: shared objects by instruction set, best last; the runtime picks the best that the machine has. */
  readonly libraries?: Readonly<Record<string, string>>;
  readonly weights: readonly WeightSpec[];
  /** By entry name: first plan whose box holds the symbols runs. */
  readonly entries: Readonly<Record<string, readonly Plan[]>>;
}

export interface BundlePlan {
  readonly format: 1;
  readonly symbols: readonly PlanSymbol[];
  readonly sources: readonly SourceTensor[];
  readonly states: readonly StateSpec[];
  readonly entries: readonly EntrySpec[];
  readonly targets: Readonly<Record<string, TargetPlans>>;
  /** Failures that a kernel may report: status word -> what it means. */
  readonly checks: Readonly<Record<string, string>>;
  /** Language models: what whoever generates with it has to know. */
  readonly generation?: {
    readonly eosTokenIds: readonly number[];
    /** A sequence that grows past so many ids needs its states computed again, from its first id. */
    readonly recomputeAbove?: number;
  };
}
