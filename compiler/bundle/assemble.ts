/** From partitions to `plan.json`: kernels rendered once each, arenas, steps, the weight program. */
import { chooseKernel, renderKernel, type Choice, type RenderedKernel } from "./select.js";
import { byteSize } from "../ir/dtype.js";
import { isNode, type Graph, type Node } from "../ir/graph.js";
import {
  joinedBoxes,
  narrowedDesc,
  narrowing,
  symbolsOf,
  type Box,
  type Narrowing,
} from "../kernel/boxes.js";
import type { KernelDesc } from "../kernel/desc.js";
import { addressesOf } from "../kernel/family.js";
import type { Buffer, PlannedKernel } from "../kernel/memory.js";
import type { Partition } from "../kernel/partition.js";
import type { BoxPartition } from "../kernel/partitions.js";
import type { Target } from "../kernel/target.js";
import type { WeightSteps } from "../kernel/weight-program.js";
import { planArena, type Lifetime } from "../plan/arena.js";
import { hostExpr } from "../plan/host-expr.js";
import type {
  BufferRef,
  HostExpr,
  KernelEntry,
  KernelStep,
  Plan,
  TargetPlans,
  WeightSpec,
} from "../plan/plan.js";
import { substitute } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { bug } from "../errors.js";
import type { SourceTable } from "./sources.js";

/** What one target makes of a model. */
export interface TargetPartition {
  readonly target: Target;
  readonly entries: readonly {
    readonly name: string;
    readonly graph: Graph;
    /** Together they are all shapes; the smallest first. */
    readonly boxes: readonly BoxPartition[];
  }[];
  readonly weights: readonly WeightSteps[];
}

export interface AssembledTarget {
  readonly plans: TargetPlans;
  /** Kernel texts by path below the bundle. */
  readonly files: ReadonlyMap<string, string>;
  readonly kernels: readonly RenderedKernel[];
  /** By entry: what each of its plans was made from. */
  readonly planned: Readonly<Record<string, readonly Partition[]>>;
}

const accessLetter = { read: "r", write: "w", readwrite: "b" } as const;

/** Bytes for the largest shapes, of a box if one is given. */
function maxBytes({ dtype, elements }: Buffer, box?: ReadonlyMap<Expr, Expr>): number {
  const [count] = box === undefined ? [elements] : substitute([elements], box);
  return byteSize(dtype, rangeOf(count!).max);
}

/** A plan's box, and the one of its parts that its kernels were chosen for. */
interface PlanBox {
  readonly whole: Narrowing;
  readonly like: Narrowing;
  readonly target: Target;
}

/** No range is narrowed. */
export const everything: Narrowing = { box: {}, symbols: new Map(), key: "" };
const anyBox = (target: Target): PlanBox => ({ whole: everything, like: everything, target });

/** Equal descriptions have equal keys: expressions by identity, labels left out. */
export function descKey(desc: KernelDesc): string {
  return JSON.stringify(desc, (key, value: unknown) => {
    if (key === "label") return undefined;
    if (typeof value === "object" && value !== null && "op" in value && "id" in value)
      return `#${String(value.id)}`;
    return value;
  });
}

export class TargetAssembler {
  /** Numbers of descriptions: equal ones have the same. */
  readonly #numbers = new Map<KernelDesc, number>();
  readonly #keys = new Map<string, number>();
  readonly #choices = new Map<string, Choice>();
  readonly #rendered = new Map<string, RenderedKernel>();
  /** Whether the template of a choice takes any shape. */
  readonly #general = new Map<string, boolean>();
  #count = 0;
  readonly #kernels = new Map<
    string,
    { index: number; entry: KernelEntry; text: string; rendered: RenderedKernel }
  >();
  readonly #weights: WeightSpec[] = [];
  readonly #weightIndex = new Map<string, number>();

  constructor(
    readonly made: TargetPartition,
    readonly sources: SourceTable,
    /** Called for each kernel rendered. */
    readonly progress: (done: number) => void = () => undefined,
  ) {}

