import { expect, it } from "vitest";
import { graphOf } from "../../test/graphs.js";
import * as ir from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { GraphBuilder, type Node } from "../ir/graph.js";
import { primitive } from "../scalar/primitives.js";
import { partition } from "./partition.js";
import { targetNamed } from "./target.js";

/** x normalised, times a matrix of each number of columns. */
function planned(
  target: string,
  kind: "layer" | "rms",
  columns: readonly number[],
  residual = false,
) {
  const g = new GraphBuilder();
  const x = ir.input(g, "x", "f32", [4, 64]);
  const normed = ir.normalize(g, x, kind, 1e-5);
  const outputs: Record<string, Node> = {};
  columns.forEach((count, i) => {
    outputs[`y${i}`] = matmul(g, normed, ir.input(g, `w${i}`, "f32", [64, count]));
  });
  if (residual) outputs["sum"] = ir.map(g, primitive("add"), [x, normed]);
  const { kernels, refusals } = partition(graphOf(g, outputs), {
    target: targetNamed(target),
    strict: false,
    fuse: true,
    scalar: () => null,
    site: () => 1,
  });
  return {
    families: kernels.map(({ desc }) => desc.family),
    stages: kernels.flatMap(({ desc }) => (desc.family === "gemm" ? [desc.stages.length] : [])),
    refusals,
  };
}

it.each([
  ["rms", 384, 1],
  ["layer", 256, 2],
] as const)("normalises by %s inside a product of %i columns", (kind, columns, stages) => {
  expect(planned("cpu", kind, [columns])).toEqual({
    families: ["gemm"],
    stages: [stages],
    refusals: [],
  });
});

it.each([
  ["rms", 512, "a sum for each of 4 runs of columns are 3 more passes over a row, apart it is 2"],
  [
    "layer",
    384,
    "2 sums for each of 3 runs of columns are 4 more passes over a row, apart it is 2",
  ],
] as const)("normalises by %s once for a product of %i columns", (kind, columns, text) => {
  const { families, stages, refusals } = planned("cpu", kind, [columns]);
  expect(families).toEqual(["reduce", "gemm"]);
  expect(stages).toEqual([0]);
  expect(refusals).toMatchObject([{ part: "product", limit: "passes", text }]);
});

it("counts the products that share a normalisation together", () => {
  expect(planned("cpu", "rms", [256]).stages).toEqual([1]);
  expect(planned("cpu", "rms", [256, 256]).stages).toEqual([0, 0]);
});

it("reads a normalisation that is in memory for another kernel", () => {
  const { stages, refusals } = planned("cpu", "rms", [64], true);
  expect(stages).toEqual([0]);
  expect(refusals).toMatchObject([{ part: "product", limit: "readers", found: 2, allowed: 1 }]);
});

it("leaves targets alone that do not say what a pass serves", () => {
  expect(planned("sm_80", "layer", [4096]).stages).toEqual([2]);
});
