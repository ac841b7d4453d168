/** What the blocks of a model build in: the graph, the weights, and the entry's positions and caches. */
import { attention, cacheWrite } from "../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  cumsum,
  dim,
  gather,
  iota,
  map,
  reduce,
  reshape,
  slice,
  state,
} from "../../ir/build.js";
import type { DType } from "../../ir/dtype.js";
import type { GraphBuilder, GraphState, Node } from "../../ir/graph.js";
import * as e from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { primitive } from "../../scalar/primitives.js";
import { builtin } from "../../scalar/table.js";
import { Pages, type PagePool } from "./pages.js";
import type { Weights } from "./weights.js";

/** What all entries of a model share. */
export interface ModelScope {
  readonly g: GraphBuilder;
  readonly weights: Weights;
  /** Arithmetic and activations. */
  readonly dtype: DType;
  /** The longest sequence of the profile: rows of position tables, capacity of caches. */
  readonly capacity: number;
  /** The largest batch of the profile. */
  readonly sequences: number;
  /** The pages of each cache; null where caches are contiguous. */
  readonly pool: PagePool | null;
}

/** The tensors that an entry is given. */
export interface EntryInputs {
  /** i64 [batch, seq] */
  readonly ids: Node;
  /** Ids that each sequence has in the caches, i32 [batch]; without it there are no caches. */
  readonly lengths?: Node;
  /** How many of each sequence's ids are there, i32 [batch]; the rest is padding at the end. */
  readonly counts?: Node;
  /** Pages of each sequence, i32 [batch, pages of a sequence]; without it caches are contiguous. */
  readonly table?: Node;
  /** 0 where an id is padding, i64 [batch, seq]. */
  readonly mask?: Node;
  /** i64 [batch, seq]; without it, ids are at consecutive positions. */
  readonly positions?: Node;
  /** Which of several texts an id is of, i64 [batch, seq]; without it all are of the first. */
  readonly types?: Node;
}

/** Keys and values of the ids of this run: [batch, heads, seq, size]. */
export interface KeysAndValues {
  readonly keys: Node;
  readonly values: Node;
}

export interface RowOptions {
  /** The row of position 0. */
  readonly first?: number;
  /** Where a mask and no positions are given: padding has no position of its own. */
  readonly skipsPadding?: boolean;
  readonly long?: LongRows;
}

/** Rows `offset` further down the table serve sequences of more than `above` ids. */
export interface LongRows {
  readonly above: number;
  readonly offset: number;
}

export interface AttendOptions {
  /** Factor on the products of queries and keys. */
  readonly scale: number;
  /** Keys that come after their query are seen too. */
  readonly bothWays?: boolean;
  /** How many keys a query sees, its own among them; all by default. */
  readonly window?: number | null;
  /** Scores stay between minus and plus this, by a tanh. */
  readonly cap?: number | null;
}

const [score, masked] = [e.param("score", "f32"), e.constant(-Infinity, "f32")];
const [sequence, query, key] = ["b", "q", "k"].map((name) => e.param(name, "i64")) as [
  Expr,
  Expr,
  Expr,
];

/** An entry being built. Hidden values are [tokens, features], tokens being batch · seq. */
export class Scope {
  readonly g: GraphBuilder;
  readonly weights: Weights;
  readonly dtype: DType;
  readonly model: ModelScope;
  readonly inputs: EntryInputs;
  readonly batch: Expr;
  readonly seq: Expr;
  readonly tokens: Expr;
  /** The caches, in the order of the layers. */
  readonly states: GraphState[] = [];
  /** Where they are; null where they are contiguous, or where there are none. */
  readonly #pages: Pages | null;

  constructor(model: ModelScope, inputs: EntryInputs) {
    [this.batch, this.seq] = inputs.ids.shape as [Expr, Expr];
    this.tokens = e.mul(this.batch, this.seq);
    this.g = model.g;
    this.weights = model.weights;
    this.dtype = model.dtype;
    this.model = model;
    this.inputs = inputs;
    const { lengths, counts, table } = inputs;
    const paged = model.pool !== null && lengths && counts && table;
    this.#pages = paged
      ? new Pages(model.g, model.pool, { lengths, counts, table, batch: this.batch, seq: this.seq })
      : null;
  }

  /** The rows of `table` [positions, n] at the positions of this run: [1 or batch, seq, n]. */
  rows(table: Node, { first = 0, skipsPadding = false, long }: RowOptions = {}): Node {
    const { g, seq } = this;
    const places = this.#positions(skipsPadding);
    const plus = (x: Node, n: number): Node =>
      n === 0 ? x : map(g, primitive("add"), [x, dim(g, n)]);
    if (places !== null) {
      const at = plus(places.positions, first);
      if (long === undefined) return gather(g, table, at);
      const isLong = map(g, primitive("lt"), [dim(g, long.above - 1), places.last]);
      return gather(g, table, map(g, primitive("select"), [isLong, plus(at, long.offset), at]));
    }
    const isLong = long === undefined ? e.no : e.lt(e.int(long.above), seq);
    const shift = e.select(isLong, e.int(long?.offset ?? 0), e.zero);
    const start = e.add(e.int(first), shift);
    // A range of the table: an index map, no gather.
    const range = slice(g, table, { axis: 0, start, end: e.add(start, seq) });
    return reshape(g, range, [1, seq, table.shape[1]!]);
  }

