/** `report.json`: what fused into what, what did not and why. `docs/report.md` describes the file. */
import { FarrierError } from "../errors.js";
import { weightNodes } from "../ir/cones.js";
import type { DType } from "../ir/dtype.js";
import { topological, type Graph, type Node } from "../ir/graph.js";
import type { Family } from "../kernel/desc.js";
import { floorOf } from "../kernel/floor.js";
import type { PlannedKernel } from "../kernel/memory.js";
import type { Refusal } from "../kernel/limits.js";
import {
  partition,
  type FusionRefusal,
  type Partition,
  type PartitionOptions,
} from "../kernel/partition.js";
import type { Target } from "../kernel/target.js";
import { floorExpr, totalExpr, type FloorExpr } from "../plan/floor-expr.js";
import { linesText } from "../plan/plan-text.js";
import type { PlanSymbol } from "../plan/plan.js";
import type { AssembledTarget } from "./assemble.js";
import { largestBytes, leastBytes, temporaryBytes } from "./report-intermediates.js";
import { operatorReports, type OperatorReport } from "./report-operators.js";
import { whyStored } from "./report-why.js";
import { KernelNames } from "./report-words.js";

export interface Report {
  readonly format: 1;
  readonly numerics: "strict" | "fast";
  /** False where the bundle was compiled with `--no-fusion`. */
  readonly fusion: boolean;
  /** The dimensions that vary. Bytes in this report are for the largest of each. */
  readonly symbols: readonly PlanSymbol[];
  /** In the order in which they ran, for each entry. */
  readonly passes: readonly PassReport[];
  readonly targets: readonly TargetReport[];
}

/** What one pass did to the graph of one entry. */
export interface PassReport {
  readonly entry: string;
  readonly pass: string;
  readonly changed: boolean;
  /** Operators in the graph before and after it. */
  readonly before: number;
  readonly after: number;
  /** Operators whose number it changed, and by how much: `{ "normalize": 5, "map": -20 }`. */
  readonly operators: Readonly<Record<string, number>>;
}

export interface TargetReport {
  readonly target: string;
  /** Distinct kernels, those of the weight program included. */
  readonly kernels: number;
  /** The weight program: weights that kernels read, of which some are source tensors as stored. */
  readonly weights: { readonly count: number; readonly stored: number; readonly bytes: number };
  readonly entries: readonly EntryReport[];
}

export interface EntryReport {
  readonly name: string;
  /** Steps of kind kernel. */
  readonly launches: number;
  /** The same with fusion off and shape arithmetic gone; null where that plan does not exist. */
  readonly launchesBefore: number | null;
  readonly arenaBytes: number;
  readonly intermediates: {
    /** Bytes of temporaries that kernels write, in all. */
    readonly bytes: number;
    /** With fusion off. */
    readonly before: number | null;
    /** The least that a plan of one launch for each product and attention could write. */
    readonly least: number;
  };
  readonly kernels: readonly KernelReport[];
  /** What the launches compute, operator by operator. */
  readonly operators: readonly OperatorReport[];
  /** The same of plans with other launches than that of the largest shapes, by their numbers. */
  readonly others: readonly OtherPlans[];
  /** Every value that passes between kernels through memory, and why. */
  readonly values: readonly ValueReport[];
  /** Fusions that were tried and failed, equal ones once. */
  readonly refusals: readonly RefusalReport[];
}

/** Plans of an entry that share their launches, though not each kernel's configuration. */
export interface OtherPlans extends Pick<EntryReport, "kernels" | "operators"> {
  readonly plans: readonly number[];
}

/** One launch. */
export interface KernelReport {
  readonly family: Family;
  /** The function in the bundle: launches that share it share a kernel. */
  readonly symbol: string;
  /** The chosen configuration of the family, as text. */
  readonly config: string;
  /** For people: the operator, and the model's names of what it works on. */
  readonly computes: string;
  /** Operators computed as its operands are read. */
  readonly prologue: readonly string[];
  /** Operators computed on its results before they are written. */
  readonly epilogue: readonly string[];
  /** Values that it writes. */
  readonly writes: readonly string[];
  readonly floor: FloorReport;
}

