/**
 * Attention over a latent, written down in many ways: absorbed where it pays, and only where keys and
 * values are products of the latent and nothing else. Values are those of the graph as it was.
 */
import { describe, expect, it } from "vitest";
import { attention, matmul } from "../ir/build-anchor.js";
import {
  broadcastTo,
  concat,
  input,
  literal,
  map,
  normalize,
  reshape,
  slice,
  split,
  transpose,
} from "../ir/build.js";
import { evaluateGraph } from "../ir/evaluate.js";
import { GraphBuilder, isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { tensor, type TensorValue } from "../ir/tensor.js";
import { constValue, mul, param, sym } from "../scalar/build.js";
import { isOp, type Expr } from "../scalar/expr.js";
import { primitive } from "../scalar/primitives.js";
import { builtin } from "../scalar/table.js";
import { absorbedCost, expandedCost, type AbsorbedSizes } from "./absorb-cost.js";
import { runPasses } from "./index.js";

const absorb = "attention(q, c·K, c·V)";
const bytes = (): null => null;

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queryHeads: number;
  /** Elements of a head's keys that are products, that all heads share, and of its values. */
  readonly still: number;
  readonly shared: number;
  readonly value: number;
  readonly rank: number;
  readonly queries: number;
  /** Most positions. */
  readonly positions: number;
}

const usual: Sizes = {
  batch: 2,
  heads: 4,
  queryHeads: 4,
  still: 8,
  shared: 4,
  value: 6,
  rank: 16,
  queries: 3,
  positions: 64,
};

const range = (name: string, max: number): Expr =>
  sym({ name, space: "host", min: 1, max, divisor: 1 });

/** Seeded numbers in [-1, 1). */
function noise(seed: number, count: number): number[] {
  let state = (seed * 2654435761) >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}

class Sketch {
  readonly g = new GraphBuilder();
  readonly inputs: Node<"input">[] = [];
  readonly batch: Expr;
  readonly positions: Expr;
  #seed = 1;

  constructor(readonly sizes: Sizes) {
    this.batch = range("rows", sizes.batch);
    this.positions = range("past", sizes.positions);
  }

  input(name: string, shape: readonly (Expr | number)[]): Node {
    const node = input(this.g, name, "f32", shape);
    this.inputs.push(node);
    return node;
  }

  weight(...shape: number[]): Node {
    const values = noise(
      this.#seed++,
      shape.reduce((a, b) => a * b, 1),
    );
    return literal(this.g, "f32", shape, values);
  }

  /** [batch, positions, rank] */
  latent(name = "short", rank = this.sizes.rank): Node {
    return this.input(name, [this.batch, this.positions, rank]);
  }

  queries(): Node {
    const { queryHeads, queries, still, shared } = this.sizes;
    return this.input("asked", [this.batch, queryHeads, queries, still + shared]);
  }

  /** [batch, positions, heads · width] as [batch, heads, positions, width] */
  byHeads(x: Node): Node {
    const { heads } = this.sizes;
    const width = constValue(x.shape[2]!)! / heads;
    const apart = reshape(this.g, x, [this.batch, this.positions, heads, width]);
    return transpose(this.g, apart, [0, 2, 1, 3]);
  }

  /** A row for each position that all heads share. */
  sharedKeys(): Node {
    const { heads, shared } = this.sizes;
    const row = this.input("turned", [this.batch, 1, this.positions, shared]);
    return broadcastTo(this.g, row, [this.batch, heads, this.positions, shared]);
  }

  keys(still: Node, sharedFirst = false): Node {
    if (this.sizes.shared === 0) return still;
    const parts = sharedFirst ? [this.sharedKeys(), still] : [still, this.sharedKeys()];
    return concat(this.g, parts, 3);
  }

  attend(k: Node, v: Node): Node {
    const options = { scale: 0.3, score: param("score", "f32") };
    return attention(this.g, this.queries(), k, v, options);
  }

  add(a: Node, b: Node): Node {
    return map(this.g, primitive("add"), [a, broadcastTo(this.g, b, a.shape)]);
  }
}

