/** ONNX's element types (`TensorProto.DataType`) and what farrier calls them. */
import { type DType } from "../../../ir/dtype.js";

/** Which field of a TensorProto holds the values of a type when `raw_data` does not. */
export type DataField =
  "float_data" | "int32_data" | "int64_data" | "double_data" | "uint64_data" | "string_data";

export interface ElemType {
  /** ONNX's name of the type. */
  readonly name: string;
  /** null where farrier has no such type. */
  readonly dtype: DType | null;
  readonly field: DataField;
}

const elemTypes: ReadonlyMap<number, ElemType> = new Map([
  [1, { name: "FLOAT", dtype: "f32", field: "float_data" }],
  [2, { name: "UINT8", dtype: "u8", field: "int32_data" }],
  [3, { name: "INT8", dtype: "i8", field: "int32_data" }],
  [4, { name: "UINT16", dtype: "u16", field: "int32_data" }],
  [5, { name: "INT16", dtype: "i16", field: "int32_data" }],
  [6, { name: "INT32", dtype: "i32", field: "int32_data" }],
  [7, { name: "INT64", dtype: "i64", field: "int64_data" }],
  [8, { name: "STRING", dtype: null, field: "string_data" }],
  [9, { name: "BOOL", dtype: "bool", field: "int32_data" }],
  [10, { name: "FLOAT16", dtype: "f16", field: "int32_data" }],
  [11, { name: "DOUBLE", dtype: "f64", field: "double_data" }],
  [12, { name: "UINT32", dtype: "u32", field: "uint64_data" }],
  [13, { name: "UINT64", dtype: "u64", field: "uint64_data" }],
  [14, { name: "COMPLEX64", dtype: null, field: "float_data" }],
  [15, { name: "COMPLEX128", dtype: null, field: "double_data" }],
  [16, { name: "BFLOAT16", dtype: "bf16", field: "int32_data" }],
  [17, { name: "FLOAT8E4M3FN", dtype: "e4m3fn", field: "int32_data" }],
  [18, { name: "FLOAT8E4M3FNUZ", dtype: "e4m3fnuz", field: "int32_data" }],
  [19, { name: "FLOAT8E5M2", dtype: "e5m2", field: "int32_data" }],
  [20, { name: "FLOAT8E5M2FNUZ", dtype: "e5m2fnuz", field: "int32_data" }],
  [21, { name: "UINT4", dtype: "u4", field: "int32_data" }],
  [22, { name: "INT4", dtype: "i4", field: "int32_data" }],
  [23, { name: "FLOAT4E2M1", dtype: "e2m1", field: "int32_data" }],
  [24, { name: "FLOAT8E8M0", dtype: "e8m0", field: "int32_data" }],
  [25, { name: "UINT2", dtype: "u2", field: "int32_data" }],
  [26, { name: "INT2", dtype: "i2", field: "int32_data" }],
]);

export const elemTypeOf = (code: number): ElemType | undefined => elemTypes.get(code);

/** For the `to` attribute of Cast and its kind: undefined where there is no such code or dtype. */
export const dtypeOfElemType = (code: number): DType | undefined =>
  elemTypes.get(code)?.dtype ?? undefined;

const codes = new Map(
  [...elemTypes].flatMap(([code, { dtype }]) => (dtype ? [[dtype, code]] : [])),
);

/** ONNX's code of a dtype. */
export function elemTypeOfDType(dtype: DType): number {
  return codes.get(dtype) ?? 0;
}
