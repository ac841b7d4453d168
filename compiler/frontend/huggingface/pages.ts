/**
 * Caches in pages: sequences of very different lengths share one pool of rows for each cache, and a
 * table that the caller owns says which page holds which of a sequence's positions.
 */
import { FarrierError } from "../../errors.js";
import {
  broadcastTo,
  cast,
  dim,
  gather,
  gatherNd,
  input,
  iota,
  map,
  reshape,
  slice,
  state,
  transpose,
} from "../../ir/build.js";
import { pagedWrite, type PagedRows } from "../../ir/build-anchor.js";
import type { DType } from "../../ir/dtype.js";
import type { GraphBuilder, GraphState, Node } from "../../ir/graph.js";
import { int } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { primitive } from "../../scalar/primitives.js";

/** Where the keys and values of earlier ids are. */
export type CacheLayout =
  /** Room for the profile's longest sequence, as often as its largest batch has sequences. */
  | { readonly kind: "contiguous" }
  | {
      readonly kind: "paged";
      /** Positions of a page; 64 by default. */
      readonly pageSize?: number;
      /** Positions of all sequences together, in whole pages; by default as many as contiguous caches have. */
      readonly tokens?: number;
    };

/** The pages of each cache of a model: all of them are shared out alike. */
export interface PagePool {
  readonly pages: number;
  /** Positions of a page. */
  readonly rows: number;
  /** Positions of a sequence at most, and the pages that these take: columns of the table. */
  readonly capacity: number;
  readonly perSequence: number;
}

/** A page of a head is 16 KiB at 128 bf16 elements: whole tiles of keys, read as one run. */
const defaultPageSize = 64;

const mostPositions = 2 ** 31 - 1;

/**
 * @param sequences the profile's largest batch, of `capacity` positions at most
 * @returns null for contiguous caches
 * @throws FarrierError E_OPTION
 */
export function pagePool(
  layout: CacheLayout,
  { sequences, capacity }: { readonly sequences: number; readonly capacity: number },
): PagePool | null {
  if (layout.kind === "contiguous") return null;
  const { pageSize: rows = defaultPageSize } = layout;
  const perSequence = Math.ceil(capacity / within("--page-size", rows));
  const { tokens = sequences * perSequence * rows } = layout;
  const pages = Math.ceil(within("--cache-tokens", tokens) / rows);
  within("--cache-tokens", pages * rows);
  return { pages, rows, capacity, perSequence };
}

function within(option: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1 && value <= mostPositions) return value;
  const what = `${value} positions, not an integer from 1 to ${mostPositions}`;
  throw new FarrierError("E_OPTION", what, { where: option });
}

/** The caller's table, i32 [batch, pages of a sequence]: page numbers, negative where there is none. */
export const blockTable = (g: GraphBuilder, batch: Expr, pool: PagePool): Node<"input"> =>
  input(g, "block_table", "i32", [batch, int(pool.perSequence)]);

/** What an entry knows of its sequences. */
export interface PagedEntry {
  readonly table: Node;
  /** Ids that each sequence has in the caches, i32 [batch]. */
  readonly lengths: Node;
  /** Ids of each sequence in this run, i32 [batch]: 0 for a row that is no sequence. */
  readonly counts: Node;
  readonly batch: Expr;
  readonly seq: Expr;
}

/** Which rows of its caches an entry reads and writes: the same in every layer. */
export class Pages {
  readonly #g: GraphBuilder;
  readonly #pool: PagePool;
  readonly #entry: PagedEntry;
  readonly #written: PagedRows;
  /** Page of each run of positions, i64 [batch, pages of a sequence]. */
  readonly #pages: Node;

  constructor(g: GraphBuilder, pool: PagePool, entry: PagedEntry) {
    this.#g = g;
    this.#pool = pool;
    this.#entry = entry;
    const given = this.#of("min", cast(g, entry.counts, "i64"), dim(g, entry.seq));
    const room = this.#of("sub", dim(g, pool.capacity), cast(g, entry.lengths, "i64"));
    const count = this.#of("min", given, room);
    this.#pages = this.#clamped(this.#checked(count), pool.pages);
    this.#written = { slots: this.#slots(), count };
  }

