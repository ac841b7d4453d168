/** An ONNX model as plain, checked, read-only data: what the wire says, before what it means. */
import { type DType } from "../../../ir/dtype.js";
import { type SourceFile } from "../../files/source-file.js";

export interface OnnxModel {
  readonly irVersion: number;
  /** Domain to version; the standard domain is the empty string. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly producer: string;
  readonly graph: OnnxGraph;
  readonly functions: readonly OnnxFunction[];
  readonly metadata: ReadonlyMap<string, string>;
  /** What was ignored although someone may have meant it, one line each. */
  readonly warnings: readonly string[];
  /** The model and the data files that it names. */
  readonly files: readonly SourceFile[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  /** Names of sparse initializers: their values are not decoded. */
  readonly sparseInitializers: readonly string[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly valueInfo: readonly OnnxValueInfo[];
}

export interface OnnxNode {
  /** Position in its graph or function: what errors call it when it has no name. */
  readonly index: number;
  readonly name: string;
  readonly op: string;
  /** The standard domain is the empty string. */
  readonly domain: string;
  readonly overload: string;
  /** An empty name is an optional input left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

export type OnnxAttribute =
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "int"; readonly value: bigint }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "tensor"; readonly value: OnnxTensor }
  | { readonly type: "graph"; readonly value: OnnxGraph }
  | { readonly type: "floats"; readonly value: readonly number[] }
  | { readonly type: "ints"; readonly value: readonly bigint[] }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "tensors"; readonly value: readonly OnnxTensor[] }
  | { readonly type: "graphs"; readonly value: readonly OnnxGraph[] }
  | { readonly type: "type_proto"; readonly value: OnnxType }
  | { readonly type: "type_protos"; readonly value: readonly OnnxType[] }
  /** Not decoded. */
  | { readonly type: "sparse_tensor" | "sparse_tensors" }
  /** In a function's body: the value of the calling node's attribute `ref`. */
  | { readonly type: "ref"; readonly ref: string; readonly of: OnnxAttributeType };

export type OnnxAttributeType =
  | "float"
  | "int"
  | "string"
  | "tensor"
  | "graph"
  | "floats"
  | "ints"
  | "strings"
  | "tensors"
  | "graphs"
  | "sparse_tensor"
  | "sparse_tensors"
  | "type_proto"
  | "type_protos";

export interface OnnxTensor {
  readonly name: string;
  /** ONNX's name of the element type. */
  readonly elemType: string;
  /** null for strings and complex numbers. */
  readonly dtype: DType | null;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A tensor's values, wherever they are stored. */
export interface TensorData {
  readonly byteLength: number;
  /** Where these very bytes stand in a file, if they do: a key for the constant. */
  readonly location: DataLocation | null;
  /** Little end first, packed. May be a view of the model's own bytes: not to be written. */
  bytes(): Uint8Array;
  /** The values of a STRING tensor. */
  strings(): readonly string[];
}

export interface DataLocation {
  /** `SourceFile.name`: the path relative to the model's directory. */
  readonly file: string;
  readonly offset: number;
}

/** A size, the name of a symbol, or null where nothing is said. */
export type OnnxDim = number | string | null;

export type OnnxType =
  | {
      readonly kind: "tensor";
      /** ONNX's name of the element type; `UNDEFINED` where nothing is said. */
      readonly elemType: string;
      readonly dtype: DType | null;
      /** null where the rank is unknown. */
      readonly shape: readonly OnnxDim[] | null;
    }
  | { readonly kind: "sequence" | "map" | "optional" | "sparse_tensor" | "opaque" };

export interface OnnxValueInfo {
  readonly name: string;
  /** null where nothing is said. */
  readonly type: OnnxType | null;
}

export interface OnnxFunction {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes without a default, by name. */
  readonly attributes: readonly string[];
  /** Attributes with their defaults. */
  readonly defaults: ReadonlyMap<string, OnnxAttribute>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly OnnxNode[];
  readonly valueInfo: readonly OnnxValueInfo[];
}
