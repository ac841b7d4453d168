import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FarrierError } from "../errors.js";
import * as b from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { dtypes, type DType } from "../ir/dtype.js";
import { castsThrough, holds } from "../ir/exact-cast.js";
import { evaluateGraph } from "../ir/evaluate.js";
import { GraphBuilder, type Graph, type Node } from "../ir/graph.js";
import { literalBytes } from "../ir/literal.js";
import { printGraph } from "../ir/print.js";
import { shapeOf } from "../ir/shape.js";
import { verify } from "../ir/verify.js";
import { rewriteGraph, type RewriteResult } from "../rewrite/engine.js";
import { add, int, sym } from "../scalar/build.js";
import { castValue } from "../scalar/round.js";
import { scalarFunction } from "../scalar/table.js";
import { graphOf, random, randomInputs } from "../../test/graphs.js";
import { canonicalRules } from "./canonicalise.js";
import type { ConstantBytes } from "./canonical/fold.js";

const f = scalarFunction;
const seq = sym({ name: "seq", space: "host", min: 1, max: 1024, divisor: 1 });
const literalsOnly: ConstantBytes = (node, limit) => {
  const bytes = literalBytes(node);
  return bytes !== null && bytes.length <= limit ? bytes : null;
};

const canonical = (graph: Graph, strict = true, bytes = literalsOnly): RewriteResult =>
  rewriteGraph(graph, canonicalRules(strict, bytes));

/** Outputs before and after, on random inputs: every value must be the same, the sign of zero aside. */
function expectEqual(before: Graph, after: Graph, seeds = 3): void {
  verify(after, "canonicalise");
  const symbols = new Map([["seq", 5]]);
  for (let seed = 1; seed <= seeds; seed++) {
    const inputs = randomInputs(before, { seq: 5 }, seed);
    const [want, got] = [before, after].map((graph) => {
      const { outputs } = evaluateGraph(graph, inputs, { mode: "strict", symbols });
      return [...outputs].map(([name, { data }]) => [
        name,
        Array.from<number | bigint, number>(data, (v) => Number(v) + 0),
      ]);
    });
    expect(got).toEqual(want);
  }
}

type Build = (g: GraphBuilder) => Node;

const x = (g: GraphBuilder, shape: (number | typeof seq)[] = [2, 3], dtype: DType = "f32"): Node =>
  b.input(g, "x", dtype, shape);
const scalarOf = (g: GraphBuilder, value: number, dtype: DType = "f32"): Node =>
  b.constantScalar(g, dtype, value);
/** Nodes as passes may leave them, which the constructors would not make. */
const raw = {
  cast: (g: GraphBuilder, x: Node) => g.node("cast", [x], null, x.dtype, x.shape),
  reshape: (g: GraphBuilder, x: Node) => g.node("reshape", [x], null, x.dtype, x.shape),
  broadcast: (g: GraphBuilder, x: Node) => g.node("broadcast", [x], null, x.dtype, x.shape),
  concat: (g: GraphBuilder, x: Node) => g.node("concat", [x], { axis: 0 }, x.dtype, x.shape),
  transpose: (g: GraphBuilder, x: Node) =>
    g.node("transpose", [x], { perm: x.shape.map((_, i) => i) }, x.dtype, x.shape),
  slice: (g: GraphBuilder, x: Node) => {
    const starts = x.shape.map(() => int(0));
    return g.node("slice", [x], { starts, steps: x.shape.map(() => 1) }, x.dtype, x.shape);
  },
};