type Body = (s: Sketch) => Node;
/** Products [batch, positions, heads · still] and [batch, positions, heads · value] as attention's operands. */
const apart =
  (make: (s: Sketch, c: Node, outputs: number) => Node): Body =>
  (s) => {
    const { heads, still, value } = s.sizes;
    const c = s.latent();
    const [k, v] = [make(s, c, heads * still), make(s, c, heads * value)];
    return s.attend(s.keys(s.byHeads(k)), s.byHeads(v));
  };

const forms: Readonly<Record<string, Body>> = {
  "one weight for keys and values": (s) => {
    const { heads, still, value, rank } = s.sizes;
    const both = s.byHeads(matmul(s.g, s.latent(), s.weight(rank, heads * (still + value))));
    const [k, v] = split(s.g, both, 3, [still, value]) as [Node, Node];
    return s.attend(s.keys(k), v);
  },
  "values before keys, the shared part first": (s) => {
    const { heads, still, value, rank } = s.sizes;
    const both = s.byHeads(matmul(s.g, s.latent(), s.weight(rank, heads * (still + value))));
    const [v, k] = split(s.g, both, 3, [value, still]) as [Node, Node];
    return s.attend(s.keys(k, true), v);
  },
  "a weight each": apart((s, c, outputs) => matmul(s.g, c, s.weight(s.sizes.rank, outputs))),
  "weights stored transposed": apart((s, c, outputs) =>
    matmul(s.g, c, transpose(s.g, s.weight(outputs, s.sizes.rank), [1, 0])),
  ),
  "weight times latent, and turned": apart((s, c, outputs) => {
    const turned = transpose(s.g, c, [0, 2, 1]);
    const product = matmul(s.g, s.weight(outputs, s.sizes.rank), turned);
    return transpose(s.g, product, [0, 2, 1]);
  }),
  "rows of all sequences in one product": apart((s, c, outputs) => {
    const flat = reshape(s.g, c, [mul(s.batch, s.positions), s.sizes.rank]);
    const product = matmul(s.g, flat, s.weight(s.sizes.rank, outputs));
    return reshape(s.g, product, [s.batch, s.positions, outputs]);
  }),
  "a matrix for each head": (s) => {
    const { heads, still, value, rank } = s.sizes;
    const c = reshape(s.g, s.latent(), [s.batch, 1, s.positions, rank]);
    const of = (width: number): Node => matmul(s.g, c, s.weight(1, heads, rank, width));
    return s.attend(s.keys(of(still)), of(value));
  },
  "one weight of which both are columns": (s) => {
    const { heads, still, value, rank } = s.sizes;
    const product = matmul(s.g, s.latent(), s.weight(rank, heads * (still + value)));
    const part = (start: number, end: number): Node => slice(s.g, product, { axis: 2, start, end });
    const [k, v] = [part(0, heads * still), part(heads * still, heads * (still + value))];
    return s.attend(s.keys(s.byHeads(k)), s.byHeads(v));
  },
  "keys of one latent, values of another": (s) => {
    const { heads, still, value, rank } = s.sizes;
    const of = (c: Node, width: number): Node =>
      s.byHeads(matmul(s.g, c, s.weight(rank, heads * width)));
    return s.attend(s.keys(of(s.latent("first"), still)), of(s.latent("second"), value));
  },
  "latent and shared part in one row": (s) => {
    const { heads, still, shared, value, rank } = s.sizes;
    const row = s.input("row", [s.batch, 1, s.positions, rank + shared]);
    const [short, turned] = split(s.g, row, 3, [rank, shared]) as [Node, Node];
    const c = reshape(s.g, short, [s.batch, s.positions, rank]);
    const of = (width: number): Node => s.byHeads(matmul(s.g, c, s.weight(rank, heads * width)));
    const repeated = broadcastTo(s.g, turned, [s.batch, heads, s.positions, shared]);
    return s.attend(concat(s.g, [of(still), repeated], 3), of(value));
  },
};

