/** A bundle on a device: `await model.run({ input_ids })`. */
import { addon, type Handle, type RunSpec, type TensorArgument } from "./addon.js";
import type {
  BundleDescription,
  EntryInfo,
  StateInfo,
  StepInfo,
  SymbolInfo,
  TensorInfo,
} from "./description.js";
import { openDevice, type DeviceInfo, type OpenDevice } from "./device.js";
import { elementType } from "./dtypes.js";
import { badInput, call, callAsync } from "./errors.js";
import { Pace } from "./pace.js";
import { Slots, type Slot } from "./slots.js";
import { filled, type Tensor, toTensor, type TensorLike } from "./tensor.js";
import { readBuffer, type ReadBuffer } from "./trace.js";

export interface LoadOptions {
  /** `cpu` (the default), `cuda` or `cuda:N`. */
  readonly device?: string;
  /** Load host code of a bundle that was built on another machine. */
  readonly allowNative?: boolean;
  /** Hash weights before anything else, not as they are read. */
  readonly verifyAll?: boolean;
  /** Where relative files of `--weights reference` are; otherwise the bundle. */
  readonly referenceDir?: string;
  /** Units of work done, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface RunOptions {
  /** Default: `main`, or the bundle's first. */
  readonly entry?: string;
  readonly state?: State;
  /** Outputs that are wanted; the others are not copied from the device. Default: all. */
  readonly outputs?: readonly string[];
  /** CUDA: record the run once for these shapes, and launch the recording from then on. */
  readonly graph?: boolean;
}

export interface StepTime {
  readonly label: string;
  readonly kernel: string;
  readonly family: string;
  /** Median, milliseconds. */
  readonly ms: number;
}

export interface Profile {
  /** Index of the plan that these shapes run. */
  readonly plan: number;
  readonly workspaceBytes: number;
  /** Median of a run as it is, milliseconds: on a GPU in a graph. */
  readonly runMs: number;
  /** Between two marks with no step between them: a part of each step's time. */
  readonly markMs: number;
  readonly steps: readonly StepTime[];
}

/** Persistent tensors of one batch of sequences: zero when made. */
export class State {
  readonly handle: Handle;
  readonly #model: Model;
  readonly #closed: (state: State) => void;

  /** @internal Use `model.createState()`. */
  constructor(model: Model, handle: Handle, closed: (state: State) => void) {
    this.#model = model;
    this.handle = handle;
    this.#closed = closed;
  }

  /** Zeroes it, after the runs that were started before. */
  async reset(): Promise<void> {
    await this.#model.afterRuns((stream) => addon().resetState(this.handle, stream));
  }

  /** Frees it; runs with it fail from then on. */
  close(): void {
    this.#closed(this);
    call(() => addon().release(this.handle));
  }
}

export type Inputs = Readonly<Record<string, TensorLike>>;

export class Model {
  readonly path: string;
  readonly description: BundleDescription;
  readonly device: DeviceInfo;
  /** The bundle's target that runs here, such as `cpu` or `sm_80`. */
  readonly target: string;
  /** Bytes of weights on the device. */
  readonly weightBytes: number;
  /** What loading found amiss and made good, for people. */
  readonly notices: readonly string[];
  readonly #bundle: Handle;
  readonly #weights: Handle;
  readonly #device: OpenDevice;
  readonly #slots: Slots;
  readonly #pace = new Pace();
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(path: string, bundle: Handle, device: OpenDevice, weights: Handle) {
    this.path = path;
    this.description = JSON.parse(addon().describe(bundle)) as BundleDescription;
    this.device = device.info;
    const info = addon().weightsInfo(weights);
    this.target = info.target;
    this.weightBytes = info.bytes;
    this.notices = info.notice.split("\n").filter((line) => line !== "");
    this.#bundle = bundle;
    this.#weights = weights;
    this.#device = device;
    this.#slots = new Slots(device, weights);
  }

  static async load(path: string, options: LoadOptions = {}): Promise<Model> {
    const native = addon();
    const flags = (options.allowNative === true ? 1 : 0) | (options.verifyAll === true ? 2 : 0);
    return callAsync(async () => {
      const bundle = await native.openBundle(path, flags);
      const device = await openDevice(options.device ?? "cpu");
      const weights = await native.bind(
        bundle,
        device.handle,
        options.referenceDir,
        options.onProgress,
      );
      return new Model(path, bundle, device, weights);
    });
  }

