import fc from "fast-check";
import { expect, test } from "vitest";
import { byteSize, dtypes, isFloat, type DType } from "../ir/dtype.js";
import { readElements, writeElements } from "./elements.js";

const all = Object.keys(dtypes) as DType[];

test.each(all)("%s: bytes survive reading and writing", (dtype) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 40 }), (raw) => {
      const bytes = dtype === "bool" ? raw.map((byte) => byte & 1) : raw;
      const count = Math.floor((bytes.length * 8) / dtypes[dtype].bits);
      const used = bytes.slice(0, byteSize(dtype, count));
      const values = readElements(dtype, bytes, count);
      const again = writeElements(dtype, values);
      if (!isFloat(dtype)) expect(again).toEqual(used);
      // A NaN has many patterns, of which one is written.
      else expect(readElements(dtype, again, count)).toEqual(values);
    }),
  );
});

test("sub-byte types are packed from the low end", () => {
  expect([...writeElements("u4", [1, 2, 15])]).toEqual([0x21, 0x0f]);
  expect([...writeElements("i4", [-1, 7, -8])]).toEqual([0x7f, 0x08]);
  expect([...readElements("i4", Uint8Array.of(0x7f, 0x08), 3)]).toEqual([-1, 7, -8]);
  expect([...writeElements("u2", [3, 0, 2, 1, 1])]).toEqual([0b01100011, 1]);
  expect([...readElements("e2m1", Uint8Array.of(0x71), 2)]).toEqual([0.5, 6]);
});

test("64-bit integers are exact", () => {
  const bytes = writeElements("i64", [2n ** 63n - 1n, -(2n ** 63n), 5]);
  expect(readElements("i64", bytes, 3)).toEqual(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 5n));
  expect(readElements("u64", writeElements("u64", [2n ** 64n - 1n]), 1)).toEqual(
    BigUint64Array.of(2n ** 64n - 1n),
  );
});

test("values are rounded, wrapped, truncated as casts do", () => {
  expect([...readElements("f16", writeElements("f16", [1 / 3, 1e9]), 2)]).toEqual([
    0.333251953125,
    Infinity,
  ]);
  expect([...readElements("i8", writeElements("i8", [300, -1.7, Infinity, NaN]), 4)]).toEqual([
    44, -1, 127, 0,
  ]);
  expect([...readElements("u32", writeElements("u32", [-1]), 1)]).toEqual([2 ** 32 - 1]);
  expect([...readElements("bool", writeElements("bool", [true, false, 3]), 3)]).toEqual([1, 0, 1]);
});

test("unaligned bytes are read; too few are a defect", () => {
  const bytes = new Uint8Array(9);
  bytes.set(writeElements("f64", [Math.PI]), 1);
  expect([...readElements("f64", bytes.subarray(1), 1)]).toEqual([Math.PI]);
  expect(() => readElements("f32", bytes, 3)).toThrow(/3 f32 need 12 bytes, there are 9/);
});