function graphOf(sizes: Sizes, body: Body): Graph {
  const s = new Sketch(sizes);
  const node = body(s);
  const outputs = [{ name: "mixed", node }];
  return { builder: s.g, inputs: s.inputs, outputs, states: [] };
}

const attentions = (graph: Graph): Node<"attention">[] =>
  topological(graph).filter((node): node is Node<"attention"> => isNode(node, "attention"));

/** Heads and depth of the keys that attention reads. */
const keysOf = (graph: Graph): (number | null)[] =>
  attentions(graph).flatMap(({ inputs }) =>
    [1, 3].map((axis) => constValue(inputs[1]!.shape[axis]!)),
  );

function passed(graph: Graph, without: readonly string[] = []): Graph {
  return runPasses(graph, { strict: false, without, bytes });
}

function values(graph: Graph, batch: number, positions: number): TensorValue {
  const size = (dim: Expr): number => {
    if (!isOp(dim, "sym")) return constValue(dim)!;
    return dim.attr.name === "rows" ? batch : positions;
  };
  const given = graph.inputs.map((node, i): [string, TensorValue] => {
    const shape = node.shape.map(size);
    const count = shape.reduce((a, b) => a * b, 1);
    return [node.attrs.name, tensor("f32", shape, noise(91 + i, count))];
  });
  return evaluateGraph(graph, new Map(given)).outputs.get("mixed")!;
}

function expectSame(a: Graph, b: Graph): void {
  for (const [batch, positions] of [
    [1, 1],
    [2, 9],
  ] as const) {
    const [x, y] = [values(a, batch, positions), values(b, batch, positions)];
    expect(x.shape).toEqual(y.shape);
    const [left, right] = [x, y].map(({ data }) =>
      Array.from<number | bigint, number>(data, Number),
    );
    left!.forEach((value, i) => expect(value).toBeCloseTo(right![i]!, 9));
  }
}

describe.each(Object.entries(forms))("%s", (_, body) => {
  it.each([
    ["the usual sizes", usual],
    ["other sizes", { ...usual, heads: 3, queryHeads: 3, still: 5, shared: 2, value: 7, rank: 11 }],
    ["heads that share keys", { ...usual, queryHeads: 8 }],
  ])("is absorbed, %s", (__, sizes) => {
    const graph = graphOf(sizes, body);
    const after = passed(graph);
    expect(keysOf(passed(graph, [absorb]))).toEqual([sizes.heads, sizes.still + sizes.shared]);
    expect(keysOf(after)).toEqual([1, sizes.rank + sizes.shared]);
    expectSame(after, graph);
  });
});

describe("keys without a shared part", () => {
  it("are absorbed", () => {
    const sizes = { ...usual, shared: 0 };
    const graph = graphOf(sizes, forms["a weight each"]!);
    expect(keysOf(passed(graph))).toEqual([1, sizes.rank]);
    expectSame(passed(graph), graph);
  });
});

const biased =
  (which: "keys" | "values"): Body =>
  (s) => {
    const { heads, still, value, rank } = s.sizes;
    const c = s.latent();
    const of = (width: number, bias: boolean): Node => {
      const product = matmul(s.g, c, s.weight(rank, heads * width));
      return s.byHeads(bias ? s.add(product, s.weight(1, 1, heads * width)) : product);
    };
    return s.attend(s.keys(of(still, which === "keys")), of(value, which === "values"));
  };

