import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DType } from "../ir/dtype.js";
import * as build from "./build.js";
import { compileExpr } from "./evaluate.js";
import { primitive, primitiveNames, isPredicate, type PrimitiveName } from "./primitives.js";
import { castValue, limits, wrapInteger, type Value } from "./round.js";

const integers: DType[] = ["i4", "i8", "i32", "i64", "u2", "u8", "u32", "u64"];

function inRange(dtype: DType): fc.Arbitrary<bigint> {
  const [least, most] = limits(dtype).map(BigInt) as [bigint, bigint];
  const any = fc.bigInt({ min: least, max: most });
  const few = fc.bigInt({ min: least > -4n ? least : -4n, max: most < 9n ? most : 9n });
  return fc.oneof(any, few, fc.constantFrom(least, most));
}

/** The expression of a primitive on parameters of one type, compiled. */
function compiled(name: PrimitiveName, dtype: DType): (values: readonly Value[]) => Value {
  const types = Array.from({ length: primitive(name).arity }, (_, i) =>
    name === "select" && i === 0 ? "bool" : dtype,
  );
  const args = types.map((type, i) => build.param(`p${i}`, type));
  const run = compileExpr([primitive(name).apply(args)], { round: "typed" });
  return (values) => run({ param: (param) => values[Number(param.slice(1))]! })[0]!;
}

const ofFloats = primitiveNames.filter(
  (name) => !["and", "or", "xor", "shl", "shr", "not"].includes(name),
);
const boolean: PrimitiveName[] = ["identity", "not", "and", "or", "xor", "eq", "ne", "select"];

describe.each(integers)("%s: expression and evaluation agree", (dtype) => {
  test.each(primitiveNames)("%s", (name) => {
    const run = compiled(name, dtype);
    const fn = primitive(name);
    const first = name === "select" ? fc.constantFrom(0n, 1n) : inRange(dtype);
    const rest = Array.from({ length: fn.arity - 1 }, () => inRange(dtype));
    fc.assert(
      fc.property(fc.tuple(first, ...rest), (values) => {
        const result = fn.evaluate(...values);
        const wanted = typeof result === "boolean" ? Number(result) : wrapInteger(result, dtype);
        expect(run(values)).toBe(wanted);
      }),
      { numRuns: 150 },
    );
  });
});

test.each(ofFloats)("f64: %s agrees", (name) => {
  const run = compiled(name, "f64");
  const fn = primitive(name);
  const value = fc.oneof(
    fc.double(),
    fc.constantFrom(0, -0, 1, -1, 0.5, -2.5, NaN, Infinity, -Infinity),
  );
  const condition = name === "select" ? fc.constantFrom(0, 1) : value;
  fc.assert(
    fc.property(
      fc.tuple(condition, ...Array.from({ length: fn.arity - 1 }, () => value)),
      (values) => {
        expect(run(values)).toBe(Number(fn.evaluate(...values)));
      },
    ),
  );
});

test.each(boolean)("bool: %s agrees", (name) => {
  const run = compiled(name, "bool");
  const fn = primitive(name);
  for (let bits = 0; bits < 2 ** fn.arity; bits++) {
    const values = Array.from({ length: fn.arity }, (_, i) => (bits >> i) & 1);
    expect(run(values)).toBe(Number(fn.evaluate(...values)));
  }
});

describe("meanings", () => {
  const call = (name: PrimitiveName, ...args: Value[]): unknown =>
    primitive(name).evaluate(...args);

  test("division of integers truncates, of floats does not", () => {
    expect([call("div", -7n, 2n), call("div", 7n, 0n), call("div", -7, 2)]).toEqual([
      -3n,
      0n,
      -3.5,
    ]);
    expect(castValue(call("div", -(2n ** 31n), -1n) as bigint, "i64", "i32")).toBe(-(2 ** 31));
  });

  test("mod has the divisor's sign, fmod the dividend's", () => {
    expect([call("mod", -7n, 3n), call("fmod", -7n, 3n)]).toEqual([2n, -1n]);
    expect([call("mod", -7.5, 2), call("fmod", -7.5, 2)]).toEqual([0.5, -1.5]);
  });

  test("powers of integers", () => {
    expect([call("pow", 3n, 4n), call("pow", 2n, -1n), call("pow", -1n, -3n)]).toEqual([
      81n,
      0n,
      -1n,
    ]);
  });

  test("clip lets the upper bound win", () => {
    expect([call("clip", 5, 0, 3), call("clip", 5, 4, 3), call("clip", NaN, 0, 1)]).toEqual([
      3,
      3,
      NaN,
    ]);
  });

  test("predicates give booleans", () => {
    for (const name of primitiveNames.filter(isPredicate))
      expect(typeof call(name, 1, 2)).toBe("boolean");
    expect([call("gt", 2, 1), call("is_nan", NaN), call("is_inf", -Infinity)]).toEqual([
      true,
      true,
      true,
    ]);
  });

  test("rounding takes ties to even", () => {
    expect([0.5, 1.5, -2.5].map((x) => call("round", x))).toEqual([0, 2, -2]);
  });
});

test("one object per name", () => {
  expect(primitive("add")).toBe(primitive("add"));
  expect(new Set(primitiveNames.map((name) => primitive(name).key)).size).toBe(
    primitiveNames.length,
  );
});
