/**
 * Limits of fusion: a graph on each side of the number. On one side the fusion is there and nothing
 * is refused; on the other the refusal names the limit, what it allows and what was found.
 */
import { describe, expect, it } from "vitest";
import { graphOf } from "../../test/graphs.js";
import * as ir from "../ir/build.js";
import { matmul, rotary } from "../ir/build-anchor.js";
import { GraphBuilder, type Graph, type Node } from "../ir/graph.js";
import { primitive, type PrimitiveName } from "../scalar/primitives.js";
import { longestChain, mostPlaces } from "./chains.js";
import { refusal, type LimitName, type Refusal } from "./limits.js";
import { partition } from "./partition.js";
import { targetNamed } from "./target.js";

class Sketch {
  readonly g = new GraphBuilder();

  input(name: string, ...shape: readonly number[]): Node {
    return ir.input(this.g, name, "f32", shape);
  }

  weight(name: string, ...shape: readonly number[]): Node {
    return ir.constant(this.g, { kind: "absent", tensor: name }, "f32", shape);
  }

  map(name: PrimitiveName, ...inputs: readonly Node[]): Node {
    return ir.map(this.g, primitive(name), inputs);
  }

  rms(x: Node): Node {
    return ir.normalize(this.g, x, "rms", 1e-6);
  }

  matmul(a: Node, b: Node): Node {
    return matmul(this.g, a, b);
  }

  graph(...outputs: readonly Node[]): Graph {
    return graphOf(this.g, Object.fromEntries(outputs.map((node, i) => [`out${i}`, node])));
  }
}

interface Outcome {
  readonly kernels: number;
  readonly refusals: readonly Refusal[];
}

function fused(graph: Graph, target: string): Outcome {
  const { kernels, refusals } = partition(graph, {
    target: targetNamed(target),
    strict: false,
    fuse: true,
    scalar: () => null,
    site: () => 1,
  });
  return { kernels: kernels.length, refusals };
}

interface Row {
  readonly limit: LimitName;
  /** A graph with this number, which is at the limit or beyond it. */
  graph(number: number): Graph;
  readonly inside: number;
  readonly beyond: number;
  readonly found: number;
  readonly allowed: number;
  readonly target?: string;
}

/** x [4, 64] through `heads` norms of 64 / heads elements, times a weight. */
function normsOf(heads: number): Graph {
  const s = new Sketch();
  const apart = ir.reshape(s.g, s.input("x", 4, 64), [4, heads, 64 / heads]);
  const whole = ir.reshape(s.g, s.rms(apart), [4, 64]);
  return s.graph(s.matmul(whole, s.weight("w", 64, 32)));
}

const rows: readonly Row[] = [
  {
    limit: "chain",
    graph(count) {
      const s = new Sketch();
      let value = s.input("x", 4, 64);
      for (let i = 0; i < count; i++) value = s.map("abs", value);
      return s.graph(value);
    },
    inside: longestChain,
    beyond: longestChain + 1,
    found: longestChain + 1,
    allowed: longestChain,
  },
  {
    // Each step reads the last one at its own place and at one that an input names: 2^n places.
    limit: "reads",
    graph(steps) {
      const s = new Sketch();
      let value: Node = ir.input(s.g, "x", "i64", [16]);
      for (let i = 0; i < steps; i++) {
        const chosen = ir.input(s.g, `at${i}`, "i64", [16]);
        value = s.map("add", value, ir.gather(s.g, value, chosen, 0));
      }
      return s.graph(value);
    },
    inside: Math.log2(mostPlaces),
    beyond: Math.log2(mostPlaces) + 2,
    found: 2 * mostPlaces - 1,
    allowed: mostPlaces,
  },
  { limit: "row", graph: normsOf, inside: 1, beyond: 2, found: 32, allowed: 64 },
  {
    limit: "step",
    graph(step) {
      const s = new Sketch();
      const product = s.matmul(s.input("x", 4, 64), s.weight("w", 64, 32));
      const part = ir.slice(s.g, product, { axis: 1, start: 0, end: 32, step });
      return s.graph(s.map("neg", part));
    },
    inside: 1,
    beyond: 2,
    found: 2,
    allowed: 1,
  },
  {
    limit: "passes",
    target: "cpu",
    graph(columns) {
      const s = new Sketch();
      const normal = s.rms(s.input("x", 4, 64));
      return s.graph(s.matmul(normal, s.weight("w", 64, columns)));
    },
    // Runs of 128 columns: the third normalises twice more than once.
    inside: 3 * 128,
    beyond: 3 * 128 + 1,
    found: 3,
    allowed: 2,
  },
  {
    limit: "distance of operands",
    graph(distance) {
      const s = new Sketch();
      const product = s.matmul(s.input("x", 4, 64), s.weight("w", 64, 32));
      const part = (start: number): Node =>
        ir.slice(s.g, product, { axis: 1, start, end: start + 8 });
      return s.graph(s.map("mul", part(0), part(distance)));
    },
    inside: 16,
    beyond: 9,
    found: 9,
    allowed: 0,
  },
  {
    limit: "distance of a pair",
    graph(depth) {
      const s = new Sketch();
      const product = s.matmul(s.input("x", 4, 64), s.weight("w", 64, 48));
      const heads = ir.reshape(s.g, product, [4, 48 / depth, depth]);
      const part = ir.slice(s.g, heads, { axis: 2, start: depth % 16, end: depth });
      const half = (depth - (depth % 16)) / 2;
      return s.graph(rotary(s.g, part, s.input("c", 4, 1, half), s.input("d", 4, 1, half), false));
    },
    inside: 16,
    beyond: 24,
    found: 8,
    allowed: 0,
  },
];

describe.each(rows)("$limit: $found, allowed $allowed", (row) => {
  const target = row.target ?? "sm_80";

  it("fuses up to the limit", () => {
    expect(fused(row.graph(row.inside), target)).toMatchObject({ kernels: 1, refusals: [] });
  });

  it("is refused beyond it, with both numbers", () => {
    const { kernels, refusals } = fused(row.graph(row.beyond), target);
    expect(kernels).toBeGreaterThan(1);
    expect(refusals).toMatchObject([{ limit: row.limit, found: row.found, allowed: row.allowed }]);
    expect(refusals[0]!.text).toContain(String(row.found));
    expect(refusals[0]!.text).toContain(String(row.allowed));
  });
});

it("numbers are written with commas", () => {
  expect(refusal("row", 50_257, 128).text).toBe(
    "the product sums rows of 128 elements, the normalisation is over 50,257",
  );
});