const rules: [string, Build][] = [
  ["x * 1 => x", (g) => b.map(g, f("mul"), [scalarOf(g, 1), x(g)])],
  ["x / 1 => x", (g) => b.map(g, f("div"), [x(g), scalarOf(g, 1)])],
  ["x + 0 => x", (g) => b.map(g, f("add"), [x(g, [4], "i32"), scalarOf(g, 0, "i32")])],
  ["x - 0 => x", (g) => b.map(g, f("sub"), [x(g), b.literal(g, "f32", [1, 1], [0])])],
  ["pow(x, 1) => x", (g) => b.map(g, f("pow"), [x(g), scalarOf(g, 1)])],
  ["-(-x) => x", (g) => b.map(g, f("neg"), [b.map(g, f("neg"), [x(g)])])],
  ["!!x => x", (g) => b.map(g, f("not"), [b.map(g, f("not"), [x(g, [4], "bool")])])],
  ["identity(x) => x", (g) => b.map(g, f("identity"), [x(g)])],
  ["x & true => x", (g) => b.map(g, f("and"), [x(g, [4], "bool"), scalarOf(g, 1, "bool")])],
  ["x | false => x", (g) => b.map(g, f("or"), [x(g, [4], "bool"), scalarOf(g, 0, "bool")])],
  [
    "true ? x : y => x",
    (g) => b.map(g, f("select"), [scalarOf(g, 1, "bool"), x(g), scalarOf(g, 2)]),
  ],
  [
    "false ? y : x => x",
    (g) => b.map(g, f("select"), [scalarOf(g, 0, "bool"), scalarOf(g, 2), x(g)]),
  ],
  ["c ? x : x => x", (g) => b.map(g, f("select"), [b.input(g, "c", "bool", [2, 3]), x(g), x(g)])],
  ["cast(x, its dtype) => x", (g) => raw.cast(g, x(g))],
  ["cast(cast(x, wider)) => cast(x)", (g) => b.cast(g, b.cast(g, x(g, [4], "f16"), "f32"), "bf16")],
  [
    "cast(broadcast(x)) => broadcast(cast(x))",
    (g) => b.cast(g, b.broadcastTo(g, x(g, [3]), [4, 3]), "f16"),
  ],
  [
    "f(x, broadcast(s)) => f(x, s)",
    (g) => b.map(g, f("add"), [x(g), b.broadcastTo(g, b.input(g, "s", "f32", [1, 1]), [2, 3])]),
  ],
  [
    "f(x, broadcast(s)) => f(x, s)",
    (g) => b.map(g, f("exp"), [b.broadcastTo(g, b.input(g, "s", "f32", []), [2, 3])]),
  ],
  ["transpose(x, 0 1 2 …) => x", (g) => raw.transpose(g, x(g))],
  [
    "transpose(transpose(x)) => transpose(x)",
    (g) => b.transpose(g, b.transpose(g, x(g, [2, 3, 4]), [1, 2, 0]), [0, 2, 1]),
  ],
  ["reshape(x, its shape) => x", (g) => raw.reshape(g, x(g))],
  [
    "reshape(reshape(x)) => reshape(x)",
    (g) => b.reshape(g, b.reshape(g, x(g, [seq, 6]), [-1, 2]), [seq, 3, 2]),
  ],
  ["broadcast(x, its shape) => x", (g) => raw.broadcast(g, x(g))],
  [
    "broadcast(broadcast(x)) => broadcast(x)",
    (g) => b.broadcastTo(g, b.broadcastTo(g, x(g, [1, 3]), [2, 3]), [4, 2, 3]),
  ],
  [
    "broadcast(reshape(x, 1 …)) => broadcast(x)",
    (g) => b.broadcastTo(g, b.unsqueeze(g, x(g, [3]), [0, 1]), [2, seq, 3]),
  ],
  ["x[0 .. n] => x", (g) => raw.slice(g, x(g))],
  [
    "slice(slice(x)) => slice(x)",
    (g) => {
      const inner = b.slice(g, x(g, [20, 3]), { axis: 0, start: 18, end: 2, step: -3 });
      return b.slice(g, b.slice(g, inner, { axis: 0, start: 1, end: 5, step: 2 }), {
        axis: 1,
        start: 1,
        end: 3,
      });
    },
  ],
  ["concat(x) => x", (g) => raw.concat(g, x(g))],
  [
    "concat(x, empty) => concat(x)",
    (g) =>
      b.concat(g, [x(g), b.input(g, "none", "f32", [0, 3]), b.input(g, "y", "f32", [1, 3])], 0),
  ],
  [
    "concat(concat(x, y), z) => concat(x, y, z)",
    (g) => b.concat(g, [b.concat(g, [x(g), b.input(g, "y", "f32", [1, 3])], 0), x(g)], 0),
  ],
  ["iota over an axis of 1 => 0", (g) => b.iota(g, [3, 1], 1)],
  ["dim(n), a number => n", (g) => b.dim(g, 7)],
  [
    "matmul(a, b), k = 1 => a * b",
    (g) => matmul(g, x(g, [2, 4, 1]), b.input(g, "w", "f32", [1, 3])),
  ],
  ["reduce(x) over axes of 1 => x", (g) => b.reduce(g, "mean", x(g, [2, 1, 3]), [1])],
  [
    "gather(x, i, i + s, …) => x[i .. by s]",
    (g) => b.gather(g, x(g, [4, 3]), scalarOf(g, 2, "i64")),
  ],
  [
    "gather(x, i, i + s, …) => x[i .. by s]",
    (g) => b.gather(g, x(g, [4, 7]), b.literal(g, "i64", [1, 3], [5, 3, 1]), 1),
  ],
  [
    "[c, c, …] => broadcast(c)",
    (g) => b.map(g, f("add"), [x(g), b.literal(g, "f32", [2, 3], Array(6).fill(2))]),
  ],
  [
    "f(constants) => constant",
    (g) => b.map(g, f("mul"), [x(g), b.map(g, f("sqrt"), [b.literal(g, "f32", [3], [1, 2, 3])])]),
  ],
  [
    "f(constants) => constant",
    (g) =>
      b.reduce(g, "sum", b.transpose(g, b.literal(g, "i64", [2, 2], [1, 2, 3, 4]), [1, 0]), [0]),
  ],
];

