import { describe, expect, it } from "vitest";
import { param } from "./build.js";
import { compileExpr } from "./evaluate.js";
import { decodeE8m0, decodeFloat, encodeE8m0, encodeFloat, type SmallFloat } from "./round.js";
import { decodeTiny, encodeTiny } from "./small-floats.js";

const formats: readonly SmallFloat[] = ["e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e2m1"];
const typed = { round: "typed" } as const;

/** Values of the format, what lies between them and around, and what no format holds. */
function probes(dtype: SmallFloat | "e8m0"): number[] {
  const bits = dtype === "e2m1" ? 16 : 256;
  const value = (pattern: number): number =>
    dtype === "e8m0" ? decodeE8m0(pattern) : decodeFloat(pattern, dtype);
  const held = Array.from({ length: bits }, (_, pattern) => value(pattern));
  const sorted = held.filter((each) => Number.isFinite(each)).sort((a, b) => a - b);
  const between = sorted.slice(1).map((each, i) => (each + sorted[i]!) / 2);
  const near = between.flatMap((each) => [each, each * (1 + 2 ** -20), each * (1 - 2 ** -20)]);
  const special = [0, -0, Infinity, -Infinity, NaN, 1e38, -1e38, 1e-45, 1e-40, -3, 2 ** -127];
  return [...held, ...near, ...special, 2 ** -126, 1.5 * 2 ** -127, 448, 464, 465, 61440];
}

describe.each(formats)("%s", (dtype) => {
  it("encodes f32 and f64 as the evaluator does", () => {
    for (const type of ["f32", "f64"] as const) {
      const run = compileExpr([encodeTiny(param("x", type), dtype)], typed);
      for (const probe of probes(dtype)) {
        const x = type === "f32" ? Math.fround(probe) : probe;
        expect([x, run({ param: () => x })[0]]).toEqual([x, encodeFloat(x, dtype)]);
      }
    }
  });

  it("rounds a double once", () => {
    const run = compileExpr([encodeTiny(param("x", "f64"), dtype)], typed);
    for (const probe of probes(dtype))
      for (const x of [probe * (1 + 2 ** -40), probe * (1 - 2 ** -40)])
        expect([x, run({ param: () => x })[0]]).toEqual([x, encodeFloat(x, dtype)]);
  });

  it("decodes every pattern", () => {
    const run = compileExpr([decodeTiny(param("x", "i32"), dtype)], typed);
    for (let pattern = 0; pattern < (dtype === "e2m1" ? 16 : 256); pattern++)
      expect(run({ param: () => pattern })[0]).toBe(decodeFloat(pattern, dtype));
  });
});

describe("e8m0", () => {
  it("encodes as the evaluator does", () => {
    const run = compileExpr([encodeTiny(param("x", "f32"), "e8m0")], typed);
    for (const probe of probes("e8m0")) {
      const x = Math.fround(probe);
      expect([x, run({ param: () => x })[0]]).toEqual([x, encodeE8m0(x)]);
    }
  });

  it("decodes every pattern", () => {
    const run = compileExpr([decodeTiny(param("x", "i32"), "e8m0")], typed);
    for (let pattern = 0; pattern < 256; pattern++)
      expect(run({ param: () => pattern })[0]).toBe(decodeE8m0(pattern));
  });
});
