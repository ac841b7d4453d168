/** What attention over expanded keys and values costs, and over the rows that they are made of. */
import { dtypes, type DType } from "../ir/dtype.js";
import type { Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";

interface LowRank {
  readonly rank: number;
  /** Elements of a head that the product makes. */
  readonly width: number;
}

export interface AbsorbedSizes {
  readonly shape: { readonly batch: Expr; readonly queries: Expr; readonly positions: Expr };
  readonly queryHeads: number;
  readonly keyHeads: number;
  readonly dtype: DType;
  readonly keys: readonly LowRank[];
  /** Elements of a key that are no product. */
  readonly shared: number;
  readonly values: LowRank;
  /** Whether keys and values are made of the same rows. */
  readonly oneMemory: boolean;
}

export interface Cost {
  readonly operations: number;
  readonly bytes: number;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Expansion of every position, then attention by heads. */
export function expandedCost(s: AbsorbedSizes): Cost {
  const { batch, queries, positions, element } = largest(s);
  const [depth, width] = [s.shared + sum(s.keys.map((key) => key.width)), s.values.width];
  const rows = batch * positions;
  const expanding = sum([...s.keys, s.values].map((each) => 2 * each.rank * each.width));
  // Written once and read once; the rows that they are made of are read too.
  const memory = 2 * (depth - s.shared + width) * s.keyHeads + ranksOf(s) + s.shared;
  return {
    operations:
      rows * s.keyHeads * expanding +
      2 * batch * queries * s.queryHeads * positions * (depth + width),
    bytes: element * rows * memory,
  };
}

/** Queries and results times the weights, attention with one head of keys. */
export function absorbedCost(s: AbsorbedSizes): Cost {
  const { batch, queries, positions, element } = largest(s);
  const [depth, width] = [s.shared + sum(s.keys.map((key) => key.rank)), s.values.rank];
  const products = sum([...s.keys, s.values].map((each) => 2 * each.rank * each.width));
  const heads = batch * queries * s.queryHeads;
  return {
    operations: heads * (products + 2 * positions * (depth + width)),
    bytes: element * (batch * positions * (ranksOf(s) + s.shared) + 2 * heads * (depth + width)),
  };
}

/** Elements of the rows at one position. */
function ranksOf({ keys, values, oneMemory }: AbsorbedSizes): number {
  return sum(keys.map((key) => key.rank)) + (oneMemory ? 0 : values.rank);
}

function largest({ shape, dtype }: AbsorbedSizes) {
  const most = (dim: Expr): number => rangeOf(dim).max;
  return {
    batch: most(shape.batch),
    queries: most(shape.queries),
    positions: most(shape.positions),
    element: dtypes[dtype].bits / 8,
  };
}

/** Multiply-adds count as two operations; a byte from memory takes as long as this many. */
const operationsPerByte = 100;

export function absorbing(sizes: AbsorbedSizes): boolean {
  const time = ({ operations, bytes }: Cost): number => operations + operationsPerByte * bytes;
  return time(absorbedCost(sizes)) < time(expandedCost(sizes));
}
