/** AttributeProto: one value of the type that it declares. */
import { type FarrierError } from "../../../errors.js";
import { printable } from "../../files/source-file.js";
import { type DecodeContext } from "./external-data.js";
import { decodeTensor } from "./tensor.js";
import { decodeType } from "./type-proto.js";
import {
  type OnnxAttribute,
  type OnnxAttributeType,
  type OnnxGraph,
  type OnnxTensor,
  type OnnxType,
} from "./types.js";
import { type WireReader } from "./wire-reader.js";

/** More numbers than an attribute has any use for: larger things are tensors. */
const maxValues = 1 << 20;

/** AttributeType's codes, and the field of each type's value. */
const kinds: readonly (readonly [code: number, type: OnnxAttributeType, field: number])[] = [
  [1, "float", 2],
  [2, "int", 3],
  [3, "string", 4],
  [4, "tensor", 5],
  [5, "graph", 6],
  [6, "floats", 7],
  [7, "ints", 8],
  [8, "strings", 9],
  [9, "tensors", 10],
  [10, "graphs", 11],
  [11, "sparse_tensor", 22],
  [12, "sparse_tensors", 23],
  [13, "type_proto", 14],
  [14, "type_protos", 15],
];
const kindOfCode = new Map(kinds.map(([code, type, field]) => [code, { type, field }]));
const kindOfField = new Map(kinds.map(([, type, field]) => [field, { type, field }]));

interface RawAttribute {
  name: string;
  ref: string;
  code: number;
  /** Fields that hold a value. */
  readonly present: Set<number>;
  float: number;
  int: bigint;
  string: string;
  tensor: OnnxTensor | undefined;
  graph: OnnxGraph | undefined;
  type: OnnxType | undefined;
  readonly floats: number[];
  readonly ints: bigint[];
  readonly strings: string[];
  readonly tensors: OnnxTensor[];
  readonly graphs: OnnxGraph[];
  readonly types: OnnxType[];
}

/** @param graphOf decodes a subgraph, one level deeper than the node */
export function decodeAttribute(
  reader: WireReader,
  context: DecodeContext,
  graphOf: (reader: WireReader) => OnnxGraph,
): readonly [name: string, attribute: OnnxAttribute] {
  const raw = readFields(reader, context, graphOf);
  const bad = (what: string): FarrierError =>
    reader.error(
      "E_ATTR_TYPE",
      `attribute ${JSON.stringify(printable(raw.name))}: ${what}`,
      reader.start,
    );
  const present = [...raw.present];
  const first = present[0];
  // Files from before the `type` field have one value, which tells its type.
  const inferred = first !== undefined && present.length === 1 ? kindOfField.get(first) : undefined;
  const kind = raw.code === 0 ? inferred : kindOfCode.get(raw.code);
  if (kind === undefined) throw bad(raw.code === 0 ? "no type" : `unknown type ${raw.code}`);
  if (raw.ref !== "") {
    if (present.length > 0) throw bad("a reference that also has a value");
    return [raw.name, { type: "ref", ref: raw.ref, of: kind.type }];
  }
  const other = present.find((field) => field !== kind.field);
  if (other !== undefined) {
    throw bad(`declared ${kind.type}, has a value of ${kindOfField.get(other)?.type}`);
  }
  const attribute = build(kind.type, raw);
  if (attribute === undefined) throw bad(`declared ${kind.type}, has no value`);
  return [raw.name, attribute];
}

/** A number that is absent is zero and a list empty: encoders leave such values out. */
function build(type: OnnxAttributeType, raw: RawAttribute): OnnxAttribute | undefined {
  switch (type) {
    case "float":
      return { type, value: raw.float };
    case "int":
      return { type, value: raw.int };
    case "string":
      return { type, value: raw.string };
    case "tensor":
      return raw.tensor && { type, value: raw.tensor };
    case "graph":
      return raw.graph && { type, value: raw.graph };
    case "type_proto":
      return raw.type && { type, value: raw.type };
    case "floats":
      return { type, value: raw.floats };
    case "ints":
      return { type, value: raw.ints };
    case "strings":
      return { type, value: raw.strings };
    case "tensors":
      return { type, value: raw.tensors };
    case "graphs":
      return { type, value: raw.graphs };
    case "type_protos":
      return { type, value: raw.types };
    case "sparse_tensor":
    case "sparse_tensors":
      return { type };
  }
}

function readFields(
  reader: WireReader,
  context: DecodeContext,
  graphOf: (reader: WireReader) => OnnxGraph,
): RawAttribute {
  const raw: RawAttribute = {
    name: "",
    ref: "",
    code: 0,
    present: new Set(),
    float: 0,
    int: 0n,
    string: "",
    tensor: undefined,
    graph: undefined,
    type: undefined,
    floats: [],
    ints: [],
    strings: [],
    tensors: [],
    graphs: [],
    types: [],
  };
  while (reader.next()) {
    if (kindOfField.has(reader.field)) {
      raw.present.add(reader.field);
      readValue(reader, raw, context, graphOf);
    } else if (reader.field === 1) raw.name = reader.once("name").name();
    else if (reader.field === 20) raw.code = reader.once("type").int32();
    else if (reader.field === 21) raw.ref = reader.once("ref_attr_name").name();
    else reader.skip();
  }
  return raw;
}

function readValue(
  reader: WireReader,
  raw: RawAttribute,
  context: DecodeContext,
  graphOf: (reader: WireReader) => OnnxGraph,
): void {
  switch (reader.field) {
    case 2:
      raw.float = reader.once("f").float();
      break;
    case 3:
      raw.int = reader.once("i").int64();
      break;
    case 4:
      raw.string = reader.once("s").text();
      break;
    case 5:
      raw.tensor = decodeTensor(reader.once("t").message(), context);
      break;
    case 6:
      raw.graph = graphOf(reader.once("g").message());
      break;
    case 7:
      reader.floats(raw.floats, maxValues, "E_LIMIT_ATTR");
      break;
    case 8:
      reader.int64s(raw.ints, maxValues, "E_LIMIT_ATTR");
      break;
    case 9:
      if (raw.strings.length === maxValues) {
        throw reader.error("E_LIMIT_ATTR", `more than ${maxValues} values`);
      }
      raw.strings.push(reader.text());
      break;
    case 10:
      raw.tensors.push(decodeTensor(reader.message(), context));
      break;
    case 11:
      raw.graphs.push(graphOf(reader.message()));
      break;
    case 14:
      raw.type = typeOf(reader.once("tp").message());
      break;
    case 15:
      raw.types.push(typeOf(reader.message()));
      break;
    default:
      reader.skip();
  }
}

function typeOf(reader: WireReader): OnnxType {
  const type = decodeType(reader);
  if (type === null) throw reader.error("E_ATTR_TYPE", "a type that says nothing", reader.start);
  return type;
}
