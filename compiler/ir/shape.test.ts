import { describe, expect, it } from "vitest";
import { sym } from "../scalar/build.js";
import { random, randomTensor } from "../../test/graphs.js";
import { dtypes, type DType } from "./dtype.js";
import {
  broadcastShapes,
  broadcastsTo,
  elements,
  largestElements,
  printShape,
  sameShape,
  shapeOf,
  staticShape,
  strides,
} from "./shape.js";
import { fromBytes, tensor, toBytes } from "./tensor.js";

const n = sym({ name: "n", space: "host", min: 1, max: 64, divisor: 1 });

describe("shapes", () => {
  it("strides and elements are expressions", () => {
    expect(printShape(strides(shapeOf([2, n, 8])))).toBe("[8*n, 8, 1]");
    expect(printShape([elements(shapeOf([2, n, 8]))])).toBe("[16*n]");
    expect(strides([])).toEqual([]);
    expect(largestElements(shapeOf([2, n, 8]))).toBe(1024);
    expect(staticShape(shapeOf([2, n]))).toBeNull();
    expect(staticShape(shapeOf([2, 0]))).toEqual([2, 0]);
  });

  it.each<[(number | typeof n)[], (number | typeof n)[], string]>([
    [[3], [2, 1], "[2, 3]"],
    [[n, 1], [1, n], "[n, n]"],
    [[], [n], "[n]"],
    [[0], [1], "[0]"],
    [[1, 1], [1], "[1, 1]"],
  ])("%#: broadcast", (a, b, text) => {
    const both = broadcastShapes(shapeOf(a), shapeOf(b), "test");
    expect(printShape(both)).toBe(text);
    expect(sameShape(both, broadcastShapes(shapeOf(b), shapeOf(a), "test"))).toBe(true);
    expect([a, b].every((each) => broadcastsTo(shapeOf(each), both))).toBe(true);
  });

  it("what is not proved does not broadcast", () => {
    const m = sym({ name: "m", space: "host", min: 1, max: 64, divisor: 1 });
    const both = (): unknown => broadcastShapes([n], [m], "test");
    expect(both).toThrow("[n] and [m] do not broadcast: axis 0 is n and m");
    expect(broadcastsTo(shapeOf([2, 3]), shapeOf([3]))).toBe(false);
  });
});

describe("tensors", () => {
  it.each(Object.keys(dtypes) as DType[])("%s: bytes and back", (dtype) => {
    const value = randomTensor(dtype, [3, 5], random(3));
    const back = fromBytes(dtype, [3, 5], toBytes(value));
    expect(back.data).toEqual(value.data);
    expect(back.data.constructor).toBe(value.data.constructor);
  });

  it("64-bit integers are exact", () => {
    const value = tensor("u64", [2], [2n ** 64n - 1n, 5]);
    expect(Buffer.from(toBytes(value)).toString("hex")).toBe("ffffffffffffffff0500000000000000");
  });

  it("too few bytes or values are errors", () => {
    expect(() => fromBytes("f32", [2], new Uint8Array(7))).toThrow("E_TENSOR_SIZE: needs 8 bytes");
    expect(() => tensor("f32", [2], [1])).toThrow("E_TENSOR_SIZE: 2 elements, 1 values");
  });
});
