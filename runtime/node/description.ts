/** What a bundle says of itself: the parts of manifest.json and plan.json that the wrapper reads. */

export type HostExpr = number | string | readonly [string, ...HostExpr[]];

export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  /** Integers and expressions over symbols. */
  readonly shape: readonly HostExpr[];
  /** May be left out of `run`: this value is used. */
  readonly fill?: number;
}

export interface EntryInfo {
  readonly name: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

export interface SymbolInfo {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly divisor: number;
}

export interface StateInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

export interface KernelInfo {
  readonly symbol: string;
  readonly file: string;
  readonly family: string;
}

export interface BufferInfo {
  readonly kind: string;
  /** Of a weight, an input, an output or a state. */
  readonly index?: number;
  /** Of the arena. */
  readonly offset?: number;
  readonly bytes?: number;
}

export interface StepInfo {
  readonly kernel: number;
  readonly label: string;
  readonly buffers: readonly BufferInfo[];
}

export interface PlanInfo {
  readonly box: Readonly<Record<string, readonly [number, number]>>;
  readonly arenaBytes: number;
  readonly steps: readonly StepInfo[];
}

export interface TargetInfo {
  readonly kernels: readonly KernelInfo[];
  readonly entries: Readonly<Record<string, readonly PlanInfo[]>>;
}

export interface BundleDescription {
  readonly manifest: {
    readonly format: number;
    readonly farrier: string;
    readonly entries: readonly string[];
    readonly targets: readonly string[];
    readonly native: boolean;
    readonly files: Readonly<Record<string, { readonly bytes: number }>>;
  };
  readonly plan: {
    readonly symbols: readonly SymbolInfo[];
    readonly states: readonly StateInfo[];
    readonly entries: readonly EntryInfo[];
    readonly targets: Readonly<Record<string, TargetInfo>>;
    /** Of language models. */
    readonly generation?: {
      readonly eosTokenIds: readonly number[];
      /** A sequence that grows past so many ids has its cached keys computed again. */
      readonly recomputeAbove?: number;
    };
  };
}
