/** The native addon: what it exports, and where it is. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FarrierRuntimeError } from "./errors.js";

/** An object of the C header; freed by `release`, or with the JavaScript object. */
export interface Handle {
  readonly handle: unique symbol;
}

/** A host array, an address of the device, or nothing (shapes only). */
export interface TensorArgument {
  readonly data?: ArrayBufferView | bigint;
  /** DLPack's code and bits. */
  readonly dtype: readonly [number, number];
  readonly shape: readonly number[];
}

export interface ShapeInfo {
  readonly shape: readonly number[];
  readonly bytes: number;
}

export interface CopySpec {
  readonly address: bigint;
  readonly host: ArrayBufferView;
}

export interface RunSpec {
  readonly device: Handle;
  /** DLPack's: 1 for the CPU, 2 for CUDA. */
  readonly deviceType: number;
  readonly deviceId: number;
  readonly inputs: readonly TensorArgument[];
  readonly outputs: readonly TensorArgument[];
  readonly workspace: bigint;
  readonly workspaceBytes: number;
  readonly stream: bigint;
  /** Copied before and after the run. */
  readonly uploads: readonly CopySpec[];
  readonly downloads: readonly CopySpec[];
}

export interface Addon {
  readonly machine: string;
  readonly isa: string;
  readonly abi: number;
  threads(): number;
  openBundle(path: string, flags: number): Promise<Handle>;
  describe(bundle: Handle): string;
  inferShapes(
    bundle: Handle,
    entry: string,
    inputs: readonly (TensorArgument | null)[],
    outputs: number,
  ): { inputs: ShapeInfo[]; outputs: ShapeInfo[] };
  openDevice(type: number, id: number): Promise<Handle>;
  deviceInfo(device: Handle): string;
  alloc(device: Handle, bytes: number): bigint;
  free(device: Handle, address: bigint): void;
  createStream(device: Handle): bigint;
  destroyStream(device: Handle, stream: bigint): void;
  bind(
    bundle: Handle,
    device: Handle,
    referenceDir?: string,
    progress?: (done: number, total: number) => void,
  ): Promise<Handle>;
  warm(
    bundle: Handle,
    device: Handle,
    progress?: (done: number, total: number) => void,
  ): Promise<{ directory: string; kernels: number; made: number; bytes: number }>;
  weightsInfo(weights: Handle): { target: string; bytes: number; notice: string };
  createState(weights: Handle): Handle;
  resetState(state: Handle, stream: bigint): void;
  createExec(weights: Handle, entry: string, state: Handle | null): Handle;
  workspace(exec: Handle, inputs: readonly TensorArgument[]): { plan: number; bytes: number };
  run(exec: Handle, spec: RunSpec, graph: Handle | null): Promise<void>;
  /** On the CPU: returns when it is done. */
  runHere(exec: Handle, spec: RunSpec): void;
  capture(exec: Handle, spec: RunSpec): Promise<Handle>;
  /** Milliseconds, medians. */
  profile(
    exec: Handle,
    spec: RunSpec,
    repeats: number,
  ): Promise<{ steps: Float64Array; run: number; mark: number }>;
  /** One step of the plan, the inputs copied before the first. */
  runStep(exec: Handle, spec: RunSpec, step: number): Promise<void>;
  stateData(state: Handle, index: number): { address: bigint; bytes: number };
  copyOut(device: Handle, address: bigint, host: ArrayBufferView): void;
  /** A second: bytes to and from memory; operations of f32, 0 where they are not measured. */
  rates(device: Handle): Promise<{ bytes: number; operations: number }>;
  release(handle: Handle): void;
}

const abi = 1;
let loaded: Addon | undefined;

/** The package's directory: the nearest above this file whose package.json is farrier's. */
function packageRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(at, "package.json");
    if (existsSync(file)) {
      const { name } = JSON.parse(readFileSync(file, "utf8")) as { name?: unknown };
      if (name === "farrier") return at;
    }
    const above = dirname(at);
    if (above === at) return dirname(fileURLToPath(import.meta.url));
    at = above;
  }
}

/** Loads the addon once. E_NO_ADDON if it is not built, or of another version. */
export function addon(): Addon {
  if (loaded !== undefined) return loaded;
  const root = packageRoot();
  const places = [
    join(root, "build/Release/farrier_addon.node"),
    join(root, `prebuilds/${process.platform}-${process.arch}/farrier_addon.node`),
  ];
  const path = places.find((place) => existsSync(place));
  if (path === undefined)
    throw noAddon("the native runtime is not built, so bundles cannot be run here");
  let found: Addon;
  try {
    found = createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    throw noAddon(`${path} cannot be loaded: ${(error as Error).message}`, error);
  }
  if (found.abi !== abi) throw noAddon(`${path} has ABI ${found.abi}, expected ${abi}`);
  loaded = found;
  return found;
}

function noAddon(what: string, cause?: unknown): FarrierRuntimeError {
  const hint =
    "run `npm run build` in farrier's directory: it needs cmake 3.20 or newer and a C++20 compiler";
  return new FarrierRuntimeError("E_NO_ADDON", `E_NO_ADDON: ${what} (${hint})`, 3, cause);
}
