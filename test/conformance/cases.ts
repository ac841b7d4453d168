/** ONNX's operator tests: folders with a model and a set of inputs and outputs. */
import fs from "node:fs";
import path from "node:path";
import type { DType } from "../../compiler/ir/dtype.js";
import { FarrierError } from "../../compiler/errors.js";
import { decodeOnnxTensor, readOnnx } from "../../compiler/frontend/onnx/wire/model.js";
import type { OnnxValueInfo } from "../../compiler/frontend/onnx/wire/types.js";

/** A tensor as the test data has it: packed little-endian bytes. */
export interface CaseTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface Case {
  readonly model: string;
  /** By the names of the graph's inputs and outputs, in their order. */
  readonly inputs: readonly CaseTensor[];
  readonly outputs: readonly CaseTensor[];
  readonly dims: readonly NamedDim[];
}

/** A dimension of an input that the model leaves open, and its size here. */
export interface NamedDim {
  readonly input: string;
  readonly name: string;
  readonly size: number;
}

const dataSet = "test_data_set_0";

/** Folders at or below `root` that hold `model.onnx` and `test_data_set_0`, sorted. */
export function findCases(root: string): string[] {
  const found: string[] = [];
  const walk = (directory: string): void => {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    const names = new Set(entries.map((entry) => entry.name));
    if (names.has("model.onnx") && names.has(dataSet)) found.push(directory);
    for (const entry of entries)
      if (entry.isDirectory() && entry.name !== dataSet) walk(path.join(directory, entry.name));
  };
  walk(root);
  return found.sort();
}

function tensorOf(file: string, name: string): CaseTensor {
  const { dtype, shape, data, elemType } = decodeOnnxTensor(fs.readFileSync(file), file);
  if (dtype === null)
    throw new FarrierError("E_TYPE_UNSUPPORTED", `a tensor of ${elemType}`, { file });
  return { name, dtype, shape, bytes: data.bytes().slice() };
}

/** @throws FarrierError where a value is no tensor */
export function readCase(directory: string): Case {
  const model = path.join(directory, "model.onnx");
  const opened = readOnnx(model);
  const { inputs, outputs } = opened.graph;
  opened.close();
  const data = path.join(directory, dataSet);
  const read = (kind: string, values: readonly { readonly name: string }[]): CaseTensor[] =>
    values.flatMap(({ name }, i) => {
      const file = path.join(data, `${kind}_${i}.pb`);
      return fs.existsSync(file) ? [tensorOf(file, name)] : [];
    });
  const given = read("input", inputs);
  return { model, inputs: given, outputs: read("output", outputs), dims: dimsOf(inputs, given) };
}

/** Sizes of dimensions that are names or nothing in the model, from the inputs' own shapes. */
function dimsOf(inputs: readonly OnnxValueInfo[], given: readonly CaseTensor[]): NamedDim[] {
  return inputs.flatMap(({ name: input, type }): NamedDim[] => {
    const shape = given.find((tensor) => tensor.name === input)?.shape;
    if (type?.kind !== "tensor" || shape === undefined) return [];
    return (type.shape ?? []).flatMap((dim, axis) => {
      const size = shape[axis];
      const known = typeof dim === "number" || size === undefined;
      return known ? [] : [{ input, name: dim ?? `${input}_dim${axis}`, size }];
    });
  });
}
