/** What the blocks of a model build in: the graph, the weights, and the entry's positions and caches. */
import { attention, cacheWrite } from "../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
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
}

/** The tensors that an entry is given. */
export interface EntryInputs {
  /** i64 [batch, seq] */
  readonly ids: Node;
  /** Ids that each sequence has in the caches, i32 [batch]; without it there are no caches. */
  readonly lengths?: Node;
  /** 0 where an id is padding, i64 [batch, seq]. */
  readonly mask?: Node;
  /** i64 [batch, seq]; without it, ids are at consecutive positions. */
  readonly positions?: Node;
}

/** Keys and values of the ids of this run: [batch, heads, seq, size]. */
export interface KeysAndValues {
  readonly keys: Node;
  readonly values: Node;
}

/** Rows `offset` further down the table serve sequences of more than `above` ids. */
export interface LongRows {
  readonly above: number;
  readonly offset: number;
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

  constructor(model: ModelScope, inputs: EntryInputs) {
    [this.batch, this.seq] = inputs.ids.shape as [Expr, Expr];
    this.tokens = e.mul(this.batch, this.seq);
    this.g = model.g;
    this.weights = model.weights;
    this.dtype = model.dtype;
    this.model = model;
    this.inputs = inputs;
  }

  /** The rows of `table` [positions, n] at the positions of this run: [1 or batch, seq, n]. */
  rows(table: Node, long?: LongRows): Node {
    const { g, seq } = this;
    const places = this.#positions();
    if (places !== null) {
      if (long === undefined) return gather(g, table, places.positions);
      const isLong = map(g, primitive("lt"), [dim(g, long.above - 1), places.last]);
      const further = map(g, primitive("add"), [places.positions, dim(g, long.offset)]);
      return gather(g, table, map(g, primitive("select"), [isLong, further, places.positions]));
    }
    const isLong = long === undefined ? e.no : e.lt(e.int(long.above), seq);
    const start = e.select(isLong, e.int(long?.offset ?? 0), e.zero);
    // A range of the table: an index map, no gather.
    const range = slice(g, table, { axis: 0, start, end: e.add(start, seq) });
    return reshape(g, range, [1, seq, table.shape[1]!]);
  }

  /** Positions of the run's ids and of the last, i64 [batch, seq]; null where they count from 0. */
  #positions(): { readonly positions: Node; readonly last: Node } | null {
    const { g, batch, seq } = this;
    const { lengths, positions } = this.inputs;
    if (lengths === undefined && positions === undefined) return null;
    if (lengths === undefined) {
      const last = reduce(g, "max", positions!, [0, 1]);
      return { positions: positions!, last: broadcastTo(g, last, [batch, seq]) };
    }
    const starts = reshape(g, cast(g, lengths, "i64"), [batch, 1]);
    const before = broadcastTo(g, starts, [batch, seq]);
    const after = (steps: Node): Node => map(g, primitive("add"), [before, steps]);
    return {
      positions: after(iota(g, [batch, seq], 1)),
      last: after(dim(g, e.sub(seq, e.one))),
    };
  }

  /** Causal attention of the run's queries [batch, heads, seq, size] over all that came before. */
  attend(layer: number, queries: Node, { keys, values }: KeysAndValues, scale: number): Node {
    const { g } = this;
    const { lengths, mask } = this.inputs;
    if (lengths !== undefined) {
      const length = e.cast(e.load("input3", sequence, "i32"), "i64");
      const visible = e.le(key, e.add(length, query));
      const [k, v] = [this.#cached(layer, "key", keys), this.#cached(layer, "value", values)];
      return attention(g, queries, k, v, {
        scale,
        score: e.select(visible, score, masked),
        loads: [lengths],
      });
    }
    const causal = e.le(key, query);
    if (mask === undefined)
      return attention(g, queries, keys, values, { scale, score: e.select(causal, score, masked) });
    const there = e.load("input3", e.add(e.mul(sequence, this.seq), key), "i64");
    const visible = e.and(causal, e.ne(there, e.zero));
    return attention(g, queries, keys, values, {
      scale,
      score: e.select(visible, score, masked),
      loads: [mask],
    });
  }

  /** A cache after this run: the sequences of the batch, the whole capacity. */
  #cached(layer: number, kind: string, value: Node): Node {
    const { g, model } = this;
    const name = `cache.${layer}.${kind}`;
    const [, heads, , size] = value.shape;
    const room = [model.sequences, heads!, model.capacity, size!];
    const initial = state(g, name, this.dtype, room);
    const final = cacheWrite(g, initial, value, cast(g, this.inputs.lengths!, "i64"));
    this.states.push({ name, initial, final });
    return slice(g, final, { axis: 0, start: 0, end: this.batch });
  }
}