/** The least that a launch moves and computes, over symbols and the values of inputs. */
export interface FloorReport {
  /** Bytes. */
  readonly read: FloorExpr;
  readonly written: FloorExpr;
  /** Multiplications and additions of its products, and the type of what is multiplied. */
  readonly operations: FloorExpr;
  readonly dtype: DType | null;
}

export interface ValueReport {
  readonly name: string;
  readonly bytes: number;
  /** Numbers of launches of the entry. */
  readonly writer: number;
  readonly readers: readonly number[];
  readonly why: string;
  /** The limit that kept its writer and its readers apart; null where nothing reads it. */
  readonly refusal: Refusal | null;
}

export interface RefusalReport extends Refusal {
  /** What could not take the value: an `epilogue`, an `operand` or rows of a `product`, a `chain`. */
  readonly part: FusionRefusal["part"];
  /** Values that it concerned. */
  readonly nodes: readonly string[];
}

/** What the report is made from. */
export interface ReportSource {
  readonly symbols: readonly PlanSymbol[];
  readonly passes: readonly PassReport[];
  readonly graphs: readonly { readonly name: string; readonly graph: Graph }[];
  /** With which the model was partitioned, the target apart. */
  readonly options: Omit<PartitionOptions, "target">;
  readonly targets: readonly (AssembledTarget & {
    readonly target: Target;
    readonly partitions: readonly { name: string; partition: Partition }[];
  })[];
}

export function bundleReport(source: ReportSource): Report {
  const least = new Map(source.graphs.map(({ name, graph }) => [name, leastBytes(graph)]));
  return {
    format: 1,
    numerics: source.options.strict ? "strict" : "fast",
    fusion: source.options.fuse,
    symbols: source.symbols.map(({ name, min, max, divisor }) => ({ name, min, max, divisor })),
    passes: source.passes,
    targets: source.targets.map((made) => targetReport(source, made, least)),
  };
}

/** The text of `report.json`: a line for each pass, kernel, operator and value. */
export const reportText = (report: Report): string =>
  linesText(report, (value) => "entries" in value || "kernels" in value);

function targetReport(
  source: ReportSource,
  made: ReportSource["targets"][number],
  least: ReadonlyMap<string, number>,
): TargetReport {
  const { plans, target, partitions } = made;
  return {
    target: target.name,
    kernels: plans.kernels.length,
    weights: {
      count: plans.weights.length,
      stored: plans.weights.filter((weight) => weight.alias !== undefined).length,
      bytes: plans.weights.reduce((sum, weight) => sum + weight.bytes, 0),
    },
    entries: partitions.map(({ name, partition: own }) => {
      const graph = source.graphs.find((each) => each.name === name)!.graph;
      const before = unfused(graph, { ...source.options, target, fuse: false });
      // That of the largest shapes; all have the same steps.
      const plan = plans.entries[name]!.at(-1)!;
      return {
        name,
        launches: plan.steps.length,
        launchesBefore: before?.length ?? null,
        arenaBytes: plan.arenaBytes,
        intermediates: {
          bytes: temporaryBytes(own.kernels),
          before: before === null ? null : temporaryBytes(before),
          least: least.get(name)!,
        },
        ...launchReports(graph, own, made, name, plans.entries[name]!.length - 1),
        others: otherPlans(graph, own, made, name),
        values: valueReports(own),
        refusals: refusalReports(own.refusals),
      };
    }),
  };
}

/** The kernels of an entry with fusion off; null where an operator has no kernel of its own. */
function unfused(graph: Graph, options: PartitionOptions): readonly PlannedKernel[] | null {
  try {
    return partition(graph, options).kernels;
  } catch (error) {
    if (error instanceof FarrierError && error.code === "E_OP_UNSUPPORTED") return null;
    throw error;
  }
}

function otherPlans(
  graph: Graph,
  largest: Partition,
  made: ReportSource["targets"][number],
  entry: string,
): OtherPlans[] {
  const planned = made.planned[entry]!;
  return [...new Set(planned)].flatMap((each) => {
    if (each === largest) return [];
    const plans = planned.flatMap((one, number) => (one === each ? [number] : []));
    return [{ plans, ...launchReports(graph, each, made, entry, plans[0]!) }];
  });
}

