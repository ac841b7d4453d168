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
import { sourceFile, type Merged } from "./merge.js";
import type { Runs } from "./oracle.js";

/** The least that the runtime loads: no binding, no report, no kernel sources. */
export function writeFuzzBundle(
  directory: string,
  { plan, embedded }: Merged,
  library: string,
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
  add("plan.json");
  fs.writeFileSync(path.join(directory, sourceFile), "");
  add(sourceFile);
  add(library);
  if (embedded.size > 0) {
    const hash = writeSafetensors(path.join(directory, "weights.safetensors"), embedded);
    files["weights.safetensors"] = { bytes: hash.size, chunks: hash.chunks };
  }
  const manifest = {
    format: 1,
    farrier: version,
    entries: plan.entries.map((entry) => entry.name),
    targets: ["cpu"],
    native: true,
    machine: machineFingerprint(),
    needs: {},
    files,
  };
  fs.writeFileSync(path.join(directory, "manifest.json"), JSON.stringify(manifest));
}

/** Bytes before and after each tensor that no kernel may touch. */
const guard = 192;

class Guarded {
  readonly #all: Uint8Array;
  readonly bytes: Uint8Array;

  constructor(
    readonly size: number,
    poison: number,
  ) {
    this.#all = new Uint8Array(new ArrayBuffer(size + 2 * guard)).fill(poison);
    this.bytes = this.#all.subarray(guard, guard + size);
  }

  /** Whether the bands still hold `poison`. */
  intact(poison: number): boolean {
    const bands = [this.#all.subarray(0, guard), this.#all.subarray(guard + this.size)];
    return bands.every((band) => band.every((byte) => byte === poison));
  }
}

export class KernelFault extends Error {}

export class Runner {
  #workspace = 0n;
  #workspaceBytes = 0;

  private constructor(
    readonly bundle: Handle,
    readonly device: Handle,
    readonly weights: Handle,
  ) {}

  static async open(directory: string): Promise<Runner> {
    const native = addon();
    const bundle = await native.openBundle(directory, 1);
    const device = await native.openDevice(1, 0);
    const weights = await native.bind(bundle, device);
    return new Runner(bundle, device, weights);
  }

  close(): void {
    if (this.#workspaceBytes > 0) addon().free(this.device, this.#workspace);
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
      return { packed, memory, argument: argument(memory.bytes, value.dtype, value.shape) };
    });
    const taken = graph.outputs.map(({ name, node }) => {
      const shape = dims.shape(node.shape);
      const memory = new Guarded(byteSize(node.dtype, countOf(shape)), poison);
      return { name, node, shape, memory, argument: argument(memory.bytes, node.dtype, shape) };
    });
    await this.#run(
      exec,
      given.map((each) => each.argument),
      taken.map((each) => each.argument),
    );
    if (given.some(({ memory, packed }) => !Buffer.from(memory.bytes).equals(packed)))
      throw new KernelFault("a kernel wrote to an input");
    if (taken.some(({ memory }) => !memory.intact(poison)))
      throw new KernelFault("a kernel wrote outside an output");
    return taken.map(({ name, node, shape, memory }) => ({
      name,
      value: fromBytes(node.dtype, shape, memory.bytes),
      bytes: memory.bytes,
    }));
  }

  async #run(exec: Handle, inputs: TensorArgument[], outputs: TensorArgument[]): Promise<void> {
    const native = addon();
    this.#grow(native.workspace(exec, inputs).bytes);
    const spec = {
      device: this.device,
      deviceType: 1,
      deviceId: 0,
      inputs,
      outputs,
      workspace: this.#workspace,
      workspaceBytes: this.#workspaceBytes,
      stream: 0n,
      uploads: [],
      downloads: [],
    };
    await native.run(exec, spec, null);
  }

  #grow(bytes: number): void {
    if (bytes <= this.#workspaceBytes) return;
    if (this.#workspaceBytes > 0) addon().free(this.device, this.#workspace);
    this.#workspace = addon().alloc(this.device, bytes);
    this.#workspaceBytes = bytes;
  }
}

const argument = (
  data: Uint8Array,
  dtype: TensorValue["dtype"],
  shape: readonly number[],
): TensorArgument => ({ data, dtype: elementType(dtype).dl, shape });
