/** Rows 49, 61 and 113: what only the data of a run can break. */
import path from "node:path";
import fs from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { inMemory, writeSafetensors } from "../../compiler/frontend/files/write-safetensors.js";
import { encodeModel, f32Tensor, node } from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { load } from "../../runtime/node/index.js";
import { farrier } from "../cli/support.js";
import { bundleOf, temporaryDirectory } from "../support.js";

const int64 = (...values: readonly number[]): Uint8Array =>
  new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

const lowest = -(2 ** 31);
const [dividends, divisors] = [
  [7, -7, 0, lowest, 5],
  [0, 0, 0, -1, 2],
];

let bundle: string;
let directory: string;

beforeAll(async () => {
  directory = temporaryDirectory();
  const model = path.join(directory, "model.onnx");
  const bytes = encodeModel({
    opset: 24,
    graph: {
      inputs: [
        { name: "rows", type: "i64", shape: [2] },
        { name: "cells", type: "i64", shape: [2, 2] },
        { name: "a", type: "i32", shape: [5] },
        { name: "b", type: "i32", shape: [5] },
      ],
      outputs: ["gathered", "gathered_nd", "scattered", "quotient", "remainder"].map((name) => ({
        name,
      })),
      initializers: [
        f32Tensor("table", [3, 2], [0, 1, 2, 3, 4, 5]),
        f32Tensor("updates", [2], [8, 9]),
      ],
      nodes: [
        node("Gather", ["table", "rows"], ["gathered"]),
        node("GatherND", ["table", "cells"], ["gathered_nd"]),
        node("ScatterND", ["table", "cells", "updates"], ["scattered"]),
        node("Div", ["a", "b"], ["quotient"]),
        node("Mod", ["a", "b"], ["remainder"]),
      ],
    },
  });
  fs.writeFileSync(model, bytes);
  bundle = await bundleOf(model);
}, 120_000);

async function run(rows: readonly number[], cells: readonly number[]): ReturnType<typeof farrier> {
  const file = path.join(directory, "in.safetensors");
  const i32 = (values: readonly number[]): Uint8Array =>
    new Uint8Array(Int32Array.from(values).buffer);
  const tensors = new Map([
    ["rows", inMemory("i64", [2], int64(...rows))],
    ["cells", inMemory("i64", [2, 2], int64(...cells))],
    ["a", inMemory("i32", [5], i32(dividends))],
    ["b", inMemory("i32", [5], i32(divisors))],
  ]);
  writeSafetensors(file, tensors);
  const inputs = [...tensors.keys()].flatMap((name) => ["--input", `${name}=${file}`]);
  return farrier("run", bundle, ...inputs, "--json");
}

describe("row 49: an index that is data", () => {
  it("runs where it is in range, also from the end", async () => {
    expect(await run([0, -1], [0, 0, 2, -1])).toMatchObject({ status: 0 });
  });

  it.each([
    ["a gather", [0, 3], [0, 0, 1, 1], /of gathered, into table, given by rows: found 3$/],
    ["a gather from the end", [0, -4], [0, 0, 1, 1], /of gathered.*: found -1$/],
    ["a gather at 2^62", [0, 2 ** 62], [0, 0, 1, 1], /: found 549755813887, or further from 0$/],
    // Of a scatter a tuple is one index, -1 where a part of it is outside.
    ["tuples", [0, 0], [0, 0, 1, 2], /given by cells: found (2|-1)$/],
    [
      "tuples at -2^62",
      [0, 0],
      [0, 0, -(2 ** 62), 0],
      /given by cells: found (-1|-549755813888, or further from 0)$/,
    ],
  ])(
    "%s out of range is E_RT_INDEX and names node, tensor and index",
    async (_, rows, cells, says) => {
      const { status, events } = await run(rows, cells);
      expect(events.at(-1)).toMatchObject({ event: "error", code: "E_RT_INDEX", status: 2 });
      expect(String(events.at(-1)!["message"])).toMatch(says);
      expect(status).toBe(2);
      // The model can be used on.
      expect((await run([0, 1], [0, 0, 1, 1])).status).toBe(0);
    },
  );
});

it("row 61: a division by 0 that is data has a defined result", async () => {
  const model = await load(bundle);
  const inputs = {
    rows: [0, 0],
    cells: [
      [0, 0],
      [0, 0],
    ],
    a: dividends,
    b: divisors,
  };
  const first = await model.run(inputs);
  const second = await model.run(inputs);
  await model.close();
  const values = (name: string): number[] => [...first[name]!.toFloat64()];
  expect(values("quotient")).toEqual([0, 0, 0, lowest, 2]);
  expect(values("remainder")).toEqual([0, 0, 0, 0, 1]);
  expect([...second["quotient"]!.toFloat64()]).toEqual(values("quotient"));
});
