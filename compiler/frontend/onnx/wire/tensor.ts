/** TensorProto: type, shape, and the one place that holds its values. */
import { type ErrorPlace, FarrierError } from "../../../errors.js";
import { byteSize, type DType, dtypes } from "../../../ir/dtype.js";
import { printable } from "../../files/source-file.js";
import { type DataField, type ElemType, elemTypeOf } from "./elem-type.js";
import { type DecodeContext, decodeEntry, resolveExternal } from "./external-data.js";
import {
  AbsentData,
  checkBools,
  dataFields,
  EmbeddedData,
  ExternalData,
  FieldData,
  fitsDType,
  lengthOf,
  StringData,
} from "./tensor-data.js";
import { type OnnxTensor, type TensorData } from "./types.js";
import { type Span, type WireReader } from "./wire-reader.js";

export const maxRank = 8;

interface RawTensor {
  readonly message: WireReader;
  readonly dims: bigint[];
  dataType: number;
  name: string;
  raw: Span | undefined;
  /** Entries of each typed field that has any. */
  readonly counts: Map<DataField, number>;
  /** The only run of `float_data` or `double_data`, null once there is a second one. */
  run: Span | null | undefined;
  readonly strings: string[];
  readonly external: Map<string, string>;
  isExternal: boolean;
}

/** @param fallback what errors call a tensor without a name */
export function decodeTensor(
  message: WireReader,
  context: DecodeContext,
  fallback = "tensor",
): OnnxTensor {
  const raw = readFields(message);
  const label = raw.name === "" ? fallback : `tensor ${JSON.stringify(printable(raw.name))}`;
  const place: ErrorPlace = { file: message.file, offset: message.start, where: label };
  const type = elemTypeOf(raw.dataType);
  if (type === undefined) {
    throw new FarrierError("E_DTYPE_UNKNOWN", `data_type ${raw.dataType}, known are 1..26`, place);
  }
  const { shape, elements } = sizesOf(raw.dims, type.dtype, place);
  const data = dataOf(raw, type, elements, label, place, context);
  return { name: raw.name, elemType: type.name, dtype: type.dtype, shape, data };
}

function readFields(message: WireReader): RawTensor {
  const raw: RawTensor = {
    message,
    dims: [],
    dataType: 0,
    name: "",
    raw: undefined,
    counts: new Map(),
    run: undefined,
    strings: [],
    external: new Map(),
    isExternal: false,
  };
  while (message.next()) {
    switch (message.field) {
      case 1:
        message.int64s(raw.dims, maxRank, "E_LIMIT_RANK");
        break;
      case 2:
        raw.dataType = message.once("data_type").int32();
        break;
      case 3:
        throw message.error("E_TYPE_UNSUPPORTED", "a tensor in segments");
      case 4:
        readFixed(raw, "float_data", 4);
        break;
      case 5:
        readVarints(raw, "int32_data");
        break;
      case 6:
        raw.strings.push(message.text());
        raw.counts.set("string_data", raw.strings.length);
        break;
      case 7:
        readVarints(raw, "int64_data");
        break;
      case 8:
        raw.name = message.once("name").name();
        break;
      case 9:
        raw.raw = message.once("raw_data").span();
        break;
      case 10:
        readFixed(raw, "double_data", 8);
        break;
      case 11:
        readVarints(raw, "uint64_data");
        break;
      case 13:
        readExternalEntry(raw);
        break;
      case 14:
        raw.isExternal = readLocation(message);
        break;
      default:
        message.skip();
    }
  }
  return raw;
}

function readExternalEntry(raw: RawTensor): void {
  const [key, value] = decodeEntry(raw.message.message());
  if (raw.external.has(key)) {
    const what = `external_data key ${JSON.stringify(printable(key))} appears twice`;
    throw raw.message.error("E_WIRE_DUPLICATE", what);
  }
  raw.external.set(key, value);
}

function readLocation(message: WireReader): boolean {
  const location = message.once("data_location").int32();
  if (location === 0 || location === 1) return location === 1;
  throw message.error("E_TENSOR_AMBIGUOUS", `data_location ${location}, known are 0 and 1`);
}

function readFixed(raw: RawTensor, field: "float_data" | "double_data", width: 4 | 8): void {
  const span = raw.message.fixed(width);
  if (lengthOf(span) === 0) return;
  raw.run = raw.run === undefined ? span : null;
  raw.counts.set(field, (raw.counts.get(field) ?? 0) + lengthOf(span) / width);
}

function readVarints(raw: RawTensor, field: DataField): void {
  let count = raw.counts.get(field) ?? 0;
  raw.message.varints(() => count++);
  if (count > 0) raw.counts.set(field, count);
}

