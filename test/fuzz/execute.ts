/** Runs the entries of a bundle through the runtime, with guard bands and poison around its tensors. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { machineFingerprint } from "../../compiler/bundle/machine.js";
import { writeSafetensors } from "../../compiler/frontend/files/write-safetensors.js";
import { Dimensions } from "../../compiler/ir/bind.js";
import { byteSize } from "../../compiler/ir/dtype.js";
import { countOf, fromBytes, toBytes, type TensorValue } from "../../compiler/ir/tensor.js";
import { version } from "../../compiler/version.js";
import { addon, type Handle, type TensorArgument } from "../../runtime/node/addon.js";
import { elementType } from "../../runtime/node/dtypes.js";
import type { FuzzCase } from "./case.js";
import type { Backend, BuiltKernels } from "./backend.js";
import { DeviceMemory, Guarded } from "./memory.js";
import type { Merged } from "./merge.js";
import type { Runs } from "./oracle.js";

/** The least that the runtime loads: no binding, no report. */
export function writeFuzzBundle(
  directory: string,
  { plan, embedded }: Merged,
  kernels: BuiltKernels,
): void {
  const files: Record<string, unknown> = {};
  const add = (name: string): void => {
    const bytes = fs.readFileSync(path.join(directory, name));
    files[name] = {
      bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    };
  };
  fs.writeFileSync(path.join(directory, "plan.json"), JSON.stringify(plan));
  for (const name of ["plan.json", ...kernels.files]) add(name);
  if (embedded.size > 0) {
    const hash = writeSafetensors(path.join(directory, "weights.safetensors"), embedded);
    files["weights.safetensors"] = { bytes: hash.size, chunks: hash.chunks };
  }
  const native = kernels.libraries !== undefined;
  const manifest = {
    format: 1,
    farrier: version,
    entries: plan.entries.map((entry) => entry.name),
    targets: [kernels.target],
    native,
    ...(native ? { machine: machineFingerprint() } : {}),
    needs: {},
    files,
  };
  fs.writeFileSync(path.join(directory, "manifest.json"), JSON.stringify(manifest));
}

export class KernelFault extends Error {}

/** DLPack's types of the devices. */
const deviceTypes: Readonly<Record<Backend["target"], number>> = { cpu: 1, sm_80: 2 };

export class Runner {
  readonly #workspace: DeviceMemory;
  readonly #tensors: DeviceMemory;
  readonly #stream: bigint;

  private constructor(
    readonly bundle: Handle,
    readonly device: Handle,
    readonly weights: Handle,
    readonly type: number,
  ) {
    this.#workspace = new DeviceMemory(device, type);
    this.#tensors = new DeviceMemory(device, type);
    this.#stream = type === 2 ? addon().createStream(device) : 0n;
  }

  static async open(directory: string, target: Backend["target"]): Promise<Runner> {
    const native = addon();
    const type = deviceTypes[target];
    const bundle = await native.openBundle(directory, 1);
    const device = await native.openDevice(type, 0);
    const weights = await native.bind(bundle, device);
    return new Runner(bundle, device, weights, type);
  }

  close(): void {
    for (const memory of [this.#workspace, this.#tensors]) memory.free();
    if (this.#stream !== 0n) addon().destroyStream(this.device, this.#stream);
    for (const handle of [this.weights, this.device, this.bundle]) addon().release(handle);
  }

  /**
   * Every run of a case, twice: with outputs that start as all ones and as zeros, and another
   * workspace. What differs between them was never written, or depends on more than the inputs.
   */
  async runs(entry: string, found: FuzzCase): Promise<Runs> {
    const [first, second] = [
      await this.#sequence(entry, found, 0xff),
      await this.#sequence(entry, found, 0x00),
    ];
    const same = first.bytes.every((bytes, i) => Buffer.from(bytes).equals(second.bytes[i]!));
    if (!same) throw new KernelFault("two runs of the same inputs differ");
    return first.runs;
  }

  async #sequence(
    entry: string,
    found: FuzzCase,
    poison: number,
  ): Promise<{ runs: Runs; bytes: readonly Uint8Array[] }> {
    const native = addon();
    const state = found.graph.states.length > 0 ? native.createState(this.weights) : null;
    const exec = native.createExec(this.weights, entry, state);
    const runs: Map<string, TensorValue>[] = [];
    const bytes: Uint8Array[] = [];
    try {
      for (const [index] of found.bindings.entries()) {
        const made = await this.#once(exec, found, index, poison);
        runs.push(new Map(made.map(({ name, value }) => [name, value])));
        bytes.push(...made.map((each) => each.bytes));
      }
    } finally {
      native.release(exec);
      if (state !== null) native.release(state);
    }
    return { runs, bytes };
  }

  async #once(
    exec: Handle,
    { graph, bindings }: FuzzCase,
    index: number,
    poison: number,
  ): Promise<{ name: string; value: TensorValue; bytes: Uint8Array }[]> {
    const { symbols, inputs } = bindings[index]!;
    const dims = new Dimensions(symbols);
    const given = graph.inputs.map((node) => {
      const value = inputs.get(node.attrs.name)!;
      const packed = toBytes(value);
      const memory = new Guarded(packed.length, 0xff);
      memory.bytes.set(packed);
      return { packed, memory, dtype: value.dtype, shape: value.shape };
    });
    const taken = graph.outputs.map(({ name, node: { dtype, shape: of } }) => {
      const shape = dims.shape(of);
      return { name, memory: new Guarded(byteSize(dtype, countOf(shape)), poison), dtype, shape };
    });
    await this.#run(exec, given, taken);
    if (given.some(({ memory, packed }) => !Buffer.from(memory.bytes).equals(packed)))
      throw new KernelFault("a kernel wrote to an input");
    if ([...given, ...taken].some(({ memory }) => !memory.intact()))
      throw new KernelFault("a kernel wrote outside a tensor");
    return taken.map(({ name, dtype, shape, memory }) => ({
      name,
      value: fromBytes(dtype, shape, memory.bytes),
      bytes: memory.bytes,
    }));
  }

  async #run(exec: Handle, given: readonly Held[], taken: readonly Held[]): Promise<void> {
    const native = addon();
    const all = [...given, ...taken];
    const { data, copies } = this.#tensors.place(all.map(({ memory }) => memory));
    const tensors = all.map((held, i) => argument(data[i]!, held.dtype, held.shape));
    const inputs = tensors.slice(0, given.length);
    this.#workspace.grow(native.workspace(exec, inputs).bytes);
    const spec = {
      device: this.device,
      deviceType: this.type,
      deviceId: 0,
      inputs,
      outputs: tensors.slice(given.length),
      workspace: this.#workspace.address,
      workspaceBytes: this.#workspace.bytes,
      stream: this.#stream,
      uploads: copies,
      downloads: copies,
    };
    await native.run(exec, spec, null);
  }
}

interface Held {
  readonly memory: Guarded;
  readonly dtype: TensorValue["dtype"];
  readonly shape: readonly number[];
}

const argument = (
  data: Uint8Array | bigint,
  dtype: TensorValue["dtype"],
  shape: readonly number[],
): TensorArgument => ({ data, dtype: elementType(dtype).dl, shape });
