/**
 * The partitions of a graph by boxes of its symbols: what is cheapest stored depends on how many rows
 * there are, so that small and large shapes may have different kernels, over the same weights.
 */
import type { Graph } from "../ir/graph.js";
import { analysisFor } from "./live-weights.js";
import { boxesOf, narrowing, symbolsOf, type Narrowing, type Splits } from "./boxes.js";
import type { Memory } from "./memory.js";
import { partition, type Partition, type PartitionOptions } from "./partition.js";
import { normalisedApart } from "./row-statistics.js";

/** A box of symbol ranges and the kernels for it. */
export interface BoxPartition {
  readonly box: Narrowing;
  readonly partition: Partition;
}

/** For each box that `splits` cuts, the smallest first; boxes that store the same values share one. */
export function partitions(
  graph: Graph,
  options: PartitionOptions,
  splits: Splits,
  memory: Memory,
): BoxPartition[] {
  const symbols = symbolsOf(graph);
  const analysis = analysisFor(graph, options);
  const made = new Map<string, Partition>();
  return boxesOf(symbols, splits).map((range) => {
    const box = narrowing(symbols, range);
    const apart = normalisedApart(analysis, options.target, box.symbols);
    const key = [...apart.keys()].map(({ id }) => id).join();
    const known = made.get(key) ?? partition(graph, { ...options, apart }, memory);
    made.set(key, known);
    return { box, partition: known };
  });
}
