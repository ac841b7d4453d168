/** ValueInfoProto and TypeProto. */
import { elemTypeOf } from "./elem-type.js";
import { maxRank } from "./tensor.js";
import { type OnnxDim, type OnnxType, type OnnxValueInfo } from "./types.js";
import { type WireReader } from "./wire-reader.js";

const otherKinds: ReadonlyMap<number, Exclude<OnnxType["kind"], "tensor">> = new Map([
  [4, "sequence"],
  [5, "map"],
  [7, "opaque"],
  [8, "sparse_tensor"],
  [9, "optional"],
]);

export function decodeValueInfo(reader: WireReader): OnnxValueInfo {
  let name = "";
  let type: OnnxType | null = null;
  while (reader.next()) {
    if (reader.field === 1) name = reader.once("name").name();
    else if (reader.field === 2) type = decodeType(reader.once("type").message());
    else reader.skip();
  }
  return { name, type };
}

export function decodeType(reader: WireReader): OnnxType | null {
  let type: OnnxType | null = null;
  while (reader.next()) {
    const other = otherKinds.get(reader.field);
    if (reader.field !== 1 && other === undefined) {
      reader.skip();
      continue;
    }
    if (type !== null) throw reader.error("E_WIRE_DUPLICATE", "a type of two kinds");
    if (other === undefined) {
      type = decodeTensorType(reader.message());
    } else {
      reader.skip();
      type = { kind: other };
    }
  }
  return type;
}

function decodeTensorType(reader: WireReader): OnnxType {
  let code = 0;
  let shape: OnnxDim[] | null = null;
  while (reader.next()) {
    if (reader.field === 1) code = reader.once("elem_type").int32();
    else if (reader.field === 2) shape = decodeShape(reader.once("shape").message());
    else reader.skip();
  }
  // Some exporters leave the type of inner values open; it is then inferred.
  if (code === 0) return { kind: "tensor", elemType: "UNDEFINED", dtype: null, shape };
  const type = elemTypeOf(code);
  if (type === undefined) {
    throw reader.error("E_DTYPE_UNKNOWN", `elem_type ${code}, known are 1..26`, reader.start);
  }
  return { kind: "tensor", elemType: type.name, dtype: type.dtype, shape };
}

function decodeShape(reader: WireReader): OnnxDim[] {
  const dims: OnnxDim[] = [];
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    if (dims.length === maxRank) throw reader.error("E_LIMIT_RANK", `rank above ${maxRank}`);
    dims.push(decodeDim(reader.message()));
  }
  return dims;
}

function decodeDim(reader: WireReader): OnnxDim {
  let dim: OnnxDim = null;
  let seen = false;
  while (reader.next()) {
    if (reader.field !== 1 && reader.field !== 2) {
      reader.skip();
      continue;
    }
    if (seen) throw reader.error("E_WIRE_DUPLICATE", "a dimension of two values");
    seen = true;
    if (reader.field === 1) {
      const value = reader.int64();
      if (value < 0n) throw reader.error("E_DIM_NEGATIVE", `a dimension of ${value}`);
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw reader.error("E_SIZE_OVERFLOW", `a dimension of ${value}`);
      }
      dim = Number(value);
    } else {
      const name = reader.name();
      dim = name === "" ? null : name;
    }
  }
  return dim;
}
