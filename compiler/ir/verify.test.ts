import { describe, expect, it } from "vitest";
import { FarrierError } from "../errors.js";
import { int, load, param } from "../scalar/build.js";
import { scalarFunction } from "../scalar/table.js";
import { graphOf } from "../../test/graphs.js";
import * as b from "./build.js";
import { attention, cacheWrite } from "./build-anchor.js";
import { GraphBuilder, type Graph, type Node } from "./graph.js";
import { shapeOf } from "./shape.js";
import { verify } from "./verify.js";

const f = scalarFunction;

function messageOf(graph: Graph): string {
  try {
    verify(graph, "test");
  } catch (error) {
    if (error instanceof FarrierError) return error.message;
    throw error;
  }
  return "verified";
}

describe("nodes", () => {
  const g = new GraphBuilder();
  const x = b.input(g, "x", "f32", [2, 3]);
  const check = (node: Node): string => messageOf(graphOf(g, { out: node }));

  it("accepts what the constructors make", () => {
    expect(check(b.map(g, f("add"), [x, b.reduce(g, "sum", x, [1])]))).toBe("verified");
  });

  it("refuses a shape other than the rule's", () => {
    const wrong = g.node("map", [x], { fn: f("exp") }, "f32", shapeOf([3, 2]));
    expect(check(wrong)).toMatch(
      /^E_INTERNAL: after test: map #\d+ is f32\[3, 2\], its rule says f32\[2, 3\]/,
    );
  });

  it("refuses a dtype other than the rule's", () => {
    const wrong = g.node("map", [x], { fn: f("exp") }, "f16", x.shape);
    expect(check(wrong)).toContain("is f16[2, 3], its rule says f32[2, 3]");
  });

  it("refuses what breaks a constraint, and says which", () => {
    const wrong = g.node("reshape", [x], null, "f32", shapeOf([5]));
    g.name(wrong, "flat");
    expect(check(wrong)).toContain('reshape "flat" breaks its rule: E_RESHAPE');
  });

  it("refuses nodes of another graph", () => {
    const other = new GraphBuilder();
    const alien = b.map(other, f("exp"), [b.input(other, "x", "f32", [2, 3])]);
    expect(check(alien)).toContain("is not interned in its graph");
  });

  it("refuses nodes that are not frozen", () => {
    const real = b.map(g, f("exp"), [x]);
    expect(check({ ...real })).toContain("is not frozen");
  });

  it("refuses an input made after its user", () => {
    const real = b.map(g, f("exp"), [x]);
    const early = Object.freeze({ ...real, id: 0 });
    expect(check(early)).toContain("has an input made after it");
  });

  it("refuses score bodies that reach beyond their loads", () => {
    const q = b.input(g, "q", "f32", [1, 1, 2, 4]);
    const score = load("input3", int(0), "f32");
    const wrong = g.node("attention", [q, q, q], { scale: 1, score }, "f32", q.shape);
    expect(check(wrong)).toContain("score loads input3 as f32");
    const bias = b.input(g, "bias", "f32", [1]);
    const right = attention(g, q, q, q, { scale: 1, score, loads: [bias] });
    expect(check(right)).toBe("verified");
    const typed = { scale: 1, score: load("input3", int(0), "f64") };
    expect(check(g.node("attention", [q, q, q, bias], typed, "f32", q.shape))).toContain(
      "score of type f64",
    );
    const stray = { scale: 1, score: param("row", "f32") };
    expect(check(g.node("attention", [q, q, q], stray, "f32", q.shape))).toContain(
      "score uses parameter row",
    );
  });
});

describe("interface", () => {
  const g = new GraphBuilder();
  const x = b.input(g, "x", "f32", [2]);
  const graph = graphOf(g, { out: b.map(g, f("exp"), [x]) });

  it("refuses inputs that the graph does not declare", () => {
    expect(messageOf({ ...graph, inputs: [] })).toContain('input "x" is not declared');
  });

  it("refuses names used twice", () => {
    const twice = [...graph.outputs, ...graph.outputs];
    expect(messageOf({ ...graph, outputs: twice })).toContain('two outputs named "out"');
    const same = g.node<"input">("input", [], { name: "x" }, "f64", shapeOf([2]));
    expect(messageOf({ ...graph, inputs: [x, same] })).toContain('two inputs named "x"');
  });
});

