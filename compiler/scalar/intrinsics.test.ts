import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addToOdd, erf, fma } from "./intrinsics.js";

describe("erf", () => {
  // To 20 digits by mpmath.
  test.each([
    [1e-300, 1.1283791670955126e-300],
    [1e-10, 1.1283791670955126e-10],
    [0.001, 0.0011283787909692365],
    [0.25, 0.27632639016823696],
    [0.5, 0.5204998778130465],
    [0.84375, 0.7672256612323416],
    [1, 0.8427007929497149],
    [1.25, 0.9229001282564583],
    [1.75, 0.9866716712191824],
    [2, 0.9953222650189527],
    [2.5, 0.999593047982555],
    [2.9999, 0.9999778955735178],
    [3, 0.9999779095030014],
    [3.5, 0.9999992569016276],
    [4.25, 0.9999999981494259],
    [5, 0.9999999999984626],
    [5.9, 0.9999999999999999],
  ])("of %f", (x, exact) => {
    expect(Math.abs(erf(x) - exact) / exact).toBeLessThan(3 * 2 ** -53);
    expect(erf(-x)).toBe(-erf(x));
  });

  test("of specials", () => {
    expect(erf(0)).toBe(0);
    expect(erf(-0)).toBe(-0);
    expect(erf(Infinity)).toBe(1);
    expect(erf(-Infinity)).toBe(-1);
    expect(erf(NaN)).toBeNaN();
  });
});

/** A double as an exact fraction significand / 2^1074. */
function exact(x: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const bits = view.getBigUint64(0);
  const field = (bits >> 52n) & 0x7ffn;
  const fraction = bits & (2n ** 52n - 1n);
  const size = field === 0n ? fraction : (fraction + 2n ** 52n) << (field - 1n);
  return x < 0 ? -size : size;
}

/** The next doubles up and down in size. */
function neighbours(x: number): number[] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const bits = view.getBigUint64(0);
  return [1n, -1n].flatMap((step) => {
    view.setBigUint64(0, BigInt.asUintN(64, bits + step));
    const next = view.getFloat64(0);
    return Number.isFinite(next) ? [next] : [];
  });
}

const distance = (a: bigint, b: bigint): bigint => (a > b ? a - b : b - a);

describe("fma", () => {
  test("is the double nearest to the exact result", () => {
    const double = fc.double({ noNaN: true, noDefaultInfinity: true });
    const near = fc.double({ noNaN: true, min: 0.5, max: 2 });
    const triple = fc.oneof(
      fc.tuple(double, double, double),
      fc.tuple(near, near, near),
      // Near cancellation: c is the rounded product.
      fc
        .tuple(near, near, fc.constantFrom(-1, -1 + 2 ** -52, 2 ** -60))
        .map(([a, b, s]) => [a, b, a * b * s] as const),
    );
    fc.assert(
      fc.property(triple, ([a, b, c]) => {
        const found = fma(a, b, c);
        const wanted = exact(a) * exact(b) + (exact(c) << 1074n);
        if (!Number.isFinite(found)) {
          expect(distance(wanted, 0n) >> 1074n >= exact(Number.MAX_VALUE)).toBe(true);
          return;
        }
        const error = distance(exact(found) << 1074n, wanted);
        for (const neighbour of neighbours(found))
          expect(distance(exact(neighbour) << 1074n, wanted) >= error).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("of specials", () => {
    expect(fma(Infinity, 0, 1)).toBeNaN();
    expect(fma(2, 3, -Infinity)).toBe(-Infinity);
    expect(fma(-0, 1, -0)).toBe(-0);
    expect(fma(1 + 2 ** -52, 1 + 2 ** -52, -1 - 2 ** -51)).toBe(2 ** -104);
  });
});

test("addToOdd keeps what rounding would lose", () => {
  expect(addToOdd(1, 2 ** -60)).toBe(1 + 2 ** -52);
  expect(addToOdd(1, -(2 ** -60))).toBe(1 - 2 ** -53);
  expect(addToOdd(-1, -(2 ** -60))).toBe(-1 - 2 ** -52);
  expect(addToOdd(1, 2)).toBe(3);
});
