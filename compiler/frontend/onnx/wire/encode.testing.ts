/**
 * Writes ONNX models for tests: `encodeModel` and its specs for whole models, and the fields of
 * protobuf below them for what no exporter would write.
 */
import { type DType, dtypes } from "../../../ir/dtype.js";
import { elemTypeOfDType } from "./elem-type.js";

// ---- protobuf -------------------------------------------------------------------------------

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A varint; negative values take ten bytes, as protobuf's int64 does. */
export function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

export function tag(field: number, wire: number): Uint8Array {
  return varint((BigInt(field) << 3n) | BigInt(wire));
}

export function intField(field: number, value: number | bigint): Uint8Array {
  return concat(tag(field, 0), varint(value));
}

export function floatField(field: number, value: number): Uint8Array {
  return concat(tag(field, 5), floatBytes([value]));
}

/** A length-delimited field: bytes, or a nested message. */
export function bytesField(field: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return concat(tag(field, 2), varint(length), ...parts);
}

export function stringField(field: number, text: string): Uint8Array {
  return bytesField(field, Buffer.from(text, "utf8"));
}

/** A repeated int field as one packed run. */
export function packedInts(field: number, values: Iterable<number | bigint>): Uint8Array {
  return bytesField(field, ...[...values].map(varint));
}

export function packedFloats(field: number, values: readonly number[]): Uint8Array {
  return bytesField(field, floatBytes(values));
}

export function floatBytes(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, index) => view.setFloat32(index * 4, value, true));
  return new Uint8Array(view.buffer);
}

export function doubleBytes(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 8));
  values.forEach((value, index) => view.setFloat64(index * 8, value, true));
  return new Uint8Array(view.buffer);
}

export function int64Bytes(values: readonly (number | bigint)[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 8));
  values.forEach((value, index) => view.setBigInt64(index * 8, BigInt(value), true));
  return new Uint8Array(view.buffer);
}

// ---- tensors --------------------------------------------------------------------------------

/** A farrier dtype, or a code of ONNX's for the rest. */
export type ElemSpec = DType | number;

export interface TensorSpec {
  name?: string;
  type: ElemSpec;
  dims?: readonly (number | bigint)[];
  raw?: Uint8Array;
  floatData?: readonly number[];
  int32Data?: readonly (number | bigint)[];
  int64Data?: readonly (number | bigint)[];
  uint64Data?: readonly (number | bigint)[];
  doubleData?: readonly number[];
  stringData?: readonly string[];
  /** Key and value of each external_data entry; sets data_location unless `location` does. */
  external?: Readonly<Record<string, string>>;
  location?: number;
  /** Fields appended as they are. */
  extra?: Uint8Array;
}

const elemCode = (type: ElemSpec): number =>
  typeof type === "number" ? type : elemTypeOfDType(type);

export function encodeTensor(spec: TensorSpec): Uint8Array {
  const parts: Uint8Array[] = (spec.dims ?? []).map((dim) => intField(1, dim));
  parts.push(intField(2, elemCode(spec.type)));
  if (spec.floatData) parts.push(packedFloats(4, spec.floatData));
  if (spec.int32Data) parts.push(packedInts(5, spec.int32Data));
  for (const text of spec.stringData ?? []) parts.push(stringField(6, text));
  if (spec.int64Data) parts.push(packedInts(7, spec.int64Data));
  if (spec.name !== undefined) parts.push(stringField(8, spec.name));
  if (spec.raw) parts.push(bytesField(9, spec.raw));
  if (spec.doubleData) parts.push(bytesField(10, doubleBytes(spec.doubleData)));
  if (spec.uint64Data) parts.push(packedInts(11, spec.uint64Data));
  for (const [key, value] of Object.entries(spec.external ?? {})) {
    parts.push(bytesField(13, encodeEntry(key, value)));
  }
  const location = spec.location ?? (spec.external ? 1 : undefined);
  if (location !== undefined) parts.push(intField(14, location));
  return concat(...parts, spec.extra ?? new Uint8Array());
}

