import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DType } from "../ir/dtype.js";
import {
  castValue,
  decodeE8m0,
  decodeFloat,
  encodeE8m0,
  encodeFloat,
  limits,
  roundEven,
  roundFloat,
  wrapInteger,
  type SmallFloat,
} from "./round.js";

const small: SmallFloat[] = ["f16", "bf16", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e2m1"];
const width: Record<SmallFloat, number> = {
  f16: 16,
  bf16: 16,
  e4m3fn: 8,
  e4m3fnuz: 8,
  e5m2: 8,
  e5m2fnuz: 8,
  e2m1: 4,
};

describe.each(small)("%s", (dtype) => {
  const patterns = Array.from({ length: 2 ** width[dtype] }, (_, pattern) => pattern);

  test("every pattern survives decoding and encoding", () => {
    const wrong = patterns.filter((pattern) => {
      const value = decodeFloat(pattern, dtype);
      return !Number.isNaN(value) && encodeFloat(value, dtype, false) !== pattern;
    });
    expect(wrong).toEqual([]);
  });

  test("what lies between neighbours goes to the nearer, ties to even", () => {
    const values = patterns
      .slice(0, patterns.length / 2)
      .map((pattern) => ({ pattern, value: decodeFloat(pattern, dtype) }))
      .filter(({ value }) => Number.isFinite(value));
    const wrong = values.slice(0, -1).filter(({ pattern, value }, index) => {
      const next = values[index + 1]!;
      const middle = (value + next.value) / 2;
      const even = pattern % 2 === 0 ? pattern : next.pattern;
      const tiny = (next.value - value) * 2 ** -20;
      return (
        encodeFloat(middle, dtype) !== even ||
        encodeFloat(middle - tiny, dtype) !== pattern ||
        encodeFloat(middle + tiny, dtype) !== next.pattern
      );
    });
    expect(wrong).toEqual([]);
  });
});

test("largest values", () => {
  const largest = {
    f16: 65504,
    e4m3fn: 448,
    e4m3fnuz: 240,
    e5m2: 57344,
    e5m2fnuz: 57344,
    e2m1: 6,
  } as const;
  for (const [dtype, value] of Object.entries(largest) as [SmallFloat, number][]) {
    expect(roundFloat(value, dtype)).toBe(value);
    expect(roundFloat(value, dtype, { saturate: false })).toBe(value);
    expect(Math.abs(roundFloat(-2 * value, dtype))).toBe(dtype === "f16" ? Infinity : value);
  }
});

test("overflow without saturation, as ONNX's Cast", () => {
  const cast = (value: number, dtype: SmallFloat): number =>
    roundFloat(value, dtype, { saturate: false });
  expect(cast(1e9, "e4m3fn")).toBeNaN();
  expect(cast(-Infinity, "e4m3fnuz")).toBeNaN();
  expect(cast(1e9, "e5m2")).toBe(Infinity);
  expect(cast(-Infinity, "e5m2fnuz")).toBeNaN();
  expect(cast(1e9, "e2m1")).toBe(6);
  expect(cast(65519.99, "f16")).toBe(65504);
  expect(cast(65520, "f16")).toBe(Infinity);
  expect(cast(464, "e4m3fn")).toBe(448);
  expect(cast(464.1, "e4m3fn")).toBeNaN();
});

test("bit patterns of specials", () => {
  expect(encodeFloat(NaN, "f16")).toBe(0x7e00);
  expect(encodeFloat(NaN, "e4m3fn")).toBe(0x7f);
  expect(encodeFloat(NaN, "e5m2fnuz")).toBe(0x80);
  expect(encodeFloat(-0, "f16")).toBe(0x8000);
  expect(encodeFloat(-0, "e4m3fnuz")).toBe(0);
  expect(encodeFloat(-1e-30, "e4m3fnuz")).toBe(0);
  expect(encodeFloat(5e-324, "f16")).toBe(0);
  expect(encodeFloat(Number.MAX_VALUE, "bf16")).toBe(0x7f80);
});

test("bf16 is the upper half of f32, rounded", () => {
  const view = new DataView(new ArrayBuffer(4));
  fc.assert(
    fc.property(fc.float({ noNaN: true }), (value) => {
      view.setFloat32(0, value);
      const bits = view.getUint32(0);
      const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
      expect(encodeFloat(value, "bf16")).toBe(rounded);
    }),
  );
});

test("e8m0 rounds as ONNX's round_mode says", () => {
  for (let bits = 0; bits < 255; bits++) expect(encodeE8m0(decodeE8m0(bits))).toBe(bits);
  const value = (x: number, e8m0: "up" | "down" | "nearest"): number =>
    decodeE8m0(encodeE8m0(x, { e8m0 }));
  expect([value(5, "up"), value(5, "down"), value(5, "nearest"), value(6, "nearest")]).toEqual([
    8, 4, 4, 8,
  ]);
  expect(decodeE8m0(encodeE8m0(Infinity))).toBe(2 ** 127);
  expect(decodeE8m0(encodeE8m0(1e-300))).toBe(2 ** -127);
  expect(decodeE8m0(encodeE8m0(-1))).toBeNaN();
  expect(decodeE8m0(encodeE8m0(Infinity, { saturate: false }))).toBeNaN();
});

test("roundEven", () => {
  const cases: [number, number][] = [
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, -0],
    [-1.5, -2],
    [-2.5, -2],
    [0.49999999999999994, 0],
    [4503599627370495.5, 4503599627370496],
    [2 ** 53, 2 ** 53],
    [-0.2, -0],
    [Infinity, Infinity],
  ];
  for (const [given, wanted] of cases) expect(roundEven(given)).toBe(wanted);
});

