import { describe, expect, it } from "vitest";
import * as b from "../ir/build.js";
import { cacheWrite, matmul } from "../ir/build-anchor.js";
import { GraphBuilder, type Node } from "../ir/graph.js";
import { printGraph } from "../ir/print.js";
import { verify } from "../ir/verify.js";
import { scalarFunction } from "../scalar/table.js";
import { graphOf } from "../../test/graphs.js";
import { rewriteGraph } from "./engine.js";
import { any, call, either, match, maybe, op, scalar, type Pattern } from "./pattern.js";
import { rule } from "./rule.js";

const f = scalarFunction;
const always = { uses: () => 1 };

describe("patterns", () => {
  const g = new GraphBuilder();
  const x = b.input(g, "x", "f32", [4, 4]);
  const y = b.input(g, "y", "f32", [4, 4]);
  const sum = b.map(g, f("add"), [b.map(g, f("exp"), [x]), y]);
  const matches = (pattern: Pattern, node: Node): string[] | null => {
    const bound = match(pattern, node, always);
    return bound === null
      ? null
      : Object.entries(bound as Record<string, Node>)
          .map(([k, v]) => `${k}=${g.nameOf(v) ?? v.op}`)
          .sort();
  };

  it("bind by name", () => {
    const pattern = call("add", [call("exp", [any().as("a")]), any().as("b")]).as("sum");
    expect(matches(pattern, sum)).toEqual(["a=x", "b=y", "sum=map"]);
  });

  it("try both orders of commutative operands, deeply", () => {
    expect(matches(call("add", [any().as("p"), call("exp", [any().as("q")])]), sum)).toEqual([
      "p=y",
      "q=x",
    ]);
    const product = b.map(g, f("mul"), [sum, b.map(g, f("mul"), [y, x])]);
    const both = call("mul", [
      call("mul", [any().as("a"), any().as("c")]),
      call("add", [any().as("c"), call("exp", [any().as("a")])]),
    ]);
    expect(matches(both, product)).toEqual(["a=x", "c=y"]);
  });

  it("keep the order of other operands", () => {
    const difference = b.map(g, f("sub"), [x, y]);
    expect(
      matches(
        call("sub", [any().as("a"), op("input", [], ({ name }) => name === "x")]),
        difference,
      ),
    ).toBeNull();
  });

  it("a name bound twice is one node", () => {
    const twice = call("mul", [any().as("a"), any().as("a")]);
    expect(matches(twice, b.map(g, f("mul"), [x, x]))).toEqual(["a=x"]);
    expect(matches(twice, b.map(g, f("mul"), [x, y]))).toBeNull();
  });

  it("look at attributes", () => {
    const rows = op("reduce", [any().as("x")], ({ kind, axes }) => kind === "sum" && axes[0] === 1);
    expect(matches(rows, b.reduce(g, "sum", x, [1]))).toEqual(["x=x"]);
    expect(matches(rows, b.reduce(g, "max", x, [1]))).toBeNull();
    expect(matches(rows, b.reduce(g, "sum", x, [0]))).toBeNull();
  });

  it("see scalars through reshape and broadcast", () => {
    const two = b.broadcastTo(g, b.literal(g, "f32", [1], [2]), [4, 4]);
    expect(matches(call("mul", [any().as("x"), scalar(2)]), b.map(g, f("mul"), [two, x]))).toEqual([
      "x=x",
    ]);
    expect(
      matches(
        scalar((v) => v > 2),
        two,
      ),
    ).toBeNull();
    expect(matches(scalar(-0), b.constantScalar(g, "f32", 0))).toBeNull();
    expect(matches(scalar(), b.literal(g, "f32", [2], [2, 2]))).toBeNull();
  });

  it("alternatives and optional operators", () => {
    const pattern = either(
      call("exp", [any().as("a")]),
      call("add", [any().as("b"), any().as("c")]),
    );
    expect(matches(pattern, sum)).toEqual(["b=map", "c=y"]);
    const perhaps = call("exp", [maybe("cast", op("input").as("in"))]);
    expect(matches(perhaps, b.map(g, f("exp"), [x]))).toEqual(["in=x"]);
    expect(matches(perhaps, b.map(g, f("exp"), [b.cast(g, y, "f16")]))).toEqual(["in=y"]);
  });

  it("types its bindings", () => {
    const pattern = op("reduce", [any().as("x")]).as("sum");
    const bound = match(pattern, b.reduce(g, "sum", x, [0]), always);
    expect(bound?.sum.attrs.kind).toBe("sum");
    // @ts-expect-error "z" is not a name of the pattern's
    expect(bound?.z).toBeUndefined();
  });
});

const times1 = rule("x * 1 => x", call("mul", [any().as("x"), scalar(1)]), ({ x }, { root }) =>
  x.shape.length === root.shape.length ? x : null,
);
const doubled = rule("x + x => x * 2", call("add", [any().as("x"), any().as("x")]), ({ x }, c) =>
  b.map(c.builder, f("mul"), [x, b.constantScalar(c.builder, x.dtype, 2)]),
);

