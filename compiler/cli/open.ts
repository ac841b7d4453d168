/** A bundle on a device, from a bundle or from a model that is compiled for the purpose. */
import fs from "node:fs";
import path from "node:path";
import { devices, load, machine, type Model } from "../../runtime/node/index.js";
import type { Report } from "../bundle/report.js";
import {
  buildNative,
  lower,
  writeLowered,
  type CompileOptions,
  type LoweredModel,
} from "../compile.js";
import { FarrierError } from "../errors.js";
import { newestTarget } from "../kernel/target.js";
import { mismatch, type Shape } from "./json-shape.js";
import type { Output } from "./output.js";
import { scratchDirectory } from "./scratch.js";

export function isBundle(place: string): boolean {
  return fs.existsSync(path.join(place, "manifest.json"));
}

/** @throws FarrierError E_NOT_FOUND */
export function existing(place: string): void {
  if (!fs.existsSync(place))
    throw new FarrierError("E_NOT_FOUND", "no such file or directory", {
      file: place,
      hint: "give an ONNX file, a Hugging Face directory or a bundle",
    });
}

/**
 * A JSON file of a bundle, for people to look at: its shape is checked, and nothing that it refers to.
 * @throws FarrierError E_BUNDLE_FORMAT
 */
export function bundleJson(bundle: string, name: string, shape: Shape): unknown {
  const file = path.join(bundle, name);
  const value = parsed(file);
  const { format } = (value ?? {}) as { readonly format?: unknown };
  const fault = format === 1 ? mismatch(value, shape) : `format ${JSON.stringify(format)}`;
  if (fault === null) return value;
  throw new FarrierError("E_BUNDLE_FORMAT", `of another version of farrier, or edited: ${fault}`, {
    file,
    hint: "compile the model again",
  });
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8")) as unknown;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FarrierError("E_BUNDLE_FORMAT", `it cannot be read: ${reason}`, {
      file,
      cause: error,
    });
  }
}

/** The target that is compiled for a device: of those that a GPU runs, the newest. */
async function targetFor(device: string): Promise<string> {
  if (!device.startsWith("cuda")) return "cpu";
  const id = Number(device.split(":")[1] ?? 0);
  const found = await devices();
  const gpu = found.devices.find((each) => each.type === "cuda" && each.id === id);
  return newestTarget(Number((gpu?.capability ?? "8.0").replace(".", "")));
}

/** The CPU if the bundle has code for one, else the first GPU. */
async function deviceFor(bundle: string): Promise<string> {
  const file = path.join(bundle, "manifest.json");
  let targets: unknown;
  try {
    ({ targets } = JSON.parse(fs.readFileSync(file, "utf8")) as { targets?: unknown });
  } catch {
    return "cpu"; // What is wrong with it is the loader's to say.
  }
  if (!Array.isArray(targets) || targets.length === 0 || targets.includes("cpu")) return "cpu";
  const found = await devices();
  const gpu = found.devices.find(({ type }) => type === "cuda");
  if (gpu !== undefined) return `cuda:${gpu.id}`;
  // The driver's own error has a code and a way out, which are not those of this one.
  const why = (found.cuda ?? "none is found").replace(/^E_\w+: /, "").replace(/ \([^()]*\)$/, "");
  throw new FarrierError(
    "E_NO_DEVICE",
    `the bundle is for ${targets.join(", ")} and no GPU runs here: ${why}`,
    { file: bundle, hint: "compile it with --target cpu to run it on the CPU" },
  );
}

export interface OpenRequest {
  readonly place: string;
  readonly device: string | undefined;
  readonly options: CompileOptions;
  readonly output: Output;
}

/** Runs `body` with the model loaded, and cleans up what was compiled for it. */
export async function withModel<T>(
  request: OpenRequest,
  body: (model: Model) => Promise<T>,
): Promise<T> {
  const { place, output } = request;
  existing(place);
  if (!isBundle(place)) return withCompiled(request, body);
  // Without the addon nothing can be run.
  machine();
  return withBundle(place, request.device ?? (await deviceFor(place)), output, body);
}

/** A model as it was lowered, and the report on that. */
export interface Compiled {
  readonly lowered: LoweredModel;
  readonly report: Report;
}

/** The same for a model alone: `body` is given what it was compiled to. */
export async function withCompiled<T>(
  { place, options, output, ...request }: OpenRequest,
  body: (model: Model, compiled: Compiled) => Promise<T>,
): Promise<T> {
  // Before anything is compiled.
  machine();
  const forGpu = options.target?.some((target) => target.startsWith("sm_")) === true;
  const device = request.device ?? (forGpu ? "cuda:0" : "cpu");
  const directory = scratchDirectory();
  try {
    const own = { target: [await targetFor(device)], ...options, progress: output.progress };
    const lowered = await lower(place, own);
    const built = await buildNative([lowered], own);
    const bundle = writeLowered(lowered, built, path.join(directory, "model.farrier"));
    if (built !== null) fs.rmSync(built.directory, { recursive: true, force: true });
    for (const notice of bundle.notices) output.notice(notice);
    const compiled = { lowered, report: bundle.report };
    return await withBundle(bundle.path, device, output, (model) => body(model, compiled));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function withBundle<T>(
  bundle: string,
  device: string,
  output: Output,
  body: (model: Model) => Promise<T>,
): Promise<T> {
  const model = await load(bundle, {
    device,
    onProgress: (done, total) => output.progress("binding weights", done, total),
  });
  output.clear();
  for (const notice of model.notices) output.notice(notice);
  try {
    return await body(model);
  } finally {
    await model.close();
  }
}
