/** How the element types of farrier are stored and computed with in C. */
import { FarrierError } from "../../errors.js";
import { dtypes, type DType } from "../../ir/dtype.js";

export interface CType {
  /** Of a value in a body. 16-bit floats are floats that hold a representable value. */
  readonly value: string;
  /** Of an element in memory; sub-byte types are packed in `uint8_t`. */
  readonly storage: string;
}

const wide = (type: string): CType => ({ value: type, storage: type });
const packedInteger: CType = { value: "int8_t", storage: "uint8_t" };

const table: { readonly [D in DType]: CType | null } = {
  bool: { value: "_Bool", storage: "uint8_t" },
  i2: packedInteger,
  i4: packedInteger,
  i8: wide("int8_t"),
  i16: wide("int16_t"),
  i32: wide("int32_t"),
  i64: wide("int64_t"),
  u2: { value: "uint8_t", storage: "uint8_t" },
  u4: { value: "uint8_t", storage: "uint8_t" },
  u8: wide("uint8_t"),
  u16: wide("uint16_t"),
  u32: wide("uint32_t"),
  u64: wide("uint64_t"),
  f16: { value: "float", storage: "uint16_t" },
  bf16: { value: "float", storage: "uint16_t" },
  f32: wide("float"),
  f64: wide("double"),
  // Kernels of 8- and 4-bit floats come with the quantised families.
  e4m3fn: null,
  e4m3fnuz: null,
  e5m2: null,
  e5m2fnuz: null,
  e8m0: null,
  e2m1: null,
};

export function cType(dtype: DType): CType {
  const type = table[dtype];
  if (type === null)
    throw new FarrierError("E_TYPE_UNSUPPORTED", `the C back end has no kernels for ${dtype}`, {
      hint: "use f32, f16, bf16, or an integer type",
    });
  return type;
}

const isSubByte = (dtype: DType): boolean => dtypes[dtype].bits < 8;

/** Element `index` of `pointer`, as a value. */
export function readElement(dtype: DType, pointer: string, index: string): string {
  if (dtype === "f16" || dtype === "bf16") return `farrier_${dtype}_to_f32(${pointer}[${index}])`;
  if (dtype === "bool") return `(${pointer}[${index}] != 0)`;
  if (!isSubByte(dtype)) return `${pointer}[${index}]`;
  const { bits, kind } = dtypes[dtype];
  const [perByte, mask] = [8 / bits, 2 ** bits - 1];
  const shift = Math.log2(perByte);
  const raw = `${pointer}[(${index}) >> ${shift}] >> (((${index}) & ${perByte - 1}) * ${bits}) & ${mask}`;
  // Moving the sign bit to the top and back extends it.
  return kind === "int"
    ? `(int8_t)((int8_t)((${raw}) << ${8 - bits}) >> ${8 - bits})`
    : `(uint8_t)(${raw})`;
}

/** The statement that makes element `index` of `pointer` the value `value` of type `from`. */
export function writeElement(dtype: DType, pointer: string, index: string, value: string): string {
  if (isSubByte(dtype))
    // Two elements share a byte, and tasks own elements.
    throw new FarrierError("E_TYPE_UNSUPPORTED", `the C back end does not write ${dtype}`);
  const bits = dtype === "f16" || dtype === "bf16" ? `farrier_f32_to_${dtype}(${value})` : value;
  return `${pointer}[${index}] = ${bits};`;
}

/** A literal of a value. */
export function literal(dtype: DType, value: number | bigint): string {
  const { kind, bits } = dtypes[dtype];
  if (kind === "bool") return Number(value) === 0 ? "0" : "1";
  if (kind === "float") return floatLiteral(Number(value), dtype === "f64");
  if (bits < 64) return kind === "uint" ? `${value}u` : `(${value})`;
  if (kind === "uint") return `UINT64_C(${BigInt.asUintN(64, BigInt(value))})`;
  // The least i64 has no literal of its own in C.
  if (BigInt(value) === -(2n ** 63n)) return "INT64_MIN";
  return value < 0 ? `(${value}L)` : `${value}L`;
}

function floatLiteral(value: number, double: boolean): string {
  const suffix = double ? "" : "f";
  if (Number.isNaN(value)) return `__builtin_nan${suffix}("")`;
  if (!Number.isFinite(value)) return `${value < 0 ? "(-" : "("}__builtin_inf${suffix}())`;
  // The shortest decimal of the double is read back to the same float.
  const text = String(double ? value : Math.fround(value));
  const sign = Object.is(value, -0) ? "-" : "";
  const digits = /[.e]/.test(text) ? text : `${text}.0`;
  return value < 0 || sign !== "" ? `(${sign}${digits}${suffix})` : `${digits}${suffix}`;
}

/** `value` of type `from` as a value of type `to`. */
export function convert(value: string, from: DType, to: DType): string {
  if (from === to) return value;
  const [source, target] = [dtypes[from], dtypes[to]];
  if (target.kind === "bool") return `(${value} != 0)`;
  if (to === "f16" || to === "bf16") return narrowFloat(value, from, to);
  if (target.kind === "float")
    return cType(from).value === cType(to).value ? value : `(${cType(to).value})${value}`;
  if (source.kind === "float") return floatToInteger(value, from, to);
  return target.bits < 8 ? wrapSubByte(value, to) : `(${cType(to).value})${value}`;
}

function narrowFloat(value: string, from: DType, to: "f16" | "bf16"): string {
  const { kind, bits } = dtypes[from];
  // What f32 holds exactly is rounded once by the helper; the rest goes through f64 to odd.
  const exact = kind === "float" ? bits <= 32 : bits <= 16;
  return `farrier_round_${to}(${exact ? `(float)${value}` : `farrier_f64_to_odd((double)${value})`})`;
}

function floatToInteger(value: string, from: DType, to: DType): string {
  if (to === "i32" && from !== "f64") return `farrier_f32_to_i32(${value})`;
  if (to === "u64") return `farrier_f64_to_u64((double)${value})`;
  const { bits, kind } = dtypes[to];
  const [low, high] =
    kind === "int" ? [`-0x1p${bits - 1}`, `0x1p${bits - 1}`] : ["0.0", `0x1p${bits}`];
  const [min, max] =
    kind === "int"
      ? [
          bits === 64 ? "INT64_MIN" : `-INT64_C(${2 ** (bits - 1)})`,
          bits === 64 ? "INT64_MAX" : `${2 ** (bits - 1) - 1}`,
        ]
      : ["0", `${2 ** bits - 1}`];
  return `(${cType(to).value})farrier_f64_to_int((double)${value}, ${low}, ${high}, ${min}, ${max})`;
}

function wrapSubByte(value: string, to: DType): string {
  const { bits, kind } = dtypes[to];
  if (kind === "uint") return `(uint8_t)((uint8_t)${value} & ${2 ** bits - 1}u)`;
  return `(int8_t)((int8_t)((uint8_t)${value} << ${8 - bits}) >> ${8 - bits})`;
}
