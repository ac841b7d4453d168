/** Opens a model, whatever its kind. */
import fs from "node:fs";
import { FarrierError } from "./errors.js";
import { ModelDirectory } from "./frontend/files/source-file.js";
import {
  importHuggingFace,
  type CacheLayout,
  type ComputeType,
  type Span,
} from "./frontend/huggingface/import.js";
import type { ImportedModel } from "./frontend/model.js";
import { importOnnx } from "./frontend/onnx/import.js";
import { requireConfig } from "./not-a-model.js";

export interface ImportOptions {
  /** Arithmetic and activations; default what the model stores. */
  readonly dtype?: ComputeType;
  /** Ranges of symbols; of an ONNX file, also how a dimension follows from others. */
  readonly dims?: Readonly<Record<string, Span | string>>;
  /** Of the caches of a Hugging Face directory; contiguous by default. */
  readonly cache?: CacheLayout;
  /** Accept files of the model that have more than one name. */
  readonly allowHardlinks?: boolean;
}

export function importModel(
  modelPath: string,
  options: ImportOptions & { readonly needWeights: boolean },
): ImportedModel {
  const { dtype, dims, cache, needWeights, allowHardlinks = false } = options;
  const stat = fs.statSync(modelPath, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new FarrierError("E_NOT_FOUND", "no such file or directory", { file: modelPath });
  const common = {
    ...(dtype === undefined ? {} : { dtype }),
    weights: needWeights ? "files" : "none",
  } as const;
  if (stat.isDirectory()) {
    requireConfig(modelPath);
    return importHuggingFace(ModelDirectory.at(modelPath, { allowHardlinks }), {
      ...common,
      dims: spansOf(dims ?? {}),
      ...(cache === undefined ? {} : { cache }),
    });
  }
  if (cache?.kind === "paged")
    throw new FarrierError("E_OPTION", "an ONNX file says itself how its caches are laid out", {
      where: "--cache",
      hint: "give a Hugging Face directory",
    });
  return importOnnx(modelPath, { ...common, dims: dims ?? {}, allowHardlinks });
}

function spansOf(dims: Readonly<Record<string, Span | string>>): Record<string, Span> {
  return Object.fromEntries(
    Object.entries(dims).map(([name, size]) => {
      if (typeof size !== "string") return [name, size];
      const what = `"${size}" is no range; only dimensions of ONNX files follow from others`;
      const hint = "write NAME=LO..HI, or NAME=N";
      throw new FarrierError("E_DIM", what, { where: `--dim ${name}`, hint });
    }),
  );
}
