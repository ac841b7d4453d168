/** An ONNX file as a graph. */
import { FarrierError } from "../../errors.js";
import { constant } from "../../ir/build.js";
import { isFloat, type DType } from "../../ir/dtype.js";
import { GraphBuilder, type Node } from "../../ir/graph.js";
import { printShape } from "../../ir/shape.js";
import { toBytes, type TensorValue } from "../../ir/tensor.js";
import type { ImportedModel } from "../model.js";
import { checkFunctions, checkOperators, checkOpsets, functionTable } from "./check-operators.js";
import { Constants } from "./constants.js";
import { GraphImporter } from "./graph-importer.js";
import { HostValues } from "./host-values.js";
import { graphInterface, type Dims, type GraphInterface } from "./interface.js";
import { quoted } from "./labels.js";
import { ValueChecks } from "./value-checks.js";
import { readOnnx } from "./wire/model.js";
import type { OnnxModel, OnnxValueInfo } from "./wire/types.js";

export interface OnnxOptions {
  /** Ranges of the model's symbols. */
  readonly dims?: Dims;
  /** Only what the model stores. */
  readonly dtype?: DType;
  /** `none`: weights are shapes without values. */
  readonly weights?: "files" | "none";
  readonly allowHardlinks?: boolean;
  /** Inputs whose value is known while compiling: they are constants of the graph then. */
  readonly fixed?: ReadonlyMap<string, TensorValue>;
}

/** The model's files stay open: tensors are read from them. */
export function importOnnx(file: string, options: OnnxOptions = {}): ImportedModel {
  const model = readOnnx(file, { allowHardlinks: options.allowHardlinks === true });
  try {
    return inFile(file, () => importModel(model, options));
  } catch (error) {
    model.close();
    throw error;
  }
}

/** What `importOnnx` does once the file is read. */
export function importModel(model: OnnxModel, options: OnnxOptions): ImportedModel {
  const { graph, opsets } = model;
  checkOpsets(opsets, true);
  const functions = functionTable(model);
  checkFunctions(graph, functions);
  checkOperators(graph, opsets, functions);
  const dtype = arithmeticOf(model);
  if (options.dtype !== undefined && options.dtype !== dtype)
    throw new FarrierError("E_CONFIG_UNSUPPORTED", `the model computes in ${dtype}`, {
      where: `--dtype ${options.dtype}`,
      hint: "export the model in that type",
    });
  const g = new GraphBuilder();
  const constants = new Constants(g, model.files, options.weights !== "none");
  const host = new HostValues(g, constants.bytes);
  const { inputs, symbols, values } = inputsOf(model, g, options);
  const importer = new GraphImporter({ g, host, constants, functions });
  const outputs = importer.main(graph, values, opsets, new ValueChecks(graph));
  return {
    entries: [
      {
        name: "main",
        graph: {
          builder: g,
          inputs,
          outputs: graph.outputs.map(({ name }, i) => ({ name, node: outputs[i]! })),
          states: [],
        },
      },
    ],
    symbols,
    fills: new Map(),
    tensors: constants.tensors(),
    dtype,
    notices: model.warnings,
  };
}

/** Inputs with an initializer have a value already. */
function inputsOf(
  { graph }: OnnxModel,
  g: GraphBuilder,
  { dims = {}, fixed = new Map() }: OnnxOptions,
): GraphInterface & { readonly values: ReadonlyMap<string, Node> } {
  const initialized = new Set(graph.initializers.map(({ name }) => name));
  const free = graph.inputs.filter(({ name }) => !initialized.has(name) && !fixed.has(name));
  // Two of one name are an error that is told with the others of names.
  const unique = new Map(free.map((info) => [info.name, info]));
  const { inputs, symbols } = graphInterface(g, [...unique.values()], dims);
  const values = new Map<string, Node>(inputs.map((node) => [node.attrs.name, node]));
  for (const info of graph.inputs) {
    const value = fixed.get(info.name);
    if (value !== undefined) values.set(info.name, fixedInput(g, info, value));
  }
  return { inputs, symbols, values };
}

function fixedInput(g: GraphBuilder, { name, type }: OnnxValueInfo, value: TensorValue): Node {
  const { dtype, shape } = value;
  const fits = type?.kind === "tensor" && type.dtype === dtype;
  if (!fits) {
    const found = `${dtype}${printShape([])}`;
    throw new FarrierError("E_RT_INPUT", `fixed to a value of ${found}`, {
      where: `input ${quoted(name)}`,
    });
  }
  const node = constant(g, { kind: "literal", data: toBytes(value) }, dtype, shape);
  g.name(node, name);
  return node;
}

/** The float type of most of the weights' bytes. */
function arithmeticOf({ graph }: OnnxModel): DType {
  const bytes = new Map<DType, number>();
  const count = (dtype: DType | null, amount: number): void => {
    if (dtype !== null && isFloat(dtype)) bytes.set(dtype, (bytes.get(dtype) ?? 0) + amount);
  };
  for (const { dtype, data } of graph.initializers) count(dtype, data.byteLength);
  for (const { type } of [...graph.inputs, ...graph.outputs])
    if (type?.kind === "tensor") count(type.dtype, 1);
  return [...bytes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "f32";
}

/** Gives errors that lack one the file. */
function inFile<T>(file: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof FarrierError) || error.place.file !== undefined) throw error;
    const { where, hint } = error.place;
    const start = `${error.code}: ${where === undefined ? "" : `${where}: `}`.length;
    const end = error.message.length - (hint === undefined ? 0 : ` (${hint})`.length);
    const what = error.message.slice(start, end);
    throw new FarrierError(error.code, what, { ...error.place, file, cause: error });
  }
}
