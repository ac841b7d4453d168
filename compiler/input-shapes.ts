/** The inputs of a model before anything is compiled: names, and dimensions as numbers or symbols. */
import fs from "node:fs";
import { readOnnx } from "./frontend/onnx/wire/model.js";

export type InputShapes = readonly (readonly [name: string, shape: readonly (string | number)[]])[];

export function inputShapes(modelPath: string): InputShapes {
  if (fs.statSync(modelPath).isDirectory()) return [["input_ids", ["batch", "seq"]]];
  const model = readOnnx(modelPath);
  try {
    const given = new Set(model.graph.initializers.map((tensor) => tensor.name));
    return model.graph.inputs.flatMap((input) => {
      const { type } = input;
      if (given.has(input.name) || type?.kind !== "tensor" || type.shape === null) return [];
      return [[input.name, type.shape.map((dim) => dim ?? 0)] as const];
    });
  } finally {
    model.close();
  }
}
