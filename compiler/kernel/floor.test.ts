/** Floors of kernels against numbers that are counted by hand. */
import { beforeAll, describe, expect, it } from "vitest";
import { graphOf } from "../../test/graphs.js";
import { fixture } from "../../test/support.js";
import { lower, type LoweredModel } from "../compile.js";
import * as ir from "../ir/build.js";
import { matmul } from "../ir/build-anchor.js";
import { GraphBuilder, type Node } from "../ir/graph.js";
import { floorExpr, floorValue, totalExpr } from "../plan/floor-expr.js";
import { primitive } from "../scalar/primitives.js";
import { sym } from "../scalar/build.js";
import { floorOf } from "./floor.js";
import type { PlannedKernel } from "./memory.js";
import { partition } from "./partition.js";
import { targetNamed } from "./target.js";

const rows = sym({ name: "rows", space: "host", min: 1, max: 512, divisor: 1 });

function planned(g: GraphBuilder, outputs: Readonly<Record<string, Node>>) {
  const options = { target: targetNamed("cpu"), strict: false, fuse: true };
  return partition(graphOf(g, outputs), { ...options, scalar: () => null, site: () => 1 }).kernels;
}

function numbers(kernel: PlannedKernel, names: Readonly<Record<string, number>>) {
  const floor = floorOf(kernel);
  return {
    read: floorValue(floorExpr(floor.read), names),
    written: floorValue(floorExpr(floor.written), names),
    operations: floorValue(totalExpr(floor.operations), names),
    dtype: floor.dtype,
  };
}

describe("operands once, whatever reads them", () => {
  it("of a product with a residual in its epilogue", () => {
    const g = new GraphBuilder();
    const x = ir.input(g, "x", "f32", [rows, 64]);
    const product = matmul(g, x, ir.input(g, "w", "f32", [64, 96]));
    const residual = ir.input(g, "r", "f32", [rows, 96]);
    const [kernel] = planned(g, { y: ir.map(g, primitive("add"), [product, residual]) });
    expect(numbers(kernel!, { rows: 7 })).toEqual({
      read: 4 * (7 * 64 + 64 * 96 + 7 * 96),
      written: 4 * 7 * 96,
      operations: 2 * 7 * 64 * 96,
      dtype: "f32",
    });
  });

  it("of a norm, whose rows are read by its statistics and by its results", () => {
    const g = new GraphBuilder();
    const x = ir.input(g, "x", "f32", [rows, 64]);
    const scaled = ir.map(g, primitive("mul"), [
      ir.normalize(g, x, "rms", 1e-5),
      ir.broadcastTo(g, ir.input(g, "scale", "f32", [64]), [rows, 64]),
    ]);
    const kernels = planned(g, { y: scaled });
    expect(kernels.map(({ desc }) => desc.family)).toEqual(["reduce"]);
    expect(numbers(kernels[0]!, { rows: 3 })).toEqual({
      read: 4 * (3 * 64 + 64),
      written: 4 * 3 * 64,
      operations: 0,
      dtype: null,
    });
  });

  it("of a lookup: as many rows as there are indices, at most all", () => {
    const g = new GraphBuilder();
    const ids = ir.input(g, "ids", "i64", [rows]);
    const [kernel] = planned(g, { y: ir.gather(g, ir.input(g, "table", "f32", [100, 8]), ids) });
    expect(numbers(kernel!, { rows: 5 })).toMatchObject({ read: 5 * 8 + 4 * 5 * 8 });
    expect(numbers(kernel!, { rows: 500 })).toMatchObject({ read: 500 * 8 + 4 * 100 * 8 });
  });
});

describe("of a language model of four query heads and two of keys, 16 wide, in bf16", () => {
  let model: LoweredModel;
  beforeAll(async () => {
    model = await lower(fixture("llama", "hf"), { weights: { kind: "none" } });
  });
  const kernel = (entry: string, family: string, at = 0): PlannedKernel =>
    model.targets[0]!.partitions.find(({ name }) => name === entry)!.partition.kernels.filter(
      ({ desc }) => desc.family === family,
    )[at]!;

  it("attention reads the filled part of the cache", () => {
    const [batch, filled] = [3, 40];
    const token = { queries: 4 * 16 * 2, keys: 2 * 16 * 2, values: 2 * 16 * 2, length: 4 };
    expect(numbers(kernel("decode", "attention"), { batch, "@lengths": filled })).toEqual({
      read: batch * (token.queries + (filled + 1) * (token.keys + token.values) + token.length),
      written: batch * token.queries,
      operations: batch * 4 * (filled + 1) * 2 * (16 + 16),
      dtype: "bf16",
    });
  });

  it("causal attention multiplies the keys that each query sees", () => {
    const [seq, filled] = [5, 8];
    const seen = 9 + 10 + 11 + 12 + 13;
    const names = { batch: 1, seq, "@lengths": filled };
    expect(numbers(kernel("prefill", "attention"), names)).toMatchObject({
      read: 5 * 128 + 13 * 128 + 4,
      operations: 4 * seen * 2 * 32,
    });
  });

  it("a product that writes the cache writes each column once", () => {
    // The second layer's, whose rows are in memory: 64 columns of queries, 32 of keys, 32 of values.
    const names = { batch: 2, seq: 6, "@lengths": 0 };
    expect(numbers(kernel("prefill", "gemm", 4), names)).toMatchObject({
      written: 2 * 6 * 128 * 2,
      operations: 2 * 12 * 64 * 128,
    });
  });
});

it("a product by experts reads those that rows can have, and their rows once", async () => {
  const model = await lower(fixture("mixtral", "hf"), { weights: { kind: "none" } });
  const { kernels } = model.targets[0]!.partitions.find(({ name }) => name === "decode")!.partition;
  const [up] = kernels.filter(({ desc }) => desc.family === "gemm" && desc.rows !== undefined);
  // Of eight experts each token has two: gate and up are 64 × 96 each, in bf16.
  const one = numbers(up!, { batch: 1 });
  expect(one.operations).toBe(2 * 2 * (2 * 96) * 64);
  expect(one.written).toBe(2 * 96 * 2);
  const expert = 2 * 96 * 64 * 2;
  expect(one.read).toBeGreaterThanOrEqual(2 * expert);
  expect(one.read).toBeLessThan(2 * expert + 300);
  const many = numbers(up!, { batch: 100 });
  expect(many.read).toBeLessThan(8 * expert + 100 * 64 * 2 + 2000);
});