describe("rules", () => {
  it.each(rules)("%s", (name, build) => {
    const g = new GraphBuilder();
    const before = graphOf(g, { out: build(g) });
    const { graph, fired } = canonical(before);
    expect([...fired.keys()]).toContain(name);
    expect(`${printGraph(before)}=>\n${printGraph(graph)}`).toMatchSnapshot();
    expectEqual(before, graph);
  });

  it("each rule has a case", () => {
    const names = canonicalRules(true, literalsOnly).map((rule) => rule.name);
    expect(new Set(rules.map(([name]) => name))).toEqual(new Set(names));
    expect(new Set(names).size).toBe(names.length);
  });
});

describe("conditions", () => {
  const square = (g: GraphBuilder, n: number): Node =>
    b.literal(
      g,
      "u8",
      [n, n],
      Uint8Array.from({ length: n * n }, (_, i) => i),
    );
  const unchanged: [string, Build][] = [
    ["x + 0 where x may be -0", (g) => b.map(g, f("add"), [x(g), scalarOf(g, 0)])],
    ["0 - x", (g) => b.map(g, f("sub"), [scalarOf(g, 0), x(g)])],
    ["x - -0", (g) => b.map(g, f("sub"), [x(g), scalarOf(g, -0)])],
    ["x * -1", (g) => b.map(g, f("mul"), [x(g), scalarOf(g, -1)])],
    ["1 / x", (g) => b.map(g, f("div"), [scalarOf(g, 1), x(g)])],
    ["pow(1, x)", (g) => b.map(g, f("pow"), [scalarOf(g, 1), x(g)])],
    ["x & 1 of integers", (g) => b.map(g, f("and"), [x(g, [4], "i32"), scalarOf(g, 1, "i32")])],
    ["a cast that rounds", (g) => b.cast(g, b.cast(g, x(g), "bf16"), "f32")],
    ["a cast that saturates", (g) => b.cast(g, b.cast(g, x(g, [4], "i32"), "f64"), "i8")],
    ["half of an axis", (g) => b.slice(g, x(g), { axis: 1, start: 0, end: 2 })],
    ["an axis backwards", (g) => b.slice(g, x(g), { axis: 1, start: 2, end: -1, step: -1 })],
    [
      "concat along another axis",
      (g) => b.concat(g, [b.concat(g, [x(g), x(g)], 0), b.input(g, "y", "f32", [4, 2])], 1),
    ],
    [
      "reshape that moves ones inside",
      (g) => b.broadcastTo(g, b.reshape(g, x(g), [2, 1, 3]), [2, 4, 3]),
    ],
    [
      "indices without a step",
      (g) => b.gather(g, x(g, [4, 3]), b.literal(g, "i64", [3], [0, 1, 3])),
    ],
    [
      "an index that a symbol may exclude",
      (g) => b.gather(g, x(g, [seq, 3]), scalarOf(g, 2, "i64")),
    ],
    [
      "repeated constants that would grow",
      (g) => b.map(g, f("exp"), [b.broadcastTo(g, b.literal(g, "f32", [2], [1, 2]), [100, 2])]),
    ],
    [
      "constants repeated by a symbol",
      (g) => b.map(g, f("exp"), [b.broadcastTo(g, b.literal(g, "f32", [2], [1, 2]), [seq, 2])]),
    ],
    ["a product that would take long", (g) => matmul(g, square(g, 1024), square(g, 1024))],
    ["positions", (g) => b.map(g, f("le"), [b.iota(g, [4, 4], 1), b.iota(g, [4, 4], 0)])],
    [
      "a slice of a constant at a symbol",
      (g) =>
        b.slice(
          g,
          b.literal(
            g,
            "f32",
            [2000, 2],
            Array.from({ length: 4000 }, (_, i) => i),
          ),
          { axis: 0, start: seq, end: add(seq, int(2)) },
        ),
    ],
    ["matmul with k = 2", (g) => matmul(g, x(g, [3, 2]), b.input(g, "w", "f32", [2, 3]))],
    [
      "absent weights",
      (g) => b.cast(g, b.constant(g, { kind: "absent", tensor: "w" }, "f16", [4]), "f32"),
    ],
  ];
  it.each(unchanged)("unchanged: %s", (_, build) => {
    const g = new GraphBuilder();
    const graph = graphOf(g, { out: build(g) });
    expect(printGraph(canonical(graph).graph)).toBe(printGraph(graph));
  });

  it("x + 0 goes where the sign of zero does not matter", () => {
    const g = new GraphBuilder();
    const graph = graphOf(g, { out: b.map(g, f("add"), [x(g), scalarOf(g, 0)]) });
    expect(canonical(graph, false).fired.get("x + 0 => x")).toBe(1);
  });

  it("E_INDEX: a constant index outside its axis", () => {
    const g = new GraphBuilder();
    const out = b.gather(g, x(g), scalarOf(g, 2, "i64"));
    g.name(out, "/h/Gather");
    expect(() => canonical(graphOf(g, { out }))).toThrow(FarrierError);
    expect(() => canonical(graphOf(g, { out }))).toThrow(
      "E_INDEX: /h/Gather: index 2 of an axis of 2",
    );
  });

  it("reads small constants of files", () => {
    const g = new GraphBuilder();
    const source = { kind: "file", file: "m", offset: 0, bytes: 8, tensor: "shift" } as const;
    const shift = b.constant(g, source, "f32", [2]);
    const out = b.map(g, f("add"), [x(g, [3, 2]), b.map(g, f("neg"), [shift])]);
    const bytes: ConstantBytes = (node, limit) =>
      node === shift && limit >= 8
        ? new Uint8Array(Float32Array.of(1, 2).buffer)
        : literalsOnly(node, limit);
    expect("\n" + printGraph(canonical(graphOf(g, { out }), true, bytes).graph))
      .toMatchInlineSnapshot(`
      "
      %x: f32[3, 2] = input("x")
      %0: f32[2] = constant([-1.0, -2.0])
      %1: f32[3, 2] = broadcast(%0)
      %2: f32[3, 2] = map add(%x, %1)
      output "out": %2
      "
    `);
  });
});

