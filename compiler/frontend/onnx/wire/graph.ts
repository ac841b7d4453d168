/** GraphProto, NodeProto, FunctionProto. */
import type { FarrierError } from "../../../errors.js";
import { printable } from "../../files/source-file.js";
import { decodeAttribute } from "./attribute.js";
import { type DecodeContext } from "./external-data.js";
import { decodeTensor } from "./tensor.js";
import { decodeValueInfo } from "./type-proto.js";
import {
  type OnnxAttribute,
  type OnnxFunction,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
} from "./types.js";
import { type WireReader } from "./wire-reader.js";

const maxGraphDepth = 32;
const maxNodes = 1_000_000;
const noAttributes: ReadonlyMap<string, OnnxAttribute> = new Map();

/** @param depth 0 for the model's graph and for function bodies, one more for each subgraph */
export function decodeGraph(reader: WireReader, context: DecodeContext, depth: number): OnnxGraph {
  if (depth > maxGraphDepth) {
    throw reader.error("E_GRAPH_DEPTH", `subgraphs nested deeper than ${maxGraphDepth}`);
  }
  if (reader.end - reader.start > maxNodes) refuseMany(reader.again(), context);
  let name = "";
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  const sparseInitializers: string[] = [];
  const inputs: OnnxValueInfo[] = [];
  const outputs: OnnxValueInfo[] = [];
  const valueInfo: OnnxValueInfo[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        nodes.push(decodeNode(reader.message(), context, depth, nodes.length));
        break;
      case 2:
        name = reader.once("name").name();
        break;
      case 5:
        initializers.push(
          decodeTensor(reader.message(), context, `initializer ${initializers.length}`),
        );
        break;
      case 11:
        inputs.push(decodeValueInfo(reader.message()));
        break;
      case 12:
        outputs.push(decodeValueInfo(reader.message()));
        break;
      case 13:
        valueInfo.push(decodeValueInfo(reader.message()));
        break;
      case 15:
        sparseInitializers.push(sparseName(reader.message()));
        break;
      default:
        reader.skip();
    }
  }
  return { name, nodes, initializers, sparseInitializers, inputs, outputs, valueInfo };
}

/** Counted before any is decoded: a million nodes that are thrown away cost half a gigabyte. */
function refuseMany(reader: WireReader, context: DecodeContext): void {
  let count = context.nodes;
  while (reader.next()) {
    if (reader.field === 1 && ++count > maxNodes) throw tooMany(reader);
    reader.skip();
  }
}

const tooMany = (reader: WireReader, at = reader.tagOffset): FarrierError =>
  reader.error("E_LIMIT_NODES", `more than ${maxNodes} nodes`, at);

/** A SparseTensorProto is called what its `values` tensor is called. */
function sparseName(reader: WireReader): string {
  let name = "";
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const values = reader.message();
    while (values.next()) {
      if (values.field === 8) name = values.name();
      else values.skip();
    }
  }
  return name;
}

function decodeNode(
  reader: WireReader,
  context: DecodeContext,
  depth: number,
  index: number,
): OnnxNode {
  if (++context.nodes > maxNodes) throw tooMany(reader, reader.start);
  const texts = { name: "", op: "", domain: "", overload: "" };
  const inputs: string[] = [];
  const outputs: string[] = [];
  let attributes: Map<string, OnnxAttribute> | undefined;
  const subgraph = (graph: WireReader): OnnxGraph => decodeGraph(graph, context, depth + 1);
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        inputs.push(reader.name());
        break;
      case 2:
        outputs.push(reader.name());
        break;
      case 3:
        texts.name = reader.once("name").name();
        break;
      case 4:
        texts.op = reader.once("op_type").name();
        break;
      case 5: {
        const [name, attribute] = decodeAttribute(reader.message(), context, subgraph);
        attributes ??= new Map();
        if (attributes.has(name)) {
          const what = `attribute ${JSON.stringify(printable(name))} appears twice`;
          throw reader.error("E_WIRE_DUPLICATE", what);
        }
        attributes.set(name, attribute);
        break;
      }
      case 7:
        texts.domain = normalDomain(reader.once("domain").name());
        break;
      case 8:
        texts.overload = reader.once("overload").name();
        break;
      default:
        reader.skip();
    }
  }
  return { index, ...texts, inputs, outputs, attributes: attributes ?? noAttributes };
}

export function decodeFunction(reader: WireReader, context: DecodeContext): OnnxFunction {
  const texts = { name: "", domain: "", overload: "" };
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: string[] = [];
  const defaults = new Map<string, OnnxAttribute>();
  const opsets = new Map<string, number>();
  const nodes: OnnxNode[] = [];
  const valueInfo: OnnxValueInfo[] = [];
  const subgraph = (graph: WireReader): OnnxGraph => decodeGraph(graph, context, 1);
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        texts.name = reader.once("name").name();
        break;
      case 4:
        inputs.push(reader.name());
        break;
      case 5:
        outputs.push(reader.name());
        break;
      case 6:
        attributes.push(reader.name());
        break;
      case 7:
        nodes.push(decodeNode(reader.message(), context, 0, nodes.length));
        break;
      case 9:
        decodeOpset(reader, opsets);
        break;
      case 10:
        texts.domain = normalDomain(reader.once("domain").name());
        break;
      case 11: {
        const [name, attribute] = decodeAttribute(reader.message(), context, subgraph);
        defaults.set(name, attribute);
        break;
      }
      case 12:
        valueInfo.push(decodeValueInfo(reader.message()));
        break;
      case 13:
        texts.overload = reader.once("overload").name();
        break;
      default:
        reader.skip();
    }
  }
  return { ...texts, inputs, outputs, attributes, defaults, opsets, nodes, valueInfo };
}

/** One OperatorSetIdProto, the current field of `outer`. */
export function decodeOpset(outer: WireReader, opsets: Map<string, number>): void {
  const reader = outer.message();
  let domain = "";
  let version = 0n;
  while (reader.next()) {
    if (reader.field === 1) domain = normalDomain(reader.once("domain").name());
    else if (reader.field === 2) version = reader.once("version").int64();
    else reader.skip();
  }
  if (opsets.has(domain)) {
    const what = `two versions of the domain ${JSON.stringify(printable(domain))}`;
    throw outer.error("E_OPSET", what);
  }
  if (version < -(2n ** 31n) || version >= 2n ** 31n) {
    throw outer.error("E_OPSET", `version ${version}`);
  }
  opsets.set(domain, Number(version));
}

/** The standard domain has two spellings. */
const normalDomain = (domain: string): string => (domain === "ai.onnx" ? "" : domain);
