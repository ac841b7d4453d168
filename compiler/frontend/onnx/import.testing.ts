/** Imports models that tests write down, and evaluates them. */
import { evaluateGraph } from "../../ir/evaluate.js";
import type { ConstantSource } from "../../ir/ops.js";
import type { TensorValue } from "../../ir/tensor.js";
import { verify } from "../../ir/verify.js";
import type { ImportedModel } from "../model.js";
import { importModel, type OnnxOptions } from "./import.js";
import { encodeModel, type ModelSpec } from "./wire/encode.testing.js";
import { decodeOnnx } from "./wire/model.js";

/** The model, imported and verified. */
export function imported(spec: ModelSpec, options: OnnxOptions = {}): ImportedModel {
  const model = importModel(decodeOnnx(encodeModel(spec)), options);
  for (const { graph } of model.entries) verify(graph, "import");
  return model;
}

/** The bytes of constants that stand in the model's files. */
export function constantsOf(model: ImportedModel): (source: ConstantSource) => Uint8Array {
  const places = new Map(model.tensors.map(({ name, place }) => [name, place]));
  return (source) => {
    const place = source.kind === "literal" ? null : places.get(source.tensor);
    if (!place) throw new Error("a constant without a place");
    return place.file.readRange(place.offset, place.bytes);
  };
}

export function evaluated(
  model: ImportedModel,
  inputs: Readonly<Record<string, TensorValue>>,
): Map<string, TensorValue> {
  const { graph } = model.entries[0]!;
  const constants = constantsOf(model);
  return evaluateGraph(graph, new Map(Object.entries(inputs)), { constants }).outputs;
}
