/** Element types. A dtype has bits, not bytes: sub-byte types are packed little end first. */

export type DType =
  | "bool"
  | "i2"
  | "i4"
  | "i8"
  | "i16"
  | "i32"
  | "i64"
  | "u2"
  | "u4"
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "f16"
  | "bf16"
  | "f32"
  | "f64"
  | "e4m3fn"
  | "e4m3fnuz"
  | "e5m2"
  | "e5m2fnuz"
  | "e8m0"
  | "e2m1";

export type DTypeKind = "bool" | "int" | "uint" | "float";

export interface DTypeInfo {
  readonly bits: number;
  readonly kind: DTypeKind;
  /** Explicit mantissa bits of a float (without the hidden one); 0 otherwise. */
  readonly mantissa: number;
  /** The spelling of safetensors, or null where that format has none. */
  readonly safetensors: string | null;
}

export const dtypes: { readonly [D in DType]: DTypeInfo } = {
  bool: { bits: 8, kind: "bool", mantissa: 0, safetensors: "BOOL" },
  i2: { bits: 2, kind: "int", mantissa: 0, safetensors: null },
  i4: { bits: 4, kind: "int", mantissa: 0, safetensors: null },
  i8: { bits: 8, kind: "int", mantissa: 0, safetensors: "I8" },
  i16: { bits: 16, kind: "int", mantissa: 0, safetensors: "I16" },
  i32: { bits: 32, kind: "int", mantissa: 0, safetensors: "I32" },
  i64: { bits: 64, kind: "int", mantissa: 0, safetensors: "I64" },
  u2: { bits: 2, kind: "uint", mantissa: 0, safetensors: null },
  u4: { bits: 4, kind: "uint", mantissa: 0, safetensors: null },
  u8: { bits: 8, kind: "uint", mantissa: 0, safetensors: "U8" },
  u16: { bits: 16, kind: "uint", mantissa: 0, safetensors: "U16" },
  u32: { bits: 32, kind: "uint", mantissa: 0, safetensors: "U32" },
  u64: { bits: 64, kind: "uint", mantissa: 0, safetensors: "U64" },
  f16: { bits: 16, kind: "float", mantissa: 10, safetensors: "F16" },
  bf16: { bits: 16, kind: "float", mantissa: 7, safetensors: "BF16" },
  f32: { bits: 32, kind: "float", mantissa: 23, safetensors: "F32" },
  f64: { bits: 64, kind: "float", mantissa: 52, safetensors: "F64" },
  e4m3fn: { bits: 8, kind: "float", mantissa: 3, safetensors: "F8_E4M3" },
  e4m3fnuz: { bits: 8, kind: "float", mantissa: 3, safetensors: "F8_E4M3FNUZ" },
  e5m2: { bits: 8, kind: "float", mantissa: 2, safetensors: "F8_E5M2" },
  e5m2fnuz: { bits: 8, kind: "float", mantissa: 2, safetensors: "F8_E5M2FNUZ" },
  e8m0: { bits: 8, kind: "float", mantissa: 0, safetensors: "F8_E8M0" },
  e2m1: { bits: 4, kind: "float", mantissa: 1, safetensors: "F4" },
};

export const isFloat = (dtype: DType): boolean => dtypes[dtype].kind === "float";
export const isInteger = (dtype: DType): boolean =>
  dtypes[dtype].kind === "int" || dtypes[dtype].kind === "uint";

/** The lowest and the highest value of an integer type. */
export function integerBounds(dtype: DType): readonly [bigint, bigint] {
  const { bits, kind } = dtypes[dtype];
  const half = 2n ** BigInt(bits - 1);
  return kind === "uint" ? [0n, 2n * half - 1n] : [-half, half - 1n];
}

/** Bytes that `elements` values of `dtype` occupy, packed. */
export function byteSize(dtype: DType, elements: number): number {
  return Math.ceil((elements * dtypes[dtype].bits) / 8);
}