  assemble(): AssembledTarget {
    for (const steps of this.made.weights)
      this.#weightIndex.set(steps.weight.buffer.id, this.#weightIndex.size);
    for (const steps of this.made.weights) this.#weights.push(this.#weightSpec(steps));
    const entries: Record<string, Plan[]> = {};
    const planned: Record<string, Partition[]> = {};
    for (const { name, graph, boxes } of this.made.entries) {
      const joined = this.#joined(graph, boxes);
      entries[name] = joined.map(({ box, partition }) => this.#plan(graph, partition, box));
      planned[name] = joined.map(({ partition }) => partition);
    }
    const kernels = [...this.#kernels.values()];
    return {
      plans: { kernels: kernels.map((kernel) => kernel.entry), weights: this.#weights, entries },
      files: new Map(kernels.map((kernel) => [kernel.entry.file, kernel.text])),
      kernels: kernels.map((kernel) => kernel.rendered),
      planned,
    };
  }

  /** Boxes of which at least one kernel differs from those of the box before it. */
  #joined(
    graph: Graph,
    boxes: readonly BoxPartition[],
  ): readonly { readonly box: PlanBox; readonly partition: Partition }[] {
    if (boxes.length === 1) {
      const box = anyBox(this.made.target);
      return [{ box, partition: boxes[0]!.partition }];
    }
    const { target } = this.made;
    const symbols = symbolsOf(graph);
    const known = new Map<Box, BoxPartition>(boxes.map((each) => [each.box.box, each]));
    const distinct = [...new Set(boxes.map((each) => each.partition))];
    const kind = (range: Box): string => {
      const { box, partition } = known.get(range)!;
      const descs = [...new Set(partition.kernels.map(({ desc }) => desc))];
      const keys = descs.map((desc) => this.#choose(desc, box, target).key);
      return [distinct.indexOf(partition), ...keys].join();
    };
    const joined = joinedBoxes(
      symbols,
      boxes.map(({ box }) => box.box),
      kind,
    );
    return joined.map(({ box, like }) => ({
      box: {
        whole: joined.length === 1 ? everything : narrowing(symbols, box),
        like: known.get(like)!.box,
        target,
      },
      partition: known.get(like)!.partition,
    }));
  }

  #choose(desc: KernelDesc, box: Narrowing, target: Target): Choice {
    const key = `${box.key} ${target.blocksMeet === true ? "meet" : "apart"}`;
    return this.#once(desc, key, this.#choices, () =>
      chooseKernel(box.symbols.size === 0 ? desc : narrowedDesc(desc, box.symbols), target),
    );
  }

  /** The kernel of a box: of any shape, where the template that suits the box can do that. */
  #render(desc: KernelDesc, { like, whole, target }: PlanBox): RenderedKernel {
    const choice = this.#choose(desc, like, target);
    const general = this.#once(
      desc,
      choice.key,
      this.#general,
      () => choice.template.candidates(desc, target).length > 0,
    );
    // A text for a box alone is no text for another.
    const key = general ? choice.key : `${choice.key} ${whole.key}`;
    return this.#once(desc, key, this.#rendered, () => {
      const own = general ? desc : narrowedDesc(desc, whole.symbols);
      const rendered = renderKernel(own, target, choice);
      this.progress(++this.#count);
      return rendered;
    });
  }

  /** `make` once for equal descriptions and keys. */
  #once<T>(desc: KernelDesc, key: string, made: Map<string, T>, make: () => T): T {
    const own = `${key} ${this.#numberOf(desc)}`;
    const known = made.get(own);
    if (known !== undefined) return known;
    const value = make();
    made.set(own, value);
    return value;
  }

  #numberOf(desc: KernelDesc): number {
    const known = this.#numbers.get(desc);
    if (known !== undefined) return known;
    const key = descKey(desc);
    const number = this.#keys.get(key) ?? this.#keys.size;
    this.#keys.set(key, number);
    this.#numbers.set(desc, number);
    return number;
  }

  #kernelIndex(desc: KernelDesc, rendered: RenderedKernel): number {
    const known = this.#kernels.get(rendered.symbol);
    if (known !== undefined) return known.index;
    const { target } = this.made;
    const file = `kernels/${target.name}/${rendered.symbol}.${target.language === "c" ? "c" : "ptx"}`;
    const index = this.#kernels.size;
    const { launch } = rendered;
    const start =
      launch.kind === "gpu"
        ? {
            threads: launch.threads,
            sharedBytes: launch.sharedBytes,
            ...(target.ptx?.dependent === true ? { dependent: true } : {}),
          }
        : { scratchBytes: launch.scratchBytes };
    this.#kernels.set(rendered.symbol, {
      index,
      text: rendered.text,
      rendered,
      entry: {
        ...{ symbol: rendered.symbol, file, family: rendered.family },
        access: addressesOf(desc, rendered)
          .map(({ access }) => accessLetter[access])
          .join(""),
        ...start,
      },
    });
    return index;
  }

  #step(
    kernel: PlannedKernel,
    refOf: (buffer: Buffer) => BufferRef,
    box: PlanBox,
    symbol?: (name: string, max: number) => HostExpr,
    workspace: readonly BufferRef[] = [],
  ): KernelStep {
    const rendered = this.#render(kernel.desc, box);
    if (rendered.workspace !== undefined && workspace.length === 0)
      throw bug(`the blocks of ${kernel.desc.label} have no place to meet`);
    const { launch } = rendered;
    const host = (expr: Parameters<typeof hostExpr>[0]): HostExpr => hostExpr(expr, symbol);
    return {
      kind: "kernel",
      kernel: this.#kernelIndex(kernel.desc, rendered),
      buffers: [...kernel.buffers.map(refOf), ...workspace],
      scalars: rendered.scalars.map(host),
      ...(launch.kind === "gpu"
        ? { grid: [host(launch.grid[0]), host(launch.grid[1]), host(launch.grid[2])] as const }
        : { tasks: host(launch.tasks) }),
      label: kernel.label ?? kernel.desc.label,
    };
  }

  #plan(graph: Graph, partition: Partition, box: PlanBox): Plan {
    const { symbols } = box.whole;
    const known = new Map<string, number>();
    const bytes = (buffer: Buffer): number => {
      // Layers are alike: of most sizes there are many.
      const key = `${buffer.dtype}${buffer.elements.id}`;
      const size = known.get(key) ?? maxBytes(buffer, symbols);
      known.set(key, size);
      return size;
    };
    const workspaces = partition.kernels.map(({ desc }) =>
      workspaceSize(this.#render(desc, box), symbols),
    );
    const arena = planArena([
      ...lifetimes(partition.kernels, bytes),
      ...workspaces.flatMap((size, step) =>
        size === null ? [] : [{ id: scratch(step), bytes: size.bytes, first: step, last: step }],
      ),
    ]);
    const tickets = Math.max(0, ...workspaces.map((size) => size?.tickets ?? 0));
    const workspaceOf = (step: number): BufferRef[] => {
      const size = workspaces[step];
      if (size === null || size === undefined) return [];
      const { bytes, tickets: count } = size;
      return [
        { kind: "arena", offset: arena.offsets.get(scratch(step))!, bytes },
        { kind: "tickets", count },
      ];
    };
    const inputs = graph.inputs.map((node) => node.attrs.name);
    const outputs = partition.outputs.map((buffer) => buffer.id);
    const refOf = (buffer: Buffer): BufferRef => {
      switch (buffer.place) {
        case "temp":
          return { kind: "arena", offset: arena.offsets.get(buffer.id)!, bytes: bytes(buffer) };
        case "input":
          return { kind: "input", index: inputs.indexOf(buffer.name) };
        case "output":
          return { kind: "output", index: outputs.indexOf(buffer.id) };
        case "state":
          return { kind: "state", index: this.sources.stateIndex(buffer) };
        case "source":
          return { kind: "weight", index: this.#alias(buffer) };
        case "weight":
          return { kind: "weight", index: this.#weightIndex.get(buffer.id)! };
        case "status":
          return { kind: "status" };
      }
    };
    return {
      box: box.whole.box,
      arenaBytes: arena.bytes,
      ...(tickets > 0 && { tickets }),
      steps: partition.kernels.map((kernel, step) =>
        this.#step(kernel, refOf, box, undefined, workspaceOf(step)),
      ),
    };
  }

  /** A source tensor that kernels read as it is stored. */
  #alias(buffer: Buffer): number {
    const known = this.#weightIndex.get(buffer.id);
    if (known !== undefined) return known;
    const index = this.#weights.length;
    this.#weightIndex.set(buffer.id, index);
    this.#weights.push({
      name: buffer.name,
      dtype: buffer.dtype,
      bytes: maxBytes(buffer),
      alias: this.#source(buffer),
    });
    return index;
  }

  #source(buffer: Buffer): number {
    const node = buffer.node as Node;
    if (!isNode(node, "constant")) throw bug(`${buffer.name} is not a source tensor`);
    return this.sources.indexOf(node, buffer.name);
  }

  #weightSpec({ weight, kernels, result }: WeightSteps): WeightSpec {
    const index = this.#weightIndex.get(weight.buffer.id)!;
    const arena = planArena(lifetimes(kernels, (buffer) => maxBytes(buffer), result));
    const refOf = (buffer: Buffer): BufferRef => {
      if (buffer === result) return { kind: "weight", index };
      if (buffer.place === "source") return { kind: "source", index: this.#source(buffer) };
      if (buffer.place === "temp" || buffer.place === "output")
        return { kind: "arena", offset: arena.offsets.get(buffer.id)!, bytes: maxBytes(buffer) };
      if (buffer.place === "status") return { kind: "status" };
      throw bug(`a weight depends on ${buffer.place} ${buffer.name}`);
    };
    // The weight program has no tickets.
    const box = anyBox({ ...this.made.target, blocksMeet: false });
    return {
      name: weight.buffer.name,
      dtype: weight.buffer.dtype,
      bytes: maxBytes(weight.buffer),
      arenaBytes: arena.bytes,
      // Weights are made for the largest shapes of the profile.
      steps: kernels.map((kernel) =>
        this.#step(kernel, refOf, box, (name, max) => kernel.symbols?.get(name) ?? max),
      ),
    };
  }
}