describe("states", () => {
  const g = new GraphBuilder();
  const cache = b.state(g, "k", "f32", [1, 1, 8, 4]);
  const value = b.input(g, "value", "f32", [1, 1, 1, 4]);
  const at = (position: number): Node => b.literal(g, "i64", [1], [position]);
  const first = cacheWrite(g, cache, value, at(0));
  g.name(first, "first");
  const second = cacheWrite(g, first, b.map(g, f("exp"), [value]), at(1));
  g.name(second, "second");
  const state = { name: "k", initial: cache, final: second as Node };
  const score = { scale: 1, score: param("score", "f32") };
  const attend = (query: Node, version: Node): Node => attention(g, query, version, version, score);

  it("accepts a linear chain", () => {
    const out = attend(attend(value, first), second);
    expect(messageOf(graphOf(g, { out, cache: second }, [state]))).toBe("verified");
  });

  it("E_STATE_ORDER: a version read after its successor", () => {
    const late = attend(attend(value, second), first);
    g.name(late, "late");
    expect(messageOf(graphOf(g, { late }, [state]))).toBe(
      'E_STATE_ORDER: state "k": attention "late" reads version 1 of the state, ' +
        "which version 2 has overwritten (read the newest version)",
    );
  });

  it("E_STATE_ORDER: read late through index maps", () => {
    const view = b.transpose(g, b.slice(g, first, { axis: 2, start: 0, end: 4 }), [0, 1, 3, 2]);
    const early = b.map(g, f("exp"), [view]);
    expect(messageOf(graphOf(g, { early }, [state]))).toBe("verified");
    const query = b.reduce(g, "sum", attend(value, second), [0, 1, 2, 3]);
    const late = b.map(g, f("add"), [view, query]);
    expect(messageOf(graphOf(g, { late }, [state]))).toContain("E_STATE_ORDER");
  });

  it("E_STATE_ORDER: an old version is an output", () => {
    expect(messageOf(graphOf(g, { first }, [state]))).toContain(
      'output "first" reads version 1 of the state, which version 2 has overwritten',
    );
  });

  it("E_STATE_ORDER: two successors", () => {
    const fork = cacheWrite(g, first, value, at(2));
    g.name(fork, "fork");
    const out = attend(value, fork);
    expect(messageOf(graphOf(g, { out }, [state]))).toContain('cache_write "fork" forks the chain');
  });

  it("E_STATE_ORDER: a chain that starts elsewhere", () => {
    const zeros = b.broadcastTo(g, b.constantScalar(g, "f32", 0), [1, 1, 8, 4]);
    const final = cacheWrite(g, zeros, value, at(0));
    expect(messageOf(graphOf(g, {}, [{ ...state, final }]))).toContain(
      "its last version comes from broadcast",
    );
  });

  it("refuses states that the graph does not declare", () => {
    expect(messageOf(graphOf(g, { second }))).toContain('state "k" is not declared');
  });

  it("does not confuse states", () => {
    const other = b.state(g, "v", "f32", [1, 1, 8, 4]);
    const written = cacheWrite(g, other, attend(value, second), at(0));
    const states = [state, { name: "v", initial: other, final: written }];
    expect(messageOf(graphOf(g, { out: attend(value, written) }, states))).toBe("verified");
  });
});

describe("depth", () => {
  it("is no limit", () => {
    const g = new GraphBuilder();
    let x: Node = b.input(g, "x", "f32", [2]);
    for (let i = 0; i < 100_000; i++) x = b.map(g, f("exp"), [x]);
    expect(messageOf(graphOf(g, { x }))).toBe("verified");
  });
});
