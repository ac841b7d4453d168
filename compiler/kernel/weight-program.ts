/**
 * The weight program: every derived weight (merged, folded, packed, tabled) is computed from source
 * tensors by ordinary kernels when weights are bound, one weight after the other.
 */
import { linearize } from "../ir/element.js";
import { below, isNode, type Graph, type Node } from "../ir/graph.js";
import {
  add,
  and,
  ceilDiv,
  constant,
  coord,
  div,
  eq,
  int,
  lt,
  mod,
  mul,
  select,
  sym,
  zero,
} from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { exprType } from "../ir/element.js";
import { sameShape } from "../ir/shape.js";
import { Analysis, roles } from "./analysis.js";
import { mapKernel, readerFor, sourceOf, type LoweringContext } from "./lowering.js";
import {
  matrixSize,
  Memory,
  sourceBuffer,
  type Buffer,
  type DerivedWeight,
  type PackedWeight,
  type PlannedKernel,
} from "./memory.js";
import { partition, nameIn, type PartitionOptions } from "./partition.js";
import { Structures } from "./structure.js";

/** The kernels that make one weight; temporaries live only while they run. */
export interface WeightSteps {
  readonly weight: DerivedWeight;
  readonly kernels: readonly PlannedKernel[];
  /** The buffer in which the kernels leave the weight. */
  readonly result: Buffer;
}

/** The weight program of a model: weights of equal structure share their kernels. */
export class WeightProgram {
  readonly #made = new Map<string, MadeWeight>();

  constructor(
    readonly graph: Graph,
    readonly options: PartitionOptions,
    readonly structures = new Structures(),
  ) {}

  steps(weight: DerivedWeight): WeightSteps {
    const { key, sources } = this.structures.of(weight.node);
    const whole = `${packingKey(weight.packed)}|${key}`;
    const known = this.#made.get(whole);
    if (known !== undefined) return withSources(this.graph, known, weight, sources);
    const steps = weightSteps(this.graph, weight, this.options);
    this.#made.set(whole, { steps, sources });
    return steps;
  }
}

interface MadeWeight {
  readonly steps: WeightSteps;
  readonly sources: readonly Node[];
}

function packingKey(packed: PackedWeight | null): string {
  if (packed === null) return "";
  const { layout, k, n, group, stack = 0, key } = packed;
  return [JSON.stringify(layout), k.id, n.id, group, stack, key].join("|");
}

/** The kernels of a weight, for another of the same structure. */
function withSources(
  graph: Graph,
  { steps, sources }: MadeWeight,
  weight: DerivedWeight,
  others: readonly Node[],
): WeightSteps {
  const result: Buffer = { ...steps.result, node: weight.node, name: weight.buffer.name };
  const places = new Map(sources.map((node, i) => [node, others[i]!]));
  const buffers = new Map<Buffer, Buffer>([[steps.result, result]]);
  const [from, to] = [steps.weight.buffer.name, weight.buffer.name];
  const kernels = steps.kernels.map((kernel) => ({
    ...kernel,
    label: (kernel.label ?? kernel.desc.label).replace(from, to),
    buffers: kernel.buffers.map((buffer) =>
      memoised(buffers, buffer, () => {
        const node = buffer.place === "source" ? places.get(buffer.node!) : undefined;
        return node === undefined ? buffer : sourceBuffer(node, nameIn(graph, node));
      }),
    ),
  }));
  return { weight, kernels, result };
}

function memoised<K, V>(made: Map<K, V>, key: K, make: (key: K) => V): V {
  const known = made.get(key);
  if (known !== undefined) return known;
  const value = make(key);
  made.set(key, value);
  return value;
}