/** The arena's name for what the blocks of a step leave for each other. */
const scratch = (step: number): string => `scratch:${step}`;

/** What a kernel's workspace needs at most in a box. */
function workspaceSize(
  { workspace }: RenderedKernel,
  box: ReadonlyMap<Expr, Expr>,
): { readonly bytes: number; readonly tickets: number } | null {
  if (workspace === undefined) return null;
  const [partials, tickets] = substitute([workspace.partials, workspace.tickets], box);
  return { bytes: 4 * rangeOf(partials!).max, tickets: rangeOf(tickets!).max };
}

/** From the first step that touches a temporary to the last. */
function lifetimes(
  kernels: readonly PlannedKernel[],
  bytes: (buffer: Buffer) => number,
  result?: Buffer,
): Lifetime[] {
  const spans = new Map<string, Lifetime>();
  kernels.forEach((kernel, step) => {
    for (const buffer of kernel.buffers) {
      const temporary =
        buffer.place === "temp" ||
        (result !== undefined && buffer.place === "output" && buffer !== result);
      if (!temporary) continue;
      const before = spans.get(buffer.id);
      spans.set(buffer.id, {
        id: buffer.id,
        bytes: bytes(buffer),
        first: before?.first ?? step,
        last: step,
      });
    }
  });
  return [...spans.values()];
}
