import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { inputsOf } from "./model.js";
import { geluBlock } from "./models/block.js";
import { models } from "./models/index.js";
import { interleaved } from "./timing.js";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-bench-"));
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const bytesOf = (data: ArrayBufferView): Buffer =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength);

it("writes a block that compiles into two products and a norm", async () => {
  const { targets } = await lower(geluBlock(64).write(directory), { weights: { kind: "none" } });
  const [entry] = targets[0]!.partitions;
  const families = entry!.partition.kernels.map(({ desc }) => desc.family);
  expect(families).toEqual(["reduce", "gemm", "gemm"]);
});

it("gives every model inputs of its shapes, the same ones each time", () => {
  for (const model of models)
    for (const [name, { data, shape }] of Object.entries(inputsOf(model))) {
      expect(data).toHaveLength(shape.reduce((x, y) => x * y, 1));
      expect(bytesOf(inputsOf(model)[name]!.data).equals(bytesOf(data))).toBe(true);
    }
});

it("times in rounds, each side in turn", async () => {
  const order: string[] = [];
  const body = (name: string) => (): Promise<unknown> => {
    if (order.at(-1) !== name) order.push(name);
    return Promise.resolve();
  };
  const plan = { rounds: 3, slice: 1 };
  const { a, b } = await interleaved({ a: body("a"), b: body("b") }, plan);
  expect(order).toEqual(["a", "b", "a", "b"]);
  expect([a.rounds.length, b.rounds.length]).toEqual([3, 3]);
  expect(a.min).toBeLessThanOrEqual(a.median);
});
