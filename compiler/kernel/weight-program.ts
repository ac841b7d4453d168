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
  zero,
} from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { exprType } from "../ir/element.js";
import { Analysis, roles } from "./analysis.js";
import { mapKernel, readerFor, type LoweringContext } from "./lowering.js";
import {
  Memory,
  type Buffer,
  type DerivedWeight,
  type PackedWeight,
  type PlannedKernel,
} from "./memory.js";
import { partition, nameIn, type PartitionOptions } from "./partition.js";

/** The kernels that make one weight; temporaries live only while they run. */
export interface WeightSteps {
  readonly weight: DerivedWeight;
  readonly kernels: readonly PlannedKernel[];
  /** The buffer in which the kernels leave the weight. */
  readonly result: Buffer;
}

export function weightSteps(
  graph: Graph,
  weight: DerivedWeight,
  options: PartitionOptions,
): WeightSteps {
  const inProgram = { ...options, weightProgram: true };
  if (weight.packed === null) return materialisedWeight(graph, weight, inProgram);
  const anchors = below([weight.node]).some((node) => roles[node.op] === "anchor");
  const memory = new Memory();
  const before = anchors ? materialisedWeight(graph, weight, inProgram, memory) : null;
  const pack = packKernel(graph, weight, weight.packed, inProgram, memory, before?.result ?? null);
  return { weight, kernels: [...(before?.kernels ?? []), pack.kernel], result: pack.result };
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

function packKernel(
  graph: Graph,
  weight: DerivedWeight,
  packed: PackedWeight,
  options: PartitionOptions,
  memory: Memory,
  from: Buffer | null,
): { kernel: PlannedKernel; result: Buffer } {
  const alone: Graph = { builder: graph.builder, inputs: [], outputs: [], states: [] };
  const result = memory.make(
    "output",
    weight.node,
    weight.buffer.name,
    packed.layout.dtype,
    weight.buffer.shape,
  );
  if (from !== null) memory.place(weight.node, from);
  const context: LoweringContext = {
    memory,
    analysis: new Analysis(alone, true),
    materialised: { nodes: new Set(), producer: new Map(), regions: new Map() },
    target: options.target,
    strict: options.strict,
    nameOf: (node: Node) => nameIn(graph, node),
    site: (node) => options.site(node),
    scalar: (node) => (isNode(node, "constant") ? options.scalar(node) : null),
  };
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
  const source =
    group === 1
      ? packed.columnOf(n, 0)
      : select(eq(mod(n, int(2)), zero), packed.columnOf(logical, 0), packed.columnOf(logical, 1));
  const inside = and(lt(k, kExtent), lt(logical, nExtent));
  const value = readerFor(context).at(weight.node, [k, source]);
  const padded = select(inside, value, constant(0, exprType(weight.node.dtype)));
  const store = {
    operand: result.id,
    offset: linearize(coords, extents),
    value: padded,
    guard: null,
  };
  return {
    kernel: mapKernel(context, extents, coords, [store], `pack ${weight.buffer.name}`),
    result,
  };
}