  /**
   * `value` [batch, heads, seq, size] written to the pool of a cache, and the cache after it: rows of
   * each position that there is room for, [batch, heads, capacity, size].
   */
  update(
    name: string,
    dtype: DType,
    value: Node,
  ): { readonly state: GraphState; readonly all: Node } {
    const g = this.#g;
    const { pages, rows } = this.#pool;
    const [, heads, , size] = value.shape as [Expr, Expr, Expr, Expr];
    // The rows of a page and head are one run of memory.
    const initial = state(g, name, dtype, [pages, heads, rows, size]);
    const final = pagedWrite(g, initial, value, this.#written);
    const each = reshape(g, transpose(g, final, [0, 2, 1, 3]), [pages * rows, heads, size]);
    const found = gather(g, each, this.#places());
    return { state: { name, initial, final }, all: transpose(g, found, [0, 2, 1, 3]) };
  }

  #of(name: Parameters<typeof primitive>[0], ...inputs: Node[]): Node {
    return map(this.#g, primitive(name), inputs);
  }

  #clamped(x: Node, extent: number): Node {
    const g = this.#g;
    return this.#of("max", this.#of("min", x, dim(g, extent - 1)), dim(g, 0));
  }

  #each(row: Node, shape: readonly [Expr, Expr]): Node {
    return broadcastTo(this.#g, reshape(this.#g, row, [shape[0], 1]), shape);
  }

  /**
   * The table as i32, looked up once so that an entry outside the pool is found (E_RT_INDEX) before
   * any layer reads through it. Entries beyond a sequence's last id are not looked at.
   */
  #checked(count: Node): Node {
    const g = this.#g;
    const { table, lengths, batch } = this.#entry;
    const { pages, rows, perSequence } = this.#pool;
    const shape = [batch, int(perSequence)] as const;
    const end = this.#of("add", cast(g, lengths, "i64"), count);
    const first = this.#of("mul", iota(g, shape, 1), dim(g, rows));
    const used = this.#of("lt", first, this.#each(end, shape));
    const named = this.#of("select", used, cast(g, table, "i64"), dim(g, 0));
    const checked = gather(g, cast(g, iota(g, [pages]), "i32"), named);
    return cast(g, checked, "i64");
  }

  /** Rows of the pool that this run's ids have, i64 [batch, seq]. */
  #slots(): Node {
    const g = this.#g;
    const { lengths, batch, seq } = this.#entry;
    const { rows, perSequence } = this.#pool;
    const shape = [batch, seq] as const;
    const before = this.#each(cast(g, lengths, "i64"), shape);
    const place = this.#clamped(this.#of("add", before, iota(g, shape, 1)), perSequence * rows);
    const index = this.#of("div", place, dim(g, rows));
    const page = gatherNd(g, this.#pages, reshape(g, index, [batch, seq, 1]), 1);
    const row = this.#of("mod", place, dim(g, rows));
    return this.#of("add", this.#of("mul", page, dim(g, rows)), row);
  }

  /** Rows of the pool that all positions of a sequence have, i64 [batch, capacity]. */
  #places(): Node {
    const g = this.#g;
    const { batch } = this.#entry;
    const { rows, capacity, perSequence } = this.#pool;
    const shape = [batch, perSequence, rows] as const;
    const first = this.#of("mul", this.#pages, dim(g, rows));
    const starts = broadcastTo(g, reshape(g, first, [batch, perSequence, 1]), shape);
    const all = this.#of("add", starts, iota(g, shape, 2));
    const flat = reshape(g, all, [batch, perSequence * rows]);
    return slice(g, flat, { axis: 1, start: 0, end: capacity });
  }
}