const nearMisses: Readonly<Record<string, readonly [Sizes, Body]>> = {
  "one head": [{ ...usual, heads: 1, queryHeads: 1 }, forms["a weight each"]!],
  "a function between the latent and the heads": [
    usual,
    apart((s, c, outputs) =>
      map(s.g, builtin("silu"), [matmul(s.g, c, s.weight(s.sizes.rank, outputs))]),
    ),
  ],
  "a norm of each head's keys": [
    usual,
    (s) => {
      const { heads, still, value, rank } = s.sizes;
      const c = s.latent();
      const of = (width: number): Node => s.byHeads(matmul(s.g, c, s.weight(rank, heads * width)));
      return s.attend(s.keys(normalize(s.g, of(still), "rms", 1e-6)), of(value));
    },
  ],
  "a bias on the keys": [usual, biased("keys")],
  "a bias on the values": [usual, biased("values")],
  "a weight that is given with the run": [
    usual,
    (s) => {
      const { heads, still, value, rank } = s.sizes;
      const c = s.latent();
      const given = s.input("given", [rank, heads * still]);
      const v = matmul(s.g, c, s.weight(rank, heads * value));
      return s.attend(s.keys(s.byHeads(matmul(s.g, c, given))), s.byHeads(v));
    },
  ],
  "two latents, and more queries than pay": [
    { ...usual, rank: 48, queries: 16 },
    forms["keys of one latent, values of another"]!,
  ],
  "many queries for few positions": [
    { ...usual, queries: 512, positions: 16, rank: 64 },
    forms["a weight each"]!,
  ],
  "latents wider than all heads together": [
    { ...usual, rank: 96, queries: 16 },
    forms["a weight each"]!,
  ],
};

describe("what is near, and is not absorbed", () => {
  it.each(Object.entries(nearMisses))("%s", (_, [sizes, body]) => {
    const graph = graphOf(sizes, body);
    const after = passed(graph);
    expect(keysOf(after)).toEqual([sizes.heads, sizes.still + sizes.shared]);
    if (sizes.queries <= 16) expectSame(after, graph);
  });

  it("keys that are an output too", () => {
    const s = new Sketch(usual);
    const { heads, still, value, rank } = usual;
    const c = s.latent();
    const of = (width: number): Node => s.byHeads(matmul(s.g, c, s.weight(rank, heads * width)));
    const [k, v] = [s.keys(of(still)), of(value)];
    const outputs = [
      { name: "mixed", node: s.attend(k, v) },
      { name: "keys", node: k },
      { name: "values", node: v },
    ];
    const graph = { builder: s.g, inputs: s.inputs, outputs, states: [] };
    expect(keysOf(passed(graph))).toEqual([heads, still + usual.shared]);
  });

  it("anything where every rounding is kept", () => {
    const graph = graphOf(usual, forms["a weight each"]!);
    const strict = runPasses(graph, { strict: true, bytes });
    expect(keysOf(strict)).toEqual([usual.heads, usual.still + usual.shared]);
  });
});

describe("what is counted", () => {
  const sizes = (queries: number, positions: number): AbsorbedSizes => ({
    shape: {
      batch: range("rows", 1),
      queries: range("q", queries),
      positions: range("t", positions),
    },
    queryHeads: 128,
    keyHeads: 128,
    dtype: "bf16",
    keys: [{ rank: 512, width: 128 }],
    shared: 64,
    values: { rank: 512, width: 128 },
    oneMemory: true,
  });

  it("by hand, for one query of DeepSeek-V3 over 4,096 positions", () => {
    const [expanded, absorbed] = [expandedCost(sizes(1, 4096)), absorbedCost(sizes(1, 4096))];
    const product = 2 * 128 * 512 * 128;
    expect(expanded.operations).toBe(4096 * 2 * product + 2 * 128 * 4096 * (192 + 128));
    expect(absorbed.operations).toBe(2 * product + 2 * 128 * 4096 * (576 + 512));
    expect(expanded.bytes).toBe(2 * 4096 * (2 * 256 * 128 + 576));
    expect(absorbed.bytes).toBe(2 * (4096 * 576 + 2 * 128 * 1088));
  });

  it("the weights of the form are made of the model's own, and no longer multiply positions", () => {
    const after = passed(graphOf(usual, forms["a weight each"]!));
    const largest = topological(after)
      .filter((node) => isNode(node, "matmul"))
      .map(({ shape }) => shape.map((dim) => constValue(dim)));
    // Products of queries and of results: no position is in their shapes.
    expect(largest).toEqual([
      [null, 4, 3, 16],
      [null, 4, 3, 6],
    ]);
  });
});
