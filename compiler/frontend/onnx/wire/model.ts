/** Reads an ONNX model: the file, or its bytes. */
import { FarrierError } from "../../../errors.js";
import {
  openModelFile,
  printable,
  type ModelDirectory,
  type SourceFile,
  type SourceOptions,
} from "../../files/source-file.js";
import { DecodeContext, decodeEntry } from "./external-data.js";
import { decodeFunction, decodeGraph, decodeOpset } from "./graph.js";
import { likenessOf } from "./not-onnx.js";
import { decodeTensor } from "./tensor.js";
import { type OnnxFunction, type OnnxGraph, type OnnxModel, type OnnxTensor } from "./types.js";
import { WireReader } from "./wire-reader.js";

/** Protobuf's own limit on a message. */
const maxFileBytes = 2 ** 31 - 1;

export interface OpenOnnxModel extends OnnxModel {
  /** Closes the model's files; tensors outside the model's own file cannot be read afterwards. */
  close(): void;
}

/** Reads the model that the user named; external data is found beside it and read by range. */
export function readOnnx(file: string, options: SourceOptions = {}): OpenOnnxModel {
  const { directory, file: source } = openModelFile(file, options);
  try {
    if (source.size > maxFileBytes) {
      throw new FarrierError("E_LIMIT_FILE", `${source.size} bytes, protobuf ends at 2 GiB`, {
        file: source.path,
        hint: "save the model with external data",
      });
    }
    const model = decodeOnnx(source.readAll(), { source, directory });
    return { ...model, close: () => directory.close() };
  } catch (error) {
    directory.close();
    throw error;
  }
}

export interface DecodeOptions {
  /** The model's file, for locations and messages. */
  readonly source?: SourceFile;
  /** Where external data is; without it such tensors have no bytes. */
  readonly directory?: ModelDirectory;
}

export function decodeOnnx(bytes: Uint8Array, options: DecodeOptions = {}): OnnxModel {
  const file = options.source?.path ?? "model";
  if (bytes.length === 0) {
    throw new FarrierError("E_ONNX_EMPTY", "0 bytes: not a model", { file });
  }
  const context = new DecodeContext(options.source?.name ?? null, options.directory ?? null);
  if (options.source !== undefined) context.addFile(options.source);
  try {
    return decodeModel(new WireReader(bytes, file), context);
  } catch (error) {
    const malformed = error instanceof FarrierError && !/^E_(?:EXT|IO|LIMIT)/.test(error.code);
    const likeness = malformed ? likenessOf(bytes) : undefined;
    if (likeness === undefined) throw error;
    throw new FarrierError("E_NOT_ONNX", `looks like ${likeness.name}`, {
      file,
      hint: likeness.hint,
      cause: error,
    });
  }
}

/** One TensorProto, as ONNX's test data holds them. */
export function decodeOnnxTensor(bytes: Uint8Array, file = "tensor"): OnnxTensor {
  return decodeTensor(new WireReader(bytes, file), new DecodeContext(null, null));
}

function decodeModel(reader: WireReader, context: DecodeContext): OnnxModel {
  let irVersion = 0n;
  let producer = "";
  let graph: OnnxGraph | undefined;
  const opsets = new Map<string, number>();
  const functions: OnnxFunction[] = [];
  const metadata = new Map<string, string>();
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        irVersion = reader.once("ir_version").int64();
        break;
      case 2:
        producer = reader.once("producer_name").name();
        break;
      case 7:
        graph = decodeGraph(reader.once("graph").message(), context, 0);
        break;
      case 8:
        decodeOpset(reader, opsets);
        break;
      case 14: {
        const [key, value] = decodeEntry(reader.message());
        metadata.set(key, value);
        break;
      }
      case 25:
        functions.push(decodeFunction(reader.message(), context));
        break;
      default:
        reader.skip();
    }
  }
  const { file } = reader;
  if (graph === undefined) throw new FarrierError("E_GRAPH_MISSING", "no graph", { file });
  if (graph.outputs.length === 0) {
    throw new FarrierError("E_GRAPH_MISSING", "the graph has no outputs", { file });
  }
  checkInterface(graph, file);
  return {
    irVersion: Number(irVersion),
    opsets,
    producer,
    graph,
    functions,
    metadata,
    warnings: context.warnings,
    files: context.files(),
  };
}

/** What the caller binds must have an element type; inner values may leave it to inference. */
function checkInterface(graph: OnnxGraph, file: string): void {
  for (const { name, type } of [...graph.inputs, ...graph.outputs]) {
    if (type?.kind !== "tensor" || type.elemType !== "UNDEFINED") continue;
    throw new FarrierError("E_DTYPE_UNKNOWN", "elem_type 0, known are 1..26", {
      file,
      where: `value ${JSON.stringify(printable(name))}`,
    });
  }
}