  /** Positions of the run's ids and of the last, i64 [batch, seq]; null where they count from 0. */
  #positions(skipsPadding: boolean): { readonly positions: Node; readonly last: Node } | null {
    const { g, batch, seq } = this;
    const { lengths, mask, positions } = this.inputs;
    if (lengths !== undefined) {
      const each = (row: Node): Node => broadcastTo(g, reshape(g, row, [batch, 1]), [batch, seq]);
      const before = each(cast(g, lengths, "i64"));
      const after = (steps: Node): Node => map(g, primitive("add"), [before, steps]);
      const [steps, last] = [iota(g, [batch, seq], 1), this.lastStep()];
      if (last === null) return { positions: after(steps), last: after(dim(g, e.sub(seq, e.one))) };
      // Padding has the last position, so that none is beyond the tables.
      const [ends, smaller] = [each(last), primitive("min")];
      return { positions: after(map(g, smaller, [steps, ends])), last: after(ends) };
    }
    const given = positions ?? (skipsPadding && mask !== undefined ? counted(g, mask) : null);
    if (given === null) return null;
    const last = reduce(g, "max", given, [0, 1]);
    return { positions: given, last: broadcastTo(g, last, [batch, seq]) };
  }

  /** Which of its ids is each sequence's last, i64 [batch]; null where it is that of the run. */
  lastStep(): Node | null {
    const { g, seq } = this;
    const { counts } = this.inputs;
    if (counts === undefined || e.isConst(seq, 1)) return null;
    const [smaller, larger] = [primitive("min"), primitive("max")];
    const most = map(g, smaller, [cast(g, counts, "i64"), dim(g, seq)]);
    const less = map(g, primitive("sub"), [most, dim(g, 1)]);
    return map(g, larger, [less, dim(g, 0)]);
  }

  /** Where the id after each sequence's last will be, i64 [batch]. */
  nextPlace(): Node {
    const { g, seq, batch } = this;
    const last = this.lastStep() ?? broadcastTo(g, dim(g, e.sub(seq, e.one)), [batch]);
    const after = map(g, primitive("add"), [last, dim(g, 1)]);
    const { lengths } = this.inputs;
    return lengths === undefined
      ? after
      : map(g, primitive("add"), [after, cast(g, lengths, "i64")]);
  }

  /** Attention of the run's queries [batch, heads, seq, size] over all that came before. */
  attend(
    layer: number,
    queries: Node,
    { keys, values }: KeysAndValues,
    options: AttendOptions,
  ): Node {
    const all = {
      keys: this.cached(layer, "key", keys),
      values: this.cached(layer, "value", values),
    };
    return this.attendAll(queries, all, options);
  }

  /** As `attend`, for keys and values of all ids, those in the caches included. */
  attendAll(queries: Node, { keys, values }: KeysAndValues, options: AttendOptions): Node {
    const { g, inputs } = this;
    const { lengths, mask } = inputs;
    const own = lengths === undefined ? query : e.add(loaded(0, sequence, "i32"), query);
    const visible = [
      ...(options.bothWays === true ? [] : [e.le(key, own)]),
      ...this.#inWindow(own, options.window ?? null),
    ];
    if (lengths !== undefined)
      return attention(g, queries, keys, values, {
        scale: options.scale,
        score: scoreOf(visible, options.cap ?? null),
        loads: [lengths],
      });
    if (mask !== undefined) {
      const place = e.add(e.mul(sequence, this.seq), key);
      visible.push(e.ne(loaded(0, place, "i64"), e.zero));
    }
    return attention(g, queries, keys, values, {
      scale: options.scale,
      score: scoreOf(visible, options.cap ?? null),
      loads: mask === undefined ? [] : [mask],
    });
  }

  /** No condition where no sequence of the profile is longer than the window. */
  #inWindow(own: Expr, window: number | null): Expr[] {
    if (window === null || window >= this.model.capacity) return [];
    return [e.lt(e.sub(own, e.int(window)), key)];
  }

  /**
   * Rows of this run [batch, heads, seq, size] with those before them: where there are caches, one of
   * them after this run, with its whole capacity.
   */
  cached(layer: number, kind: string, value: Node): Node {
    const { g, model, inputs } = this;
    if (inputs.lengths === undefined) return value;
    const name = `cache.${layer}.${kind}`;
    if (this.#pages !== null) {
      const { state: paged, all } = this.#pages.update(name, this.dtype, value);
      this.states.push(paged);
      return all;
    }
    const [, heads, , size] = value.shape;
    const room = [model.sequences, heads!, model.capacity, size!];
    const initial = state(g, name, this.dtype, room);
    const final = cacheWrite(g, initial, value, cast(g, inputs.lengths, "i64"));
    this.states.push({ name, initial, final });
    return slice(g, final, { axis: 0, start: 0, end: this.batch });
  }
}

/** Input `index` of those that a score body loads. */
const loaded = (index: number, place: Expr, dtype: "i32" | "i64"): Expr =>
  e.cast(e.load(`input${3 + index}`, place, dtype), "i64");

function scoreOf(visible: readonly Expr[], cap: number | null): Expr {
  const capped = cap === null ? score : softCapped(score, cap);
  const [first, ...rest] = visible;
  return first === undefined ? capped : e.select(rest.reduce(e.and, first), capped, masked);
}

function softCapped(value: Expr, cap: number): Expr {
  const limit = e.constant(Math.fround(cap), "f32");
  return e.mul(builtin("tanh").apply([e.div(value, limit)]), limit);
}

/** Positions among the ids that are there, from 0; -1 for padding. */
function counted(g: GraphBuilder, mask: Node): Node {
  const upTo = map(g, primitive("mul"), [cumsum(g, mask, 1), mask]);
  return map(g, primitive("sub"), [upTo, dim(g, 1)]);
}