export function weightSteps(
  graph: Graph,
  weight: DerivedWeight,
  options: PartitionOptions,
): WeightSteps {
  // Indices are constants that were looked at: see `weightNodes`.
  const inProgram = { ...options, weightProgram: true, site: () => 0 };
  if (weight.packed === null) return materialisedWeight(graph, weight, inProgram);
  const anchors = below([weight.node]).some((node) => roles[node.op] === "anchor");
  const memory = new Memory();
  const before = anchors ? materialisedWeight(graph, weight, inProgram, memory) : null;
  const result = memory.make(
    "output",
    weight.node,
    weight.buffer.name,
    weight.packed.layout.dtype,
    weight.buffer.shape,
  );
  if (before !== null) memory.place(weight.node, before.result);
  const work = { context: packContext(graph, inProgram, memory), weight, result };
  const { stack } = weight.packed;
  const packs =
    stack === undefined || !isJoined(weight.node)
      ? [packKernel(work, weight.packed, null)]
      : packStack(work, weight.packed);
  return { weight, kernels: [...(before?.kernels ?? []), ...packs], result };
}

function materialisedWeight(
  graph: Graph,
  weight: DerivedWeight,
  options: PartitionOptions,
  memory = new Memory(),
): WeightSteps {
  const alone: Graph = {
    builder: graph.builder,
    inputs: [],
    outputs: [{ name: weight.buffer.name, node: weight.node }],
    states: [],
  };
  const made = partition(alone, options, memory);
  return { weight, kernels: made.kernels, result: made.outputs[0]! };
}

/** Made of so many parts that a kernel over all of them would choose among them for each element. */
const isJoined = (weight: Node): boolean =>
  below([weight]).some((node) => isNode(node, "concat") && node.inputs.length > mostParts);

const mostParts = 4;

/** A weight being packed into `result`. */
interface PackWork {
  readonly context: LoweringContext;
  readonly weight: DerivedWeight;
  readonly result: Buffer;
}

function packContext(graph: Graph, options: PartitionOptions, memory: Memory): LoweringContext {
  const alone: Graph = { builder: graph.builder, inputs: [], outputs: [], states: [] };
  return {
    memory,
    analysis: new Analysis(alone, new Set()),
    materialised: { nodes: new Set(), producer: new Map(), regions: new Map() },
    target: options.target,
    strict: options.strict,
    nameOf: (node: Node) => nameIn(graph, node),
    site: (node) => options.site(node),
    scalar: (node) => (isNode(node, "constant") ? options.scalar(node) : null),
  };
}

/** Which matrix of a stack a launch packs. */
const matrixSymbol = "matrix";

/**
 * One kernel for all matrices of a stack, launched for each with its own sources: those of the first
 * two tell how far apart a matrix's parts are in the lists that they were joined from.
 */
function packStack(work: PackWork, packed: PackedWeight): PlannedKernel[] {
  const stack = packed.stack!;
  const pack = (matrix: number): PlannedKernel => packKernel(work, packed, matrix);
  const first = pack(0);
  if (stack === 1) return [first];
  const second = pack(1);
  const sources = sameBodies(first, second) ? sourcesOf(work, first, second) : null;
  return Array.from({ length: stack }, (_, matrix) =>
    sources === null ? pack(matrix) : launched(first, sources, matrix),
  );
}

/** The buffers of the kernel of each matrix. */
type StackSources = (matrix: number) => readonly Buffer[];

const launched = (kernel: PlannedKernel, sources: StackSources, matrix: number): PlannedKernel => ({
  desc: kernel.desc,
  buffers: sources(matrix),
  symbols: new Map([[matrixSymbol, matrix]]),
});

function sameBodies(a: PlannedKernel, b: PlannedKernel): boolean {
  const [x, y] = [a.desc, b.desc];
  if (x.family !== "map" || y.family !== "map" || a.buffers.length !== b.buffers.length)
    return false;
  return x.stores[0]!.value === y.stores[0]!.value && x.stores[0]!.offset === y.stores[0]!.offset;
}