describe("casts", () => {
  const all = Object.keys(dtypes) as DType[];
  it("holds is true of exact conversions", () => {
    expect(all.filter((to) => holds(to, "bf16"))).toEqual(["bf16", "f32", "f64"]);
    expect(all.filter((to) => holds(to, "e4m3fn"))).toEqual([
      "f16",
      "bf16",
      "f32",
      "f64",
      "e4m3fn",
    ]);
    expect(all.filter((to) => holds(to, "u8"))).toEqual([
      "i16",
      "i32",
      "i64",
      "u8",
      "u16",
      "u32",
      "u64",
      "f16",
      "bf16",
      "f32",
      "f64",
    ]);
    expect(all.filter((to) => holds(to, "i64"))).toEqual(["i64"]);
    expect(holds("f64", "i32")).toBe(true);
    expect(holds("f32", "i32")).toBe(false);
    expect(holds("e8m0", "bool")).toBe(false);
  });

  it("castsThrough is true of values that show any difference", () => {
    const wrong: unknown[] = [];
    const values = [
      0,
      -0,
      1,
      -1,
      2,
      3,
      7,
      15,
      127,
      128,
      255,
      256,
      -128,
      -129,
      32767,
      65535,
      65536,
      0.5,
      1e-3,
      449,
      57345,
      1e9,
      -1e9,
      Infinity,
      NaN,
    ];
    for (const from of all)
      for (const via of all)
        for (const to of all) {
          if (!castsThrough(from, via, to)) continue;
          for (const each of values) {
            const given = castValue(each, "f64", from);
            const direct = castValue(given, from, to);
            const twice = castValue(castValue(given, from, via), via, to);
            if (!Object.is(direct, twice)) wrong.push([from, via, to, given]);
          }
        }
    expect(wrong).toEqual([]);
  });
});

