/**
 * What runs of the same shapes share: an exec, and on a GPU the buffers of inputs and outputs, whose addresses a recorded
 * graph holds. The workspace is one for all.
 */
import { addon, type Handle, type RunSpec, type TensorArgument } from "./addon.js";
import type { EntryInfo } from "./description.js";
import type { OpenDevice } from "./device.js";
import { allocate, elementType } from "./dtypes.js";
import { Tensor } from "./tensor.js";

export interface Slot {
  readonly exec: Handle;
  readonly state: Handle | null;
  /** GPU: addresses of inputs, then of outputs. */
  readonly buffers: readonly bigint[];
  graph?: Handle;
}

interface Prepared {
  readonly slot: Slot;
  readonly spec: RunSpec;
  readonly outputs: readonly Tensor[];
  readonly plan: number;
}

/** Shapes whose buffers are kept on a GPU. */
const maxSlots = 32;

export class Slots {
  readonly stream: bigint;
  readonly #device: OpenDevice;
  readonly #weights: Handle;
  readonly #execs: { entry: string; state: Handle | null; exec: Handle }[] = [];
  /** In order of use, the latest last. */
  readonly #slots = new Map<string, Slot>();
  readonly #stateIds = new Map<Handle, number>();
  #nextState = 1;
  #workspace = 0n;
  #workspaceBytes = 0;

  constructor(device: OpenDevice, weights: Handle) {
    this.#device = device;
    this.#weights = weights;
    this.stream = device.type === 2 ? addon().createStream(device.handle) : 0n;
  }

  prepare(
    entry: EntryInfo,
    state: Handle | null,
    inputs: readonly Tensor[],
    shapes: readonly (readonly number[])[],
  ): Prepared {
    const exec = this.#exec(entry.name, state);
    const outputs = entry.outputs.map(
      (output, i) =>
        new Tensor(output.dtype, shapes[i] ?? [], allocate(output.dtype, shapes[i] ?? [])),
    );
    const { plan, bytes } = addon().workspace(
      exec,
      inputs.map((tensor) => argument(tensor, tensor.data)),
    );
    this.#grow(bytes);
    const gpu = this.#device.type === 2;
    const slot = gpu
      ? this.#slot(entry.name, exec, state, inputs, outputs)
      : { exec, state, buffers: [] };
    const place = (tensor: Tensor, i: number): TensorArgument =>
      argument(tensor, gpu ? (slot.buffers[i] ?? 0n) : tensor.data);
    const copy = (tensor: Tensor, i: number): { address: bigint; host: Uint8Array } => ({
      address: slot.buffers[i] ?? 0n,
      host: tensor.bytes,
    });
    const spec: RunSpec = {
      device: this.#device.handle,
      deviceType: this.#device.type,
      deviceId: this.#device.id,
      inputs: inputs.map(place),
      outputs: outputs.map((tensor, i) => place(tensor, inputs.length + i)),
      workspace: this.#workspace,
      workspaceBytes: this.#workspaceBytes,
      stream: this.stream,
      uploads: gpu ? inputs.map(copy) : [],
      downloads: gpu ? outputs.map((tensor, i) => copy(tensor, inputs.length + i)) : [],
    };
    return { slot, spec, outputs, plan };
  }

  /** Forgets what belongs to a state that is being closed. */
  drop(state: Handle): void {
    for (const [key, slot] of this.#slots) if (slot.state === state) this.#release(key, slot);
    for (let i = this.#execs.length - 1; i >= 0; i--) {
      const known = this.#execs[i];
      if (known?.state !== state) continue;
      addon().release(known.exec);
      this.#execs.splice(i, 1);
    }
    this.#stateIds.delete(state);
  }

  close(): void {
    for (const [key, slot] of this.#slots) this.#release(key, slot);
    for (const { exec } of this.#execs.splice(0)) addon().release(exec);
    if (this.#workspaceBytes > 0) addon().free(this.#device.handle, this.#workspace);
    this.#workspaceBytes = 0;
    if (this.stream !== 0n) addon().destroyStream(this.#device.handle, this.stream);
  }

  #exec(entry: string, state: Handle | null): Handle {
    const known = this.#execs.find((e) => e.entry === entry && e.state === state);
    if (known !== undefined) return known.exec;
    const exec = addon().createExec(this.#weights, entry, state);
    this.#execs.push({ entry, state, exec });
    return exec;
  }

  #grow(bytes: number): void {
    if (bytes <= this.#workspaceBytes) return;
    // Recorded graphs hold the address of the workspace.
    for (const slot of this.#slots.values()) dropGraph(slot);
    if (this.#workspaceBytes > 0) addon().free(this.#device.handle, this.#workspace);
    this.#workspaceBytes = 0;
    this.#workspace = addon().alloc(this.#device.handle, bytes);
    this.#workspaceBytes = bytes;
  }

  #slot(
    entry: string,
    exec: Handle,
    state: Handle | null,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
  ): Slot {
    const key = `${entry}|${this.#stateId(state)}|${inputs.map((tensor) => tensor.shape.join(",")).join("|")}`;
    const known = this.#slots.get(key);
    if (known !== undefined) {
      this.#slots.delete(key);
      this.#slots.set(key, known);
      return known;
    }
    for (const [oldest, slot] of this.#slots) {
      if (this.#slots.size < maxSlots) break;
      this.#release(oldest, slot);
    }
    const buffers: bigint[] = [];
    try {
      for (const tensor of [...inputs, ...outputs])
        buffers.push(addon().alloc(this.#device.handle, tensor.bytes.byteLength));
    } catch (error) {
      for (const address of buffers) addon().free(this.#device.handle, address);
      throw error;
    }
    const slot: Slot = { exec, state, buffers };
    this.#slots.set(key, slot);
    return slot;
  }

  #stateId(state: Handle | null): number {
    if (state === null) return 0;
    const id = this.#stateIds.get(state) ?? this.#nextState++;
    this.#stateIds.set(state, id);
    return id;
  }

  #release(key: string, slot: Slot): void {
    dropGraph(slot);
    for (const address of slot.buffers) addon().free(this.#device.handle, address);
    this.#slots.delete(key);
  }
}

function dropGraph(slot: Slot): void {
  if (slot.graph === undefined) return;
  addon().release(slot.graph);
  delete slot.graph;
}

const argument = (tensor: Tensor, data: ArrayBufferView | bigint): TensorArgument => ({
  data,
  dtype: elementType(tensor.dtype).dl,
  shape: tensor.shape,
});
