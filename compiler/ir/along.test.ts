import { describe, expect, it } from "vitest";
import { input, scan, scatter, topK } from "./build.js";
import type { DType } from "./dtype.js";
import { evaluateGraph } from "./evaluate.js";
import { GraphBuilder, type Node } from "./graph.js";
import { printNode } from "./print.js";
import { tensor, type TensorValue } from "./tensor.js";

const g = new GraphBuilder();
const x = (dtype: DType, ...shape: number[]): Node<"input"> =>
  input(g, `x${dtype}${shape.join("x")}`, dtype, shape);

function valueOf(node: Node, ...values: TensorValue[]): number[] {
  const inputs = node.inputs.filter((each) => each.op === "input") as Node<"input">[];
  const graph = { builder: g, inputs, outputs: [{ name: "y", node }], states: [] };
  const given = new Map(inputs.map(({ attrs }, i) => [attrs.name, values[i]!]));
  return Array.from(evaluateGraph(graph, given, { mode: "strict" }).outputs.get("y")!.data, Number);
}

describe("scan", () => {
  it("prints its kind and direction", () => {
    const node = scan(g, "prod", x("f32", 3), 0, { reverse: true });
    expect(printNode(g, node)).toContain("scan(%xf323, kind=prod, axis=0, reverse)");
  });

  it("wraps integers at their width", () => {
    const node = scan(g, "prod", x("i8", 3), 0);
    expect(valueOf(node, tensor("i8", [3], [100, 2, 3]))).toEqual([100, -56, 88]);
  });

  it("refuses booleans", () => {
    expect(() => scan(g, "sum", x("bool", 3), 0)).toThrow(/E_DTYPE/);
  });
});

describe("top_k", () => {
  it("C1: asks for no more than there are", () => {
    expect(() => topK(g, x("f32", 2, 3), 1, 4)).toThrow(/E_TOPK/);
    expect(() => topK(g, x("f32", 2, 3), 0, 2)).not.toThrow();
  });

  it("puts NaN above everything, and equal values in the order of their indices", () => {
    const value = tensor("f32", [5], [1, NaN, 1, Infinity, -1]);
    expect(valueOf(topK(g, x("f32", 5), 0, 5), value)).toEqual([1, 3, 0, 2, 4]);
    expect(valueOf(topK(g, x("f32", 5), 0, 5, false), value)).toEqual([4, 0, 2, 3, 1]);
  });
});

describe("scatter", () => {
  const [data, indices] = [x("f32", 2, 3), x("i64", 2, 2)];

  it("C1: wants an index for each update, and room for them", () => {
    expect(() => scatter(g, data, indices, x("f32", 2, 3), 1)).toThrow(/E_SCATTER/);
    expect(() => scatter(g, data, x("i64", 3, 2), x("f32", 3, 2), 1)).toThrow(/E_SCATTER/);
    expect(() => scatter(g, data, x("i64", 3, 2), x("f32", 3, 2), 0)).not.toThrow();
  });

  it("C2, C3: wants integers for indices, the data's type, and numbers to combine", () => {
    expect(() => scatter(g, data, x("f32", 2, 2), x("f32", 2, 2), 1)).toThrow(/E_DTYPE/);
    expect(() => scatter(g, data, indices, x("f16", 2, 2), 1)).toThrow(/E_DTYPE/);
    const bools = [x("bool", 2, 3), x("bool", 2, 2)] as const;
    expect(() => scatter(g, bools[0], indices, bools[1], 1, "add")).toThrow(/E_DTYPE/);
  });

  it("applies updates in row-major order", () => {
    const node = scatter(g, data, indices, x("f32", 2, 2), 1);
    const found = valueOf(
      node,
      tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6]),
      tensor("i64", [2, 2], [1n, 1n, 0n, 2n]),
      tensor("f32", [2, 2], [7, 8, 9, 10]),
    );
    expect(found).toEqual([1, 8, 3, 9, 5, 10]);
  });

  it("reports an index outside its axis", () => {
    const node = scatter(g, x("f32", 3), x("i64", 1), x("f32", 1), 0);
    const values = [
      tensor("f32", [3], [1, 2, 3]),
      tensor("i64", [1], [3n]),
      tensor("f32", [1], [4]),
    ];
    expect(() => valueOf(node, ...values)).toThrow(/E_RT_INDEX/);
  });
});