/** A random graph of movement and arithmetic, full of what the rules look for. */
function randomGraph(seed: number): Graph {
  const next = random(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
  const g = new GraphBuilder();
  const dtype = pick<DType>(["f32", "f16", "i32", "f64"]);
  const shape = Array.from({ length: Math.floor(next() * 5) }, () => pick([1, 1, 2, 3, 5]));
  const nodes: Node[] = [
    b.input(g, "x", dtype, shape),
    b.literal(g, dtype, [], [pick([0, -0, 1, 2])]),
  ];
  const dims = (node: Node): number[] =>
    node.shape.map((dim) => Number((dim.attr as { value: number }).value));
  const shuffled = (count: number): number[] =>
    Array.from({ length: count }, (_, i) => ({ i, key: next() }))
      .sort((p, q) => p.key - q.key)
      .map(({ i }) => i);
  const steps: ((node: Node) => Node)[] = [
    (node) => g.node("transpose", [node], ...transposeOf(node, shuffled(node.shape.length))),
    (node) => b.reshape(g, node, pick([[-1], [1, -1], [-1, 1], [1, ...dims(node)], dims(node)])),
    (node) =>
      b.broadcastTo(g, node, [
        pick([1, 2]),
        ...dims(node).map((dim) => (dim === 1 ? pick([1, 2]) : dim)),
      ]),
    (node) => {
      if (node.shape.length === 0) return node;
      const axis = Math.floor(next() * node.shape.length);
      const extent = dims(node)[axis]!;
      const start = Math.floor(next() * extent);
      return pick([
        () => b.slice(g, node, { axis, start, end: extent, step: pick([1, 2]) }),
        () => b.slice(g, node, { axis, start, end: -1, step: -pick([1, 2]) }),
        () => b.gather(g, node, b.literal(g, "i64", pick([[], [1]]), [start]), axis),
        () => b.concat(g, [node, node], axis),
        () => b.reduce(g, pick(["sum", "max", "min"]), node, [axis]),
      ])();
    },
    (node) =>
      b.map(g, f(pick(["mul", "add", "sub", "max"])), [
        node,
        b.constantScalar(g, dtype, pick([0, -0, 1])),
      ]),
    (node) => b.map(g, f("neg"), [b.map(g, f("neg"), [node])]),
    (node) => b.map(g, f("add"), [node, node]),
    (node) => b.cast(g, b.cast(g, node, pick<DType>(["f64", "f32", "i32"])), dtype),
    (node) =>
      node.shape.length === 0
        ? node
        : matmul(g, b.unsqueeze(g, node, [-1]), b.literal(g, dtype, [1, 2], [1, 3])),
  ];
  for (let i = 0; i < 10; i++) {
    const node = pick(steps)(pick(nodes));
    const small =
      node.shape.length < 7 && dims(node).reduce((product, dim) => product * dim, 1) < 500;
    if (small) nodes.push(node);
  }
  return graphOf(g, { last: nodes[nodes.length - 1]!, other: pick(nodes), x: nodes[0]! });
}

function transposeOf(node: Node, perm: number[]): [{ perm: number[] }, DType, Node["shape"]] {
  return [{ perm }, node.dtype, perm.map((axis) => node.shape[axis]!)];
}

describe("random graphs", () => {
  it("keep every value, and are canonical after one run", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0 }), (seed) => {
        const before = randomGraph(seed);
        const { graph } = canonical(before);
        expectEqual(before, graph, 1);
        expect(canonical(graph).fired.size).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  it("shapes are known to the generator", () => {
    expect(shapeOf([1, 2]).map((dim) => dim.attr)).toEqual([{ value: 1 }, { value: 2 }]);
  });
});