describe("casts", () => {
  test("of floats to integers truncate, saturate, and take NaN to 0", () => {
    const cast = (value: number, to: DType): unknown => castValue(value, "f64", to);
    expect(cast(-1.9, "i8")).toBe(-1);
    expect(cast(300, "i8")).toBe(127);
    expect(cast(-300, "u8")).toBe(0);
    expect(cast(NaN, "i64")).toBe(0);
    expect(cast(Infinity, "i64")).toBe(2n ** 63n - 1n);
    expect(cast(1e300, "u64")).toBe(2n ** 64n - 1n);
    expect(cast(-0.5, "i32")).toBe(0);
    expect(cast(9, "i4")).toBe(7);
  });

  test("of integers wrap", () => {
    expect(castValue(300, "i32", "u8")).toBe(44);
    expect(castValue(-1, "i64", "u64")).toBe(2n ** 64n - 1n);
    expect(castValue(2n ** 63n, "u64", "i64")).toBe(-(2n ** 63n));
    expect(castValue(7, "i32", "i2")).toBe(-1);
    expect(wrapInteger(-129, "i8")).toBe(127);
  });

  test("to bool ask for zero", () => {
    expect([0, -0, 0.1, NaN, -3].map((value) => castValue(value, "f32", "bool"))).toEqual([
      0, 0, 1, 1, 1,
    ]);
  });

  test("of 64-bit integers to floats round once", () => {
    // 2^54 + 2^30 + 1: rounded to a double first, the last bit is lost and the tie goes down.
    expect(castValue(2n ** 54n + 2n ** 30n + 1n, "i64", "f32")).toBe(2 ** 54 + 2 ** 31);
    expect(castValue(-(2n ** 54n) - 2n ** 30n - 1n, "i64", "f32")).toBe(-(2 ** 54) - 2 ** 31);
    expect(castValue(2n ** 54n + 2n ** 30n, "i64", "f32")).toBe(2 ** 54);
    expect(castValue(2n ** 64n - 1n, "u64", "f32")).toBe(2 ** 64);
  });

  test("wrapping is arithmetic modulo the type", () => {
    const integers: DType[] = [
      "i2",
      "i4",
      "i8",
      "i16",
      "i32",
      "i64",
      "u2",
      "u4",
      "u8",
      "u16",
      "u32",
      "u64",
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...integers),
        fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
        (dtype, value) => {
          const [least, most] = limits(dtype).map(BigInt) as [bigint, bigint];
          const wrapped = BigInt(wrapInteger(value, dtype));
          expect(wrapped >= least && wrapped <= most).toBe(true);
          expect((wrapped - value) % (most - least + 1n)).toBe(0n);
          const number = Number(value);
          if (Number.isSafeInteger(number))
            expect(BigInt(wrapInteger(number, dtype))).toBe(wrapped);
        },
      ),
    );
  });
});