function launchReports(
  graph: Graph,
  { kernels }: Partition,
  { plans, kernels: rendered }: ReportSource["targets"][number],
  entry: string,
  plan: number,
): Pick<EntryReport, "kernels" | "operators"> {
  const weights = weightNodes(topological(graph));
  const names = new KernelNames(graph, weights, kernels);
  const { steps } = plans.entries[entry]![plan]!;
  const computed: ReadonlySet<Node>[] = [];
  const reports = kernels.map((kernel, index): KernelReport => {
    const { computes, prologue, epilogue, nodes } = names.of(kernel);
    computed.push(nodes);
    const number = steps[index]!.kernel;
    const written = kernel.buffers.filter(
      ({ place }, i) => kernel.desc.operands[i]!.access !== "read" && place !== "status",
    );
    return {
      family: kernel.desc.family,
      symbol: plans.kernels[number]!.symbol,
      config: rendered[number]!.config,
      computes,
      prologue,
      epilogue,
      writes: written.map(({ name }) => name),
      floor: floorReport(kernel),
    };
  });
  return { kernels: reports, operators: operatorReports(graph, weights, computed) };
}

function floorReport(kernel: PlannedKernel): FloorReport {
  const { read, written, operations, dtype } = floorOf(kernel);
  return {
    read: floorExpr(read),
    written: floorExpr(written),
    operations: totalExpr(operations),
    dtype,
  };
}

function valueReports({ kernels, refusals }: Partition): ValueReport[] {
  const cut = new Map(refusals.map(({ node, part: _, ...refusal }) => [node, refusal]));
  const uses = new Map<string, Record<"read" | "write", Set<number>>>();
  for (const [number, { desc, buffers }] of kernels.entries())
    for (const [i, { id }] of buffers.entries()) {
      const own = uses.get(id) ?? { read: new Set(), write: new Set() };
      uses.set(id, own);
      const { access } = desc.operands[i]!;
      if (access !== "write") own.read.add(number);
      if (access !== "read") own.write.add(number);
    }
  const users = (id: string, how: "read" | "write"): number[] => [...uses.get(id)![how]];
  const values = new Map(
    kernels.flatMap(({ buffers }) => buffers.map((buffer) => [buffer.id, buffer] as const)),
  );
  return [...values.values()].flatMap((buffer) => {
    if (buffer.place !== "temp") return [];
    const [writer] = users(buffer.id, "write");
    const readers = users(buffer.id, "read");
    const reading = readers.map((number) => kernels[number]!);
    const stored = whyStored(buffer.name, kernels[writer!]!, reading, cut);
    return [
      { name: buffer.name, bytes: largestBytes(buffer), writer: writer!, readers, ...stored },
    ];
  });
}

function refusalReports(refusals: Partition["refusals"]): RefusalReport[] {
  const groups = new Map<string, RefusalReport & { readonly nodes: string[] }>();
  for (const { node, ...refusal } of refusals) {
    const key = `${refusal.part}: ${refusal.text}`;
    const group = groups.get(key) ?? { ...refusal, nodes: [] };
    group.nodes.push(node);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Notes what each pass did; `before` is the graph that it was given. */
export class PassLog {
  readonly reports: PassReport[] = [];

  record(entry: string, pass: string, before: Graph, after: Graph): void {
    const [old, now] = [countOperators(before), countOperators(after)];
    const operators: Record<string, number> = {};
    for (const op of [...new Set([...old.keys(), ...now.keys()])].sort()) {
      const change = (now.get(op) ?? 0) - (old.get(op) ?? 0);
      if (change !== 0) operators[op] = change;
    }
    const total = (counts: ReadonlyMap<string, number>): number =>
      [...counts.values()].reduce((sum, count) => sum + count, 0);
    const sizes = { before: total(old), after: total(now) };
    this.reports.push({ entry, pass, changed: before !== after, ...sizes, operators });
  }
}

/** Operators of a graph by name; what weights are made with is not among them. */
function countOperators(graph: Graph): ReadonlyMap<string, number> {
  const known = operatorCounts.get(graph);
  if (known !== undefined) return known;
  const order = topological(graph);
  const weights = weightNodes(order);
  const counts = new Map<string, number>();
  for (const { op } of order.filter((node) => !weights.has(node)))
    counts.set(op, (counts.get(op) ?? 0) + 1);
  operatorCounts.set(graph, counts);
  return counts;
}

const operatorCounts = new WeakMap<Graph, ReadonlyMap<string, number>>();
