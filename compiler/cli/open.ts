/** A bundle on a device, from a bundle or from a model that is compiled for the purpose. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { load, devices, type Model } from "../../runtime/node/index.js";
import { compile, type CompileOptions } from "../compile.js";
import { FarrierError } from "../errors.js";
import type { Output } from "./output.js";

export function isBundle(place: string): boolean {
  return fs.existsSync(path.join(place, "manifest.json"));
}

/** The target that is compiled for a device. */
export function targetFor(device: string): string {
  return device.startsWith("cuda") ? "sm_80" : "cpu";
}

/** `cuda:0` where there is a GPU and the bundle has code for one, else `cpu`. */
export async function defaultDevice(bundle: string | null): Promise<string> {
  if (bundle === null) return "cpu";
  const manifest = JSON.parse(fs.readFileSync(path.join(bundle, "manifest.json"), "utf8")) as { targets?: unknown };
  const targets = Array.isArray(manifest.targets) ? manifest.targets : [];
  if (targets.includes("cpu")) return "cpu";
  const found = await devices();
  return found.devices.some((device) => device.type === "cuda") ? "cuda:0" : "cpu";
}

export interface OpenRequest {
  readonly place: string;
  readonly device: string | undefined;
  readonly options: CompileOptions;
  readonly output: Output;
}

/** Runs `body` with the model loaded, and cleans up what was compiled for it. */
export async function withModel<T>(request: OpenRequest, body: (model: Model) => Promise<T>): Promise<T> {
  const { place, options, output } = request;
  if (!fs.existsSync(place)) throw new FarrierError("E_NOT_FOUND", "no such file or directory", { file: place });
  if (isBundle(place)) return withBundle(place, request.device ?? (await defaultDevice(place)), output, body);
  const device = request.device ?? (options.target?.some((target) => target.startsWith("sm_")) === true ? "cuda:0" : "cpu");
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-"));
  try {
    const bundle = await compile(place, { target: [targetFor(device)], ...options, output: path.join(directory, "model.farrier"), progress: output.progress });
    for (const notice of bundle.notices) output.notice(notice);
    return await withBundle(bundle.path, device, output, body);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function withBundle<T>(bundle: string, device: string, output: Output, body: (model: Model) => Promise<T>): Promise<T> {
  const model = await load(bundle, { device, onProgress: (done, total) => output.progress("binding weights", done, total) });
  output.clear();
  try {
    return await body(model);
  } finally {
    await model.close();
  }
}
