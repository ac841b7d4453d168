import { expect, it } from "vitest";
import { graphOf } from "../../test/graphs.js";
import * as ir from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { GraphBuilder, type Node } from "../ir/graph.js";
import { sym } from "../scalar/build.js";
import { primitive } from "../scalar/primitives.js";
import { Memory } from "./memory.js";
import { partition, type PartitionOptions } from "./partition.js";
import { partitions } from "./partitions.js";
import { targetNamed } from "./target.js";

const options = (target: string): PartitionOptions => ({
  target: targetNamed(target),
  strict: false,
  fuse: true,
  scalar: () => null,
  site: () => 1,
});

/** x normalised, times a matrix of each number of columns. */
function planned(
  target: string,
  kind: "layer" | "rms",
  columns: readonly number[],
  residual = false,
  rows = 4,
) {
  const g = new GraphBuilder();
  const x = ir.input(g, "x", "f32", [rows, 64]);
  const normed = ir.normalize(g, x, kind, 1e-5);
  const outputs: Record<string, Node> = {};
  columns.forEach((count, i) => {
    outputs[`y${i}`] = matmul(g, normed, ir.input(g, `w${i}`, "f32", [64, count]));
  });
  if (residual) outputs["sum"] = ir.map(g, primitive("add"), [x, normed]);
  const { kernels, refusals } = partition(graphOf(g, outputs), options(target));
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

it("normalises few rows in every product that waits for its weights, many rows once", () => {
  expect(planned("sm_80", "layer", [4096]).stages).toEqual([2]);
  expect(planned("sm_80", "layer", [4096], false, 17)).toMatchObject({
    families: ["reduce", "gemm"],
    stages: [0],
    refusals: [{ limit: "passes" }],
  });
  expect(planned("sm_80", "layer", [256], false, 17).stages).toEqual([2]);
});

it("stores what it normalises for boxes of many rows, over the same weights", () => {
  const g = new GraphBuilder();
  const rows = sym({ name: "rows", min: 1, max: 64, divisor: 1, space: "host" });
  const normed = ir.normalize(g, ir.input(g, "x", "f32", [rows, 64]), "rms", 1e-5);
  const y = matmul(g, normed, ir.constant(g, { kind: "absent", tensor: "w" }, "f32", [64, 1024]));
  const memory = new Memory();
  const boxes = partitions(graphOf(g, { y }), options("sm_80"), () => [1, 16, 32], memory);
  expect(boxes.map(({ box }) => box.box)).toEqual([
    { rows: [1, 1] },
    { rows: [2, 16] },
    { rows: [17, 32] },
    { rows: [33, 64] },
  ]);
  const [one, few, more, most] = boxes.map((each) => each.partition);
  expect([few === one, most === more]).toEqual([true, true]);
  expect([one, more].map((each) => each!.kernels.length)).toEqual([1, 2]);
  expect(memory.derived.size).toBe(1);
});

it("stores what a product only widens as narrow as it is", () => {
  const g = new GraphBuilder();
  const wide = (node: Node): Node => ir.cast(g, node, "f32");
  const x = ir.input(g, "x", "bf16", [32, 64]);
  const normed = ir.cast(g, ir.normalize(g, wide(x), "layer", 1e-5), "bf16");
  const y = matmul(
    g,
    wide(normed),
    wide(ir.constant(g, { kind: "absent", tensor: "w" }, "bf16", [64, 1024])),
  );
  const { kernels } = partition(graphOf(g, { y }), options("sm_80"));
  expect(kernels.map(({ desc }) => desc.family)).toEqual(["reduce", "gemm"]);
  expect(kernels[0]!.buffers.map(({ dtype }) => dtype)).toEqual(["bf16", "bf16"]);
});
