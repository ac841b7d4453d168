/** A directory without a model's configuration: what it holds says what was meant. */
import fs from "node:fs";
import path from "node:path";
import { FarrierError } from "./errors.js";
import { printable } from "./frontend/files/source-file.js";

/** @throws FarrierError E_CONFIG */
export function requireConfig(directory: string): void {
  const names = fs.readdirSync(directory).sort();
  if (names.includes("config.json")) return;
  throw new FarrierError("E_CONFIG", "the directory has no config.json", {
    file: directory,
    hint: wayOut(directory, names),
  });
}

function wayOut(directory: string, names: readonly string[]): string {
  const named = (name: string): string => printable(path.join(directory, name));
  if (names.includes("manifest.json"))
    return "it is a bundle: run, verify, generate, explain and inspect take it as it is";
  const file = names.find((name) => name.endsWith(".onnx"));
  if (file !== undefined) return `give the ONNX file, ${named(file)}`;
  const inner = names.find((name) => fs.existsSync(path.join(directory, name, "config.json")));
  if (inner !== undefined) return `give ${named(inner)}, which has one`;
  return "give an ONNX file, or a directory with config.json and safetensors files";
}
