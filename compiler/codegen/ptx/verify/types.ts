/** The parsed form of a module: registers by number, instructions by index. */
import type { Form } from "./forms.js";

export type ScalarType =
  | "pred"
  | "b8"
  | "b16"
  | "b32"
  | "b64"
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "s8"
  | "s16"
  | "s32"
  | "s64"
  | "f16"
  | "f16x2"
  | "bf16"
  | "bf16x2"
  | "f32"
  | "f64";

/** Bits of a value of a type; a predicate has none. */
export const bits: { readonly [T in ScalarType]: number } = {
  pred: 0,
  b8: 8,
  b16: 16,
  b32: 32,
  b64: 64,
  u8: 8,
  u16: 16,
  u32: 32,
  u64: 64,
  s8: 8,
  s16: 16,
  s32: 32,
  s64: 64,
  f16: 16,
  f16x2: 32,
  bf16: 16,
  bf16x2: 32,
  f32: 32,
  f64: 64,
};

/** Untyped, signed, unsigned or floating-point. */
export type ScalarKind = "b" | "s" | "u" | "f";
const kind = (type: string): string =>
  type === "pred" ? "b" : type.includes("f") ? "f" : type.slice(0, 1);
export const kindOf = Object.fromEntries(Object.keys(bits).map((type) => [type, kind(type)])) as {
  readonly [T in ScalarType]: ScalarKind;
};

export const isScalarType = (name: string): name is ScalarType => Object.hasOwn(bits, name);

export interface RegisterOperand {
  readonly kind: "register";
  readonly register: number;
}

export interface SymbolOperand {
  readonly kind: "symbol";
  readonly name: string;
}

export type Operand =
  | RegisterOperand
  | SymbolOperand
  /** `low` is the value modulo 2³²; `value` may be rounded beyond 53 bits. */
  | { readonly kind: "integer"; readonly value: number; readonly low: number }
  | { readonly kind: "float"; readonly bits: 32 | 64 }
  /** `%tid.x` … */
  | { readonly kind: "special"; readonly name: string }
  | { readonly kind: "vector"; readonly registers: readonly number[] }
  | {
      readonly kind: "address";
      readonly base: RegisterOperand | SymbolOperand;
      readonly offset: number;
    };

export interface Instruction {
  readonly line: number;
  readonly opcode: string;
  /** Predicate register, or -1. */
  readonly guard: number;
  readonly negated: boolean;
  readonly operands: readonly Operand[];
  /** The row of the table that it fits; null until found, and if there is none. */
  form: Form | null;
  /** Registers written and read (the guard apart). */
  defs: readonly number[];
  uses: readonly number[];
}

export interface SharedSymbol {
  readonly name: string;
  readonly align: number;
  /** Bytes; null is the dynamic part. */
  readonly bytes: number | null;
  readonly line: number;
}

export interface Label {
  readonly index: number;
  readonly line: number;
}

export interface Module {
  version: { readonly major: number; readonly minor: number } | null;
  /** `sm_80`, `sm_90a` … */
  target: string;
  addressSize: number;
  readonly shared: Map<string, SharedSymbol>;
  entry: { readonly name: string; readonly line: number } | null;
  readonly params: { readonly name: string; readonly type: ScalarType; readonly line: number }[];
  readonly tuning: Map<string, readonly number[]>;
  /** By register number. */
  readonly registerTypes: ScalarType[];
  readonly registerNames: (id: number) => string;
  readonly instructions: Instruction[];
  readonly labels: Map<string, Label>;
  /** Line of the closing brace. */
  endLine: number;
}

/** What a launch passes as one 8-byte argument. */
export type PtxParam =
  | {
      readonly kind: "pointer";
      /** What the address is a multiple of, bytes. */
      readonly align: number;
      readonly access: "read" | "write" | "readwrite";
      /** Written by no kernel: may be read before `griddepcontrol.wait`. */
      readonly weight?: boolean;
    }
  | {
      readonly kind: "scalar";
      /** What every value is a multiple of. */
      readonly multiple: number;
      readonly min: number;
      readonly max: number;
    };

export interface VerifyOptions {
  /** `.target` and the highest `.version` that the text may ask for. */
  readonly target: { readonly name: string; readonly version: string };
  /** Dynamic shared memory of the launch, bytes. */
  readonly sharedBytes: number;
  /** Shared memory that a block can have, static and dynamic. */
  readonly sharedLimit?: number;
  /** Threads of a block, along x. */
  readonly threads: number;
  readonly params: readonly PtxParam[];
  /** Launched before the kernel before it has ended: `griddepcontrol.wait` is needed on every path. */
  readonly dependent?: boolean;
  /**
   * Addresses must be proved good, not only not proved bad: alignment always, the upper end in shared
   * memory where it has a bound. What farrier's tests ask of its own kernels.
   */
  readonly proof?: boolean;
}