function sizesOf(
  dims: readonly bigint[],
  dtype: DType | null,
  place: ErrorPlace,
): { shape: number[]; elements: number } {
  const negative = dims.find((dim) => dim < 0n);
  if (negative !== undefined) {
    throw new FarrierError("E_DIM_NEGATIVE", `a dimension of ${negative}`, place);
  }
  const elements = dims.includes(0n) ? 0n : dims.reduce((product, dim) => product * dim, 1n);
  const bits = elements * BigInt(dtype === null ? 128 : dtypes[dtype].bits);
  const largest = dims.reduce((max, dim) => (dim > max ? dim : max), 0n);
  if (bits > BigInt(Number.MAX_SAFE_INTEGER) || largest > BigInt(Number.MAX_SAFE_INTEGER)) {
    const what = `the shape [${dims.join(", ")}] overflows 2^53`;
    throw new FarrierError("E_SIZE_OVERFLOW", what, place);
  }
  return { shape: dims.map(Number), elements: Number(elements) };
}

function dataOf(
  raw: RawTensor,
  type: ElemType,
  elements: number,
  label: string,
  place: ErrorPlace,
  context: DecodeContext,
): TensorData {
  const rawBytes = raw.raw === undefined ? 0 : lengthOf(raw.raw);
  const holders: string[] = [...raw.counts.keys()];
  if (rawBytes > 0) holders.push("raw_data");
  if (raw.isExternal) holders.push("external data");
  if (holders.length > 1) {
    const what = `values in ${holders.join(" and in ")}: only one may be set`;
    throw new FarrierError("E_TENSOR_AMBIGUOUS", what, place);
  }
  const { dtype } = type;
  if (dtype === null) return foreignData(raw, type, elements, label, place);

  const needed = byteSize(dtype, elements);
  if (raw.isExternal) {
    const range = resolveExternal(raw.external, needed, label, place, context);
    if (range !== null) return new ExternalData(label, range.file, range.offset, needed, dtype);
    return new AbsentData(
      label,
      needed,
      () => new FarrierError("E_EXT_MISSING", "the model was read without its directory", place),
    );
  }
  if (rawBytes > 0 && raw.raw !== undefined) {
    if (rawBytes !== needed) throw wrongSize(`${needed} bytes of raw_data`, rawBytes, place);
    return embedded(raw.raw, raw.message, dtype, label, context);
  }
  const count = raw.counts.get(type.field) ?? 0;
  const entries = dtypes[dtype].bits < 8 ? needed : elements;
  if (count !== entries || holders.length > (count > 0 ? 1 : 0)) {
    const found = holders[0] === type.field || holders.length === 0 ? "" : `${holders[0]}, and `;
    throw wrongSize(`${entries} entries of ${type.field}`, `${found}${count}`, place);
  }
  if (raw.run && needed > 0) return embedded(raw.run, raw.message, dtype, label, context);
  if (type.field !== "float_data" && type.field !== "double_data") {
    checkValues(raw.message, dataFields[type.field], dtype, place);
  }
  return new FieldData(label, raw.message, dataFields[type.field], dtype, needed);
}

/** Strings and complex numbers: counted, so that the wire is checked, and not given as bytes. */
function foreignData(
  raw: RawTensor,
  type: ElemType,
  elements: number,
  label: string,
  place: ErrorPlace,
): TensorData {
  if (type.name === "STRING") {
    const holder = raw.counts.has("string_data") || elements === 0;
    if (raw.strings.length !== elements || !holder) {
      throw wrongSize(`${elements} entries of string_data`, raw.strings.length, place);
    }
    return new StringData(label, raw.strings);
  }
  const error = (): FarrierError =>
    new FarrierError("E_TYPE_UNSUPPORTED", `elements of type ${type.name}`, place);
  return new AbsentData(label, 0, error);
}

function embedded(
  span: Span,
  message: WireReader,
  dtype: DType,
  label: string,
  context: DecodeContext,
): TensorData {
  const view = message.view(span);
  if (dtype === "bool") checkBools(view, message.file, label, span.start);
  const file = context.modelName;
  return new EmbeddedData(label, view, file === null ? null : { file, offset: span.start });
}

function checkValues(message: WireReader, field: number, dtype: DType, place: ErrorPlace): void {
  const again = message.again();
  while (again.next()) {
    if (again.field !== field) {
      again.skip();
      continue;
    }
    again.varints((low, high) => {
      if (fitsDType(dtype, low, high)) return;
      const value = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
      const what = `${value} is not a value of ${dtype}`;
      throw new FarrierError("E_TENSOR_VALUE", what, { ...place, offset: again.tagOffset });
    });
  }
}

const wrongSize = (needs: string, has: number | string, place: ErrorPlace): FarrierError =>
  new FarrierError("E_TENSOR_SIZE", `needs ${needs}, has ${has}`, place);