export function encodeEntry(key: string, value: string): Uint8Array {
  return concat(stringField(1, key), stringField(2, value));
}

export function f32Tensor(
  name: string,
  dims: readonly number[],
  values: readonly number[],
): TensorSpec {
  return { name, type: "f32", dims, raw: floatBytes(values) };
}

export function i64Tensor(
  name: string,
  dims: readonly number[],
  values: readonly (number | bigint)[],
): TensorSpec {
  return { name, type: "i64", dims, raw: int64Bytes(values) };
}

/** A tensor of zeros of any dtype. */
export function zeroTensor(name: string, type: DType, dims: readonly number[]): TensorSpec {
  const elements = dims.reduce((product, dim) => product * dim, 1);
  return { name, type, dims, raw: new Uint8Array(Math.ceil((elements * dtypes[type].bits) / 8)) };
}

// ---- values ---------------------------------------------------------------------------------

export interface ValueSpec {
  name: string;
  /** Left out: a value without a type. */
  type?: ElemSpec;
  /** Sizes, symbols, null for unknown; left out: unknown rank. */
  shape?: readonly (number | bigint | string | null)[];
  /** An encoded TypeProto in place of the above. */
  typeProto?: Uint8Array;
}

export function encodeValue(spec: ValueSpec): Uint8Array {
  const type =
    spec.typeProto ?? (spec.type === undefined ? undefined : tensorType(spec.type, spec.shape));
  return concat(stringField(1, spec.name), type ? bytesField(2, type) : new Uint8Array());
}

/** A TypeProto of a tensor. */
export function tensorType(type: ElemSpec, shape?: ValueSpec["shape"]): Uint8Array {
  const dims = shape?.map((dim) => {
    if (dim === null) return bytesField(1);
    return bytesField(1, typeof dim === "string" ? stringField(2, dim) : intField(1, dim));
  });
  const parts = [intField(1, elemCode(type))];
  if (dims) parts.push(bytesField(2, ...dims));
  return bytesField(1, ...parts);
}

// ---- nodes and graphs -----------------------------------------------------------------------

/** A value of an attribute: made by the functions of `attr`. */
export interface AttrSpec {
  readonly code: number;
  readonly fields: Uint8Array;
}

const attrOf = (code: number, ...fields: readonly Uint8Array[]): AttrSpec => ({
  code,
  fields: concat(...fields),
});

export const attr = {
  float: (value: number) => attrOf(1, floatField(2, value)),
  int: (value: number | bigint) => attrOf(2, intField(3, value)),
  string: (value: string) => attrOf(3, stringField(4, value)),
  tensor: (value: TensorSpec) => attrOf(4, bytesField(5, encodeTensor(value))),
  graph: (value: GraphSpec) => attrOf(5, bytesField(6, encodeGraph(value))),
  floats: (values: readonly number[]) => attrOf(6, ...values.map((v) => floatField(7, v))),
  ints: (values: readonly (number | bigint)[]) => attrOf(7, ...values.map((v) => intField(8, v))),
  strings: (values: readonly string[]) => attrOf(8, ...values.map((v) => stringField(9, v))),
  /** In a function's body; `code` is the attribute type that is meant. */
  ref: (name: string, code: number) => attrOf(code, stringField(21, name)),
  /** Anything else: fields as they are, under a type code. */
  fields: attrOf,
};

export interface NodeSpec {
  op: string;
  inputs?: readonly string[];
  outputs?: readonly string[];
  name?: string;
  domain?: string;
  overload?: string;
  attrs?: Readonly<Record<string, AttrSpec>>;
  extra?: Uint8Array;
}

export function encodeNode(spec: NodeSpec): Uint8Array {
  const parts = (spec.inputs ?? []).map((name) => stringField(1, name));
  for (const name of spec.outputs ?? []) parts.push(stringField(2, name));
  if (spec.name !== undefined) parts.push(stringField(3, spec.name));
  parts.push(stringField(4, spec.op));
  for (const [name, value] of Object.entries(spec.attrs ?? {})) {
    parts.push(bytesField(5, encodeAttribute(name, value)));
  }
  if (spec.domain !== undefined) parts.push(stringField(7, spec.domain));
  if (spec.overload !== undefined) parts.push(stringField(8, spec.overload));
  return concat(...parts, spec.extra ?? new Uint8Array());
}