  get entries(): readonly EntryInfo[] {
    return this.description.plan.entries;
  }
  get symbols(): readonly SymbolInfo[] {
    return this.description.plan.symbols;
  }
  get states(): readonly StateInfo[] {
    return this.description.plan.states;
  }
  /** Of the default entry. */
  get inputs(): readonly TensorInfo[] {
    return this.entry().inputs;
  }
  get outputs(): readonly TensorInfo[] {
    return this.entry().outputs;
  }

  entry(name?: string): EntryInfo {
    const { entries } = this;
    const found =
      name === undefined
        ? (entries.find((e) => e.name === "main") ?? entries[0])
        : entries.find((e) => e.name === name);
    if (found === undefined)
      throw badInput(
        "E_RT_ENTRY",
        `the bundle has no entry ${JSON.stringify(name)}`,
        `it has ${entries.map((e) => e.name).join(", ")}`,
      );
    return found;
  }

  createState(): State {
    this.#open();
    return new State(
      this,
      call(() => addon().createState(this.#weights)),
      (state) => this.#slots.drop(state.handle),
    );
  }

  /** Runs of one model are put in a queue: they may be started together. */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    const entry = this.entry(options.entry);
    return this.#queued(async () => {
      const { slot, spec, outputs } = this.#prepare(entry, inputs, options);
      if (options.graph === true && this.device.type === "cuda")
        slot.graph ??= await addon().capture(slot.exec, spec);
      await this.#start(entry, slot, spec, options);
      return Object.fromEntries(
        outputs
          .map((tensor, i) => [entry.outputs[i]?.name ?? "", tensor] as const)
          .filter(([, tensor]) => tensor !== null),
      ) as Record<string, Tensor>;
    });
  }

  /** What the device does in a second, measured now: bytes, and operations of f32 (0: not measured). */
  async rates(): Promise<{ bytes: number; operations: number }> {
    return this.#queued(() => addon().rates(this.#device.handle));
  }

  /**
   * A run step by step: `onStep` is called after each, and reads what its buffers hold then. State
   * advances as by `run`.
   */
  async trace(
    inputs: Inputs,
    options: RunOptions,
    onStep: (step: number, read: ReadBuffer, plan: number) => void,
  ): Promise<void> {
    const entry = this.entry(options.entry);
    return this.#queued(async () => {
      const { slot, spec, plan } = this.#prepare(entry, inputs, options);
      const traced = { device: this.#device.handle, spec, state: options.state?.handle ?? null };
      for (const [number, { buffers }] of this.#steps(entry, plan).entries()) {
        await addon().runStep(slot.exec, spec, number);
        onStep(number, (buffer) => readBuffer(traced, buffers[buffer]!), plan);
      }
    });
  }

  #steps(entry: EntryInfo, plan: number): readonly StepInfo[] {
    return this.description.plan.targets[this.target]?.entries[entry.name]?.[plan]?.steps ?? [];
  }

  /** Time of each step of the plan that these inputs run. State advances with each repeat. */
  async profile(
    inputs: Inputs,
    options: RunOptions & { readonly repeat?: number } = {},
  ): Promise<Profile> {
    const entry = this.entry(options.entry);
    return this.#queued(async () => {
      const { slot, spec, plan } = this.#prepare(entry, inputs, options);
      const times = await addon().profile(slot.exec, spec, options.repeat ?? 20);
      const target = this.description.plan.targets[this.target];
      return {
        plan,
        workspaceBytes: spec.workspaceBytes,
        runMs: times.run,
        markMs: times.mark,
        steps: this.#steps(entry, plan).map((step, i) => ({
          label: step.label,
          kernel: target?.kernels[step.kernel]?.symbol ?? "",
          family: target?.kernels[step.kernel]?.family ?? "",
          ms: times.steps[i] ?? 0,
        })),
      };
    });
  }

  /** Frees everything, after the runs that were started before. States of this model are of no more use. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    this.#slots.close();
    for (const handle of [this.#weights, this.#device.handle, this.#bundle])
      call(() => addon().release(handle));
  }

  /** @internal */
  async afterRuns(body: (stream: bigint) => void): Promise<void> {
    await this.#queued(async () => body(this.#slots.stream));
  }

  #open(): void {
    if (this.#closed) throw badInput("E_RT_HANDLE", "the model is closed", "load it again");
  }

  #queued<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      this.#open();
      return callAsync(body);
    });
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** One run: where depends on how long it takes. */
  async #start(entry: EntryInfo, slot: Slot, spec: RunSpec, options: RunOptions): Promise<void> {
    if (this.device.type !== "cpu")
      return addon().run(slot.exec, spec, options.graph === true ? (slot.graph ?? null) : null);
    const shapes = `${entry.name}|${spec.inputs.map(({ shape }) => shape.join(",")).join("|")}`;
    const here = this.#pace.here(shapes);
    const start = performance.now();
    if (here) addon().runHere(slot.exec, spec);
    else await addon().run(slot.exec, spec, null);
    this.#pace.took(shapes, performance.now() - start, here);
  }

  /** Inputs as tensors in the entry's order; those left out are filled. */
  #inputs(
    entry: EntryInfo,
    given: Inputs,
  ): { tensors: Tensor[]; shapes: readonly (readonly number[])[] } {
    for (const name of Object.keys(given))
      if (!entry.inputs.some((input) => input.name === name))
        throw badInput(
          "E_RT_INPUT",
          `entry ${JSON.stringify(entry.name)} has no input ${JSON.stringify(name)}`,
          `it has ${entry.inputs.map((i) => i.name).join(", ")}`,
        );
    const tensors = entry.inputs.map((input) => {
      const value = Object.hasOwn(given, input.name) ? given[input.name] : undefined;
      if (value !== undefined) return toTensor(input.name, input.dtype, input.shape.length, value);
      if (input.fill === undefined)
        throw badInput("E_RT_INPUT", `input ${JSON.stringify(input.name)} is absent`);
      return null;
    });
    const shapes = addon().inferShapes(
      this.#bundle,
      entry.name,
      tensors.map((tensor) => (tensor === null ? null : argument(tensor))),
      entry.outputs.length,
    );
    return {
      tensors: tensors.map((tensor, i) => {
        const input = entry.inputs[i] as TensorInfo;
        return (
          tensor ?? filled(input.name, input.dtype, shapes.inputs[i]?.shape ?? [], input.fill ?? 0)
        );
      }),
      shapes: shapes.outputs.map((output) => output.shape),
    };
  }

  #prepare(
    entry: EntryInfo,
    given: Inputs,
    options: RunOptions,
  ): { slot: Slot; spec: RunSpec; outputs: (Tensor | null)[]; plan: number } {
    for (const name of options.outputs ?? [])
      if (!entry.outputs.some((output) => output.name === name))
        throw badInput(
          "E_RT_INPUT",
          `entry ${JSON.stringify(entry.name)} has no output ${JSON.stringify(name)}`,
          `it has ${entry.outputs.map((o) => o.name).join(", ")}`,
        );
    const { tensors, shapes } = this.#inputs(entry, given);
    const wanted = (name: string): boolean => options.outputs?.includes(name) ?? true;
    const prepared = this.#slots.prepare(entry, options.state?.handle ?? null, tensors, shapes);
    const outputs = prepared.outputs.map((tensor, i) =>
      wanted(entry.outputs[i]?.name ?? "") ? tensor : null,
    );
    return {
      slot: prepared.slot,
      plan: prepared.plan,
      spec: {
        ...prepared.spec,
        downloads: prepared.spec.downloads.filter((_, i) => outputs[i] !== null),
      },
      outputs,
    };
  }
}

const argument = (tensor: Tensor): TensorArgument => ({
  data: tensor.data,
  dtype: elementType(tensor.dtype).dl,
  shape: tensor.shape,
});

/** Opens the bundle at `path`, loads its kernels and binds its weights. */
export const load = (path: string, options: LoadOptions = {}): Promise<Model> =>
  Model.load(path, options);