describe("rewriteGraph", () => {
  it("rewrites to the fixpoint, shares, and counts", () => {
    const g = new GraphBuilder();
    const x = b.input(g, "x", "f32", [2]);
    const one = b.constantScalar(g, "f32", 1);
    const a = b.map(g, f("mul"), [b.map(g, f("mul"), [x, one]), one]);
    const sum = b.map(g, f("add"), [a, x]);
    g.name(sum, "sum");
    const before = graphOf(g, { sum, again: b.map(g, f("exp"), [a]) });
    const seen: string[] = [];
    const { graph, fired } = rewriteGraph(before, [times1, doubled], {
      trace: (name, from, to) => seen.push(`${name}: ${from.op} -> ${to.op}`),
    });
    verify(graph, "test");
    expect("\n" + printGraph(graph)).toMatchInlineSnapshot(`
      "
      %x: f32[2] = input("x")
      %sum: f32[2] = map mul(%x, 2.0:f32)
      %0: f32[2] = map exp(%x)
      output "sum": %sum
      output "again": %0
      "
    `);
    expect([...fired]).toEqual([
      ["x * 1 => x", 1],
      ["x + x => x * 2", 1],
    ]);
    expect(seen).toHaveLength(2);
    expect(g.nameOf(graph.outputs[0]!.node)).toBe("sum");
  });

  it("leaves a graph that nothing applies to as it is", () => {
    const g = new GraphBuilder();
    const before = graphOf(g, { y: b.map(g, f("exp"), [b.input(g, "x", "f32", [2])]) });
    const { graph, fired } = rewriteGraph(before, [times1, doubled]);
    expect(graph).toBe(before);
    expect(fired.size).toBe(0);
  });

  it("rebuilds states and their users", () => {
    const g = new GraphBuilder();
    const cache = b.state(g, "k", "f32", [1, 1, 4, 2]);
    const x = b.input(g, "x", "f32", [1, 1, 1, 2]);
    const same = b.map(g, f("mul"), [x, b.constantScalar(g, "f32", 1)]);
    const final = cacheWrite(g, cache, same, b.literal(g, "i64", [1], [0]));
    const before = graphOf(g, { out: b.reduce(g, "sum", final, [2]) }, [
      { name: "k", initial: cache, final },
    ]);
    const { graph } = rewriteGraph(before, [times1]);
    verify(graph, "test");
    expect(graph.states[0]!.final.inputs).toEqual([cache, x, final.inputs[2]]);
    expect(graph.outputs[0]!.node.inputs[0]).toBe(graph.states[0]!.final);
  });

  it("knows which nodes have one use", () => {
    const product = rule(
      "exp(exp(x)) => exp(x)",
      call("exp", [call("exp", [any().as("x")]).once()]),
      ({ x }, { builder }) => b.map(builder, f("exp"), [x]),
    );
    const g = new GraphBuilder();
    const inner = b.map(g, f("exp"), [b.input(g, "x", "f32", [2])]);
    const outer = b.map(g, f("exp"), [inner]);
    expect(rewriteGraph(graphOf(g, { outer }), [product]).fired.size).toBe(1);
    expect(rewriteGraph(graphOf(g, { outer, inner }), [product]).fired.size).toBe(0);
  });

  it("uses that a rewrite removes count in the next round", () => {
    const g = new GraphBuilder();
    const x = b.input(g, "x", "f32", [2, 2]);
    const e = b.map(g, f("exp"), [x]);
    const zero = b.constantScalar(g, "f32", 0);
    const gone = rule("x * 0 => 0", call("mul", [any(), scalar(0)]), (_, { builder, root }) =>
      b.broadcastTo(builder, b.constantScalar(builder, root.dtype, 0), root.shape),
    );
    const single = rule(
      "exp(x).once => x",
      call("exp", [any().as("x")]).once(),
      ({ x: below }) => below,
    );
    const out = b.map(g, f("add"), [matmul(g, e, x), b.map(g, f("mul"), [e, zero])]);
    const { fired } = rewriteGraph(graphOf(g, { out }), [gone, single]);
    expect([...fired.keys()]).toEqual(["x * 0 => 0", "exp(x).once => x"]);
  });

  it("refuses rules that change the type, loop, or build on what they replace", () => {
    const g = new GraphBuilder();
    const x = b.input(g, "x", "f32", [2, 3]);
    const graph = graphOf(g, { y: b.map(g, f("exp"), [x]) });
    const exp = call("exp", [any().as("x")]);
    const typed = rule("exp(x) => x as f16", exp, ({ x: below }, { builder }) =>
      b.cast(builder, below, "f16"),
    );
    expect(() => rewriteGraph(graph, [typed])).toThrow(
      /"exp\(x\) => x as f16" makes .*f16\[2, 3\]/,
    );
    const there = rule("exp => sqrt", exp, ({ x: below }, c) =>
      b.map(c.builder, f("sqrt"), [below]),
    );
    const back = rule("sqrt => exp", call("sqrt", [any().as("x")]), ({ x: below }, c) =>
      b.map(c.builder, f("exp"), [below]),
    );
    expect(() => rewriteGraph(graph, [there, back])).toThrow("rules undo one another");
    const onto = rule("exp(x) => -exp(x)", exp, (_, c) => b.map(c.builder, f("neg"), [c.root]));
    expect(() => rewriteGraph(graph, [onto])).toThrow("which it replaces");
    let more = 1;
    const grows = rule("exp(x) => exp(x + n)", exp, ({ x: below }, c) =>
      b.map(c.builder, f("exp"), [
        b.map(c.builder, f("add"), [below, b.constantScalar(c.builder, "f32", more++)]),
      ]),
    );
    expect(() => rewriteGraph(graph, [grows])).toThrow("rules undo one another");
  });

  it("takes time linear in the nodes, and no stack", () => {
    const g = new GraphBuilder();
    const one = b.constantScalar(g, "f32", 1);
    let x: Node = b.input(g, "x", "f32", [2]);
    for (let i = 0; i < 100_000; i++)
      x = b.map(g, f(i % 2 === 0 ? "mul" : "exp"), i % 2 === 0 ? [x, one] : [x]);
    const { fired } = rewriteGraph(graphOf(g, { x }), [times1, doubled]);
    expect(fired.get("x * 1 => x")).toBe(50_000);
  });
});
