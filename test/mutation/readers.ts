/** What is fed with mutated bytes: each reader as far as bytes alone decide. */
import { ConfigReader } from "../../compiler/frontend/files/config-reader.js";
import { readHeader } from "../../compiler/frontend/files/safetensors.js";
import { readDtype, readEos } from "../../compiler/frontend/huggingface/common-config.js";
import { checkKeys } from "../../compiler/frontend/huggingface/config-keys.js";
import { profileOf } from "../../compiler/frontend/huggingface/entries.js";
import { readBlockScales } from "../../compiler/frontend/huggingface/quantised.js";
import { familyOf } from "../../compiler/frontend/huggingface/registry.js";
import { importModel } from "../../compiler/frontend/onnx/import.js";
import { decodeOnnx } from "../../compiler/frontend/onnx/wire/model.js";
import type { OnnxGraph } from "../../compiler/frontend/onnx/wire/types.js";
import { FarrierError } from "../../compiler/errors.js";
import type { Sources } from "./havoc.js";
import { changedJson, changedSafetensors } from "./json-tokens.js";
import { configSeeds, onnxSeeds, safetensorsSeeds } from "./seeds.js";
import { changedMessage } from "./wire-tree.js";

export type ReaderName = "onnx" | "safetensors" | "config";

export interface Reader {
  /** Good inputs; `root` is the package's directory. */
  readonly seeds: (root: string) => Uint8Array[];
  /** Files, from the root, whose string literals are words of the format. */
  readonly words: RegExp;
  readonly change: (bytes: Uint8Array, sources: Sources) => Uint8Array;
  /** Reads everything; throws what the reader throws. */
  readonly read: (bytes: Uint8Array) => void;
}

function touch({ initializers }: OnnxGraph): void {
  for (const { data, elemType } of initializers)
    if (elemType === "STRING") data.strings();
    else if (data.byteLength > 0) touchBytes(() => data.bytes(), data.byteLength);
}

/** Bytes that are absent, such as another file's, are refused; those that are there are as many as promised. */
function touchBytes(read: () => Uint8Array, promised: number): void {
  let found: number;
  try {
    found = read().length;
  } catch (error) {
    if (error instanceof FarrierError && error.code === "E_EXT_MISSING") return;
    throw error;
  }
  if (found !== promised) throw new Error(`${found} bytes of a tensor of ${promised}`);
}

function readOnnx(bytes: Uint8Array): void {
  const model = decodeOnnx(bytes);
  touch(model.graph);
  importModel(model, {});
}

function readSafetensors(bytes: Uint8Array): void {
  const inside = (from: number, length: number): boolean =>
    Number.isSafeInteger(from) && from >= 0 && length >= 0 && from + length <= bytes.length;
  const readRange = (from: number, length: number): Uint8Array => {
    if (!inside(from, length)) throw new Error(`bytes ${from}..${from + length} were asked for`);
    return bytes.slice(from, from + length);
  };
  const { tensors, dataOffset } = readHeader({
    size: bytes.length,
    path: "model.safetensors",
    readRange,
  });
  for (const { begin, end } of tensors.values()) readRange(dataOffset + begin, end - begin);
}

function readConfig(bytes: Uint8Array): void {
  const config = ConfigReader.parse(bytes, "config.json");
  const family = familyOf(config);
  const model = family.read(config);
  readDtype(config);
  readBlockScales(config);
  checkKeys(config, family.keys);
  profileOf(model, {});
  readEos(config, []);
}

export const readers: Readonly<Record<ReaderName, Reader>> = {
  onnx: {
    seeds: onnxSeeds,
    words: /\/onnx\//,
    change: changedMessage,
    read: readOnnx,
  },
  safetensors: {
    seeds: safetensorsSeeds,
    words: /\/files\//,
    change: changedSafetensors,
    read: readSafetensors,
  },
  config: {
    seeds: configSeeds,
    words: /\/huggingface\/|config-reader/,
    change: changedJson,
    read: readConfig,
  },
};