function sourcesOf(
  work: PackWork,
  first: PlannedKernel,
  second: PlannedKernel,
): StackSources | null {
  const { context, weight } = work;
  const places = new Map<Node, { readonly list: readonly Node[]; readonly at: number }>();
  for (const node of below([weight.node]))
    if (isNode(node, "concat"))
      node.inputs.forEach((part, at) => places.set(part, { list: node.inputs, at }));
  const steps = first.buffers.map((buffer, i) => {
    const [from, to] = [buffer, second.buffers[i]].map((each) => places.get(each?.node as Node));
    if (buffer === second.buffers[i]) return () => buffer;
    if (from === undefined || from.list !== to?.list) return null;
    // As many parts for each matrix, all of a kind.
    const each = from.list.length / work.weight.packed!.stack!;
    const alike = from.list.every((part) => sameKind(part, from.list[0]!));
    if (!alike || to.at - from.at !== each || from.at >= each) return null;
    return (matrix: number): Buffer | undefined => {
      const node = from.list[from.at + matrix * (to.at - from.at)];
      return node === undefined ? undefined : sourceOf(context, node);
    };
  });
  if (steps.includes(null)) return null;
  return (matrix) => steps.map((step) => step!(matrix)!);
}

const sameKind = (a: Node, b: Node): boolean =>
  a.op === "constant" && a.dtype === b.dtype && sameShape(a.shape, b.shape);

/** The element of physical column `n`; columns of a group stand side by side. */
function columnValue(
  weight: Node,
  { group, n, columnOf }: Pick<PackedWeight, "group" | "n" | "columnOf">,
  at: (column: Expr) => Expr,
): Expr {
  if (group === 1) return at(columnOf(n, 0));
  const logical = div(n, int(group));
  const first = eq(mod(n, int(2)), zero);
  const [left, right] = [columnOf(logical, 0), columnOf(logical, 1)];
  // Of a joined weight each has a part of its own: the choice among parts is made here.
  const joined = below([weight]).some(({ op }) => op === "concat");
  return joined ? select(first, at(left), at(right)) : at(select(first, left, right));
}

/** The kernel that packs a weight, or of a stack the one at number `matrix`. */
function packKernel(
  { context, weight, result }: PackWork,
  packed: PackedWeight,
  matrix: number | null,
): PlannedKernel {
  const { layout, k: kExtent, n: nExtent, group } = packed;
  const physical = mul(nExtent, int(group));
  const inBlock = layout.columnMajor
    ? [layout.columns, layout.rows]
    : [layout.rows, layout.columns];
  const extents = [
    ceilDiv(physical, int(layout.columns)),
    ceilDiv(kExtent, int(layout.rows)),
    ...inBlock.map(int),
  ];
  const coords = extents.map((extent, axis) => coord(`i${axis}`, extent));
  const [panel, block, outer, inner] = coords as [Expr, Expr, Expr, Expr];
  const [column, row] = layout.columnMajor ? [outer, inner] : [inner, outer];
  const k = add(mul(block, int(layout.rows)), row);
  const n = add(mul(panel, int(layout.columns)), column);
  const logical = div(n, int(group));
  const inside = and(lt(k, kExtent), lt(logical, nExtent));
  const whole = packed.stack !== undefined && matrix === null;
  const which = whole ? coord("stack", int(packed.stack)) : int(matrix ?? 0);
  const outermost = packed.stack === undefined ? [] : [which];
  const reader = readerFor(context);
  const at = (column: Expr): Expr => reader.at(weight.node, [...outermost, k, column]);
  const value = columnValue(weight.node, { ...packed, n }, at);
  const padded = select(inside, value, constant(0, exprType(weight.node.dtype)));
  const inMatrix = linearize(coords, extents);
  const info = { name: matrixSymbol, space: "host", min: 0, divisor: 1 } as const;
  const place = matrix === null ? which : sym({ ...info, max: packed.stack! - 1 });
  const offset = add(mul(place, int(matrixSize(packed))), inMatrix);
  const store = { operand: result.id, offset, value: padded, guard: null };
  const box = whole
    ? { extents: [int(packed.stack), ...extents], coords: [which, ...coords] }
    : { extents, coords };
  const label = `pack ${weight.buffer.name}`;
  const kernel = mapKernel(context, box.extents, box.coords, [store], label);
  return matrix === null ? kernel : { ...kernel, symbols: new Map([[matrixSymbol, matrix]]) };
}
