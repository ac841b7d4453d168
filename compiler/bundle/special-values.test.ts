import { describe, expect, it } from "vitest";
import type { DType } from "../ir/dtype.js";
import { isFloat, dtypes } from "../ir/dtype.js";
import { readElements, writeElements } from "../scalar/elements.js";
import { countSpecial, SpecialValues } from "./special-values.js";

const floats = (Object.keys(dtypes) as DType[]).filter(
  (dtype) => isFloat(dtype) && dtypes[dtype].bits >= 8,
);

describe("countSpecial", () => {
  it.each(floats.filter((dtype) => dtypes[dtype].bits <= 16))("%s, every value", (dtype) => {
    const width = dtypes[dtype].bits / 8;
    const count = 2 ** dtypes[dtype].bits;
    const bytes =
      width === 1
        ? Uint8Array.from({ length: count }, (_, i) => i)
        : new Uint8Array(Uint16Array.from({ length: count }, (_, i) => i).buffer);
    const values = Array.from(readElements(dtype, bytes, count), Number);
    expect(countSpecial(dtype, bytes)).toBe(values.filter((v) => !Number.isFinite(v)).length);
  });

  it.each(["f32", "f64"] as const)("%s, at any alignment", (dtype) => {
    const values = [1, NaN, -Infinity, 3.4e38, Infinity, -0];
    const bytes = writeElements(dtype, values);
    expect(countSpecial(dtype, bytes)).toBe(3);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(countSpecial(dtype, shifted.subarray(1))).toBe(3);
  });

  it("finds nothing in integers", () => {
    expect(countSpecial("i64", new Uint8Array(64).fill(0xff))).toBe(0);
  });
});

it("says all of them in one notice, with names", () => {
  const special = new SpecialValues();
  expect(special.notices()).toEqual([]);
  const piece = writeElements("f32", [NaN, 1]);
  expect([...special.watch("w", "f32", [piece, piece])]).toEqual([piece, piece]);
  expect(special.notices()).toEqual(['1 weight holds NaN or infinite values: "w" (2)']);
  for (let i = 0; i < 20; i++) Array.from(special.watch(`v${i}`, "f32", [piece]));
  expect(special.notices()[0]).toMatch(/^21 weights hold .*"v10" \(1\) and 9 more$/);
});
