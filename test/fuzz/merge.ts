/** Many graphs in one bundle: their plans with indices and names that do not collide. */
import type {
  BundlePlan,
  BufferRef,
  HostExpr,
  KernelEntry,
  Plan,
  Step,
} from "../../compiler/plan/plan.js";
import type {
  SourceTensor,
  StateSpec,
  WeightSpec,
  EntrySpec,
  PlanSymbol,
} from "../../compiler/plan/plan.js";
import type { SymbolInfo } from "../../compiler/scalar/expr.js";
import type { BuiltKernels } from "./backend.js";
import type { Lowered } from "./lower.js";

export interface Member {
  /** Of its entry. */
  readonly name: string;
  readonly symbols: readonly SymbolInfo[];
  readonly lowered: Lowered;
}

interface Offsets {
  readonly prefix: string;
  readonly kernels: readonly number[];
  readonly weights: number;
  readonly sources: number;
  readonly states: number;
}

function renamed(expr: HostExpr, prefix: string): HostExpr {
  if (typeof expr === "number") return expr;
  if (typeof expr === "string") return prefix + expr;
  const [op, ...args] = expr;
  return [op, ...args.map((arg) => renamed(arg, prefix))];
}

function movedRef(ref: BufferRef, at: Offsets): BufferRef {
  if (ref.kind === "weight") return { ...ref, index: ref.index + at.weights };
  if (ref.kind === "source") return { ...ref, index: ref.index + at.sources };
  if (ref.kind === "state") return { ...ref, index: ref.index + at.states };
  return ref;
}

function movedStep(step: Step, at: Offsets): Step {
  const host = (expr: HostExpr): HostExpr => renamed(expr, at.prefix);
  return {
    ...step,
    kernel: at.kernels[step.kernel]!,
    buffers: step.buffers.map((ref) => movedRef(ref, at)),
    scalars: step.scalars.map(host),
    ...(step.tasks === undefined ? {} : { tasks: host(step.tasks) }),
    ...(step.grid === undefined
      ? {}
      : { grid: [host(step.grid[0]), host(step.grid[1]), host(step.grid[2])] as const }),
  };
}

function movedWeight(weight: WeightSpec, at: Offsets): WeightSpec {
  return {
    ...weight,
    name: at.prefix + weight.name,
    ...(weight.alias === undefined ? {} : { alias: weight.alias + at.sources }),
    ...(weight.steps === undefined
      ? {}
      : { steps: weight.steps.map((step) => movedStep(step, at)) }),
  };
}

export interface Merged {
  readonly plan: BundlePlan;
  /** Kernel texts by symbol. */
  readonly texts: ReadonlyMap<string, string>;
  readonly embedded: Map<string, SourceData>;
}

type SourceData = Lowered["weights"]["embedded"] extends Map<string, infer T> ? T : never;

class Merger {
  readonly kernels: KernelEntry[] = [];
  readonly #kernelIndex = new Map<string, number>();
  readonly weights: WeightSpec[] = [];
  readonly sources: SourceTensor[] = [];
  readonly states: StateSpec[] = [];
  readonly symbols: PlanSymbol[] = [];
  readonly specs: EntrySpec[] = [];
  readonly plans: Record<string, readonly Plan[]> = {};
  readonly texts = new Map<string, string>();
  readonly embedded = new Map<string, SourceData>();

  constructor(readonly fileOf: (symbol: string) => string) {}

  add({ name, symbols, lowered }: Member): void {
    const prefix = `${name}.`;
    const at: Offsets = {
      prefix,
      kernels: lowered.plans.kernels.map((kernel) => this.#kernel(kernel)),
      weights: this.weights.length,
      sources: this.sources.length,
      states: this.states.length,
    };
    for (const [symbol, text] of lowered.texts) this.texts.set(symbol, text);
    this.weights.push(...lowered.plans.weights.map((weight) => movedWeight(weight, at)));
    for (const { spec } of lowered.sources.entries)
      this.sources.push({ ...spec, name: prefix + spec.name });
    for (const [source, data] of lowered.weights.embedded) this.embedded.set(prefix + source, data);
    for (const state of lowered.sources.states)
      this.states.push({ ...state, name: prefix + state.name });
    for (const { name: symbol, min, max, divisor } of symbols)
      this.symbols.push({ name: prefix + symbol, min, max, divisor });
    const tensor = (spec: EntrySpec["inputs"][number]): EntrySpec["inputs"][number] => ({
      ...spec,
      shape: spec.shape.map((dim) => renamed(dim, prefix)),
    });
    const { inputs, outputs } = lowered.entry;
    this.specs.push({ name, inputs: inputs.map(tensor), outputs: outputs.map(tensor) });
    this.plans[name] = (lowered.plans.entries["main"] ?? []).map((plan) => ({
      ...plan,
      box: Object.fromEntries(Object.entries(plan.box).map(([of, range]) => [prefix + of, range])),
      steps: plan.steps.map((step) => movedStep(step, at)),
    }));
  }

  #kernel(kernel: KernelEntry): number {
    const known = this.#kernelIndex.get(kernel.symbol);
    if (known !== undefined) return known;
    this.#kernelIndex.set(kernel.symbol, this.kernels.length);
    return this.kernels.push({ ...kernel, file: this.fileOf(kernel.symbol) }) - 1;
  }
}

export function mergeMembers(members: readonly Member[], built: BuiltKernels): Merged {
  const merger = new Merger(built.fileOf);
  for (const member of members) merger.add(member);
  const { kernels, weights, plans, symbols, sources, states, specs, texts, embedded } = merger;
  const { target, libraries } = built;
  const made = {
    kernels,
    weights,
    entries: plans,
    ...(libraries === undefined ? {} : { libraries }),
  };
  return {
    plan: {
      format: 1,
      symbols,
      sources,
      states,
      entries: specs,
      targets: { [target]: made },
      checks: { "1": "index out of range" },
    },
    texts,
    embedded,
  };
}