export function encodeAttribute(name: string, value: AttrSpec): Uint8Array {
  const type = value.code === 0 ? new Uint8Array() : intField(20, value.code);
  return concat(stringField(1, name), value.fields, type);
}

/** A node in one line: `node("Add", ["a", "b"], ["c"])`. */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attrs: Readonly<Record<string, AttrSpec>> = {},
): NodeSpec {
  return { op, inputs, outputs, attrs };
}

export interface GraphSpec {
  name?: string;
  nodes?: readonly NodeSpec[];
  initializers?: readonly TensorSpec[];
  inputs?: readonly ValueSpec[];
  outputs?: readonly ValueSpec[];
  valueInfo?: readonly ValueSpec[];
  extra?: Uint8Array;
}

export function encodeGraph(spec: GraphSpec): Uint8Array {
  return concat(
    ...(spec.nodes ?? []).map((item) => bytesField(1, encodeNode(item))),
    stringField(2, spec.name ?? "graph"),
    ...(spec.initializers ?? []).map((item) => bytesField(5, encodeTensor(item))),
    ...(spec.inputs ?? []).map((item) => bytesField(11, encodeValue(item))),
    ...(spec.outputs ?? []).map((item) => bytesField(12, encodeValue(item))),
    ...(spec.valueInfo ?? []).map((item) => bytesField(13, encodeValue(item))),
    spec.extra ?? new Uint8Array(),
  );
}

export interface FunctionSpec {
  name: string;
  domain: string;
  inputs?: readonly string[];
  outputs?: readonly string[];
  attributes?: readonly string[];
  defaults?: Readonly<Record<string, AttrSpec>>;
  nodes?: readonly NodeSpec[];
  opsets?: Readonly<Record<string, number>>;
}

export function encodeFunction(spec: FunctionSpec): Uint8Array {
  return concat(
    stringField(1, spec.name),
    ...(spec.inputs ?? []).map((name) => stringField(4, name)),
    ...(spec.outputs ?? []).map((name) => stringField(5, name)),
    ...(spec.attributes ?? []).map((name) => stringField(6, name)),
    ...(spec.nodes ?? []).map((item) => bytesField(7, encodeNode(item))),
    ...encodeOpsets(9, spec.opsets ?? { "": 21 }),
    stringField(10, spec.domain),
    ...Object.entries(spec.defaults ?? {}).map(([name, value]) =>
      bytesField(11, encodeAttribute(name, value)),
    ),
  );
}

export interface ModelSpec {
  irVersion?: number;
  /** Domain to version; a number is the standard domain's. Default 21. */
  opset?: number | Readonly<Record<string, number>>;
  producer?: string;
  graph: GraphSpec;
  functions?: readonly FunctionSpec[];
  metadata?: Readonly<Record<string, string>>;
  extra?: Uint8Array;
}

export function encodeModel(spec: ModelSpec): Uint8Array {
  const opset = spec.opset ?? 21;
  return concat(
    intField(1, spec.irVersion ?? 10),
    ...(spec.producer === undefined ? [] : [stringField(2, spec.producer)]),
    bytesField(7, encodeGraph(spec.graph)),
    ...encodeOpsets(8, typeof opset === "number" ? { "": opset } : opset),
    ...Object.entries(spec.metadata ?? {}).map(([key, value]) =>
      bytesField(14, encodeEntry(key, value)),
    ),
    ...(spec.functions ?? []).map((item) => bytesField(25, encodeFunction(item))),
    spec.extra ?? new Uint8Array(),
  );
}

function encodeOpsets(field: number, opsets: Readonly<Record<string, number>>): Uint8Array[] {
  return Object.entries(opsets).map(([domain, version]) =>
    bytesField(field, stringField(1, domain), intField(2, version)),
  );
}
