import { describe, expect, test } from "vitest";
import type { DType } from "../ir/dtype.js";
import * as build from "./build.js";
import { compileExpr, evaluateExpr, type Value } from "./evaluate.js";
import type { BinaryOp, Expr } from "./expr.js";

const a = (type: DType): Expr => build.param("a", type);
const b = (type: DType): Expr => build.param("b", type);

function binary(op: BinaryOp, type: DType, x: Value, y: Value): Value {
  const env = { param: (name: string) => (name === "a" ? x : y) };
  return evaluateExpr([build.binary(op, a(type), b(type))], env)[0]!;
}

describe("floats", () => {
  const sum = build.add(build.mul(a("f32"), b("f32")), build.constant(1, "f32"));
  const env = { param: (name: string) => Math.fround(name === "a" ? 1 / 3 : 0.7) };

  test("are doubles by default", () => {
    expect(evaluateExpr([sum], env)).toEqual([Math.fround(1 / 3) * Math.fround(0.7) + 1]);
  });

  test("are rounded after each operation where asked", () => {
    const product = Math.fround(Math.fround(1 / 3) * Math.fround(0.7));
    expect(evaluateExpr([sum], env, { round: "typed" })).toEqual([Math.fround(product + 1)]);
  });

  test("fma rounds once", () => {
    const x = Math.fround(1 + 2 ** -23);
    const node = build.fma(a("f32"), a("f32"), build.constant(-1 - 2 ** -22, "f32"));
    expect(evaluateExpr([node], { param: () => x }, { round: "typed" })).toEqual([2 ** -46]);
  });

  test("min and max pass NaN on", () => {
    expect(binary("max", "f32", NaN, 1)).toBeNaN();
    expect(binary("min", "f32", 1, NaN)).toBeNaN();
    expect(binary("max", "f32", -0, 0)).toBe(0);
  });

  test("mod is C's fmod, pow is C's pow", () => {
    expect(binary("mod", "f64", -7.5, 2)).toBe(-1.5);
    expect(binary("pow", "f64", 1, NaN)).toBe(1);
    expect(binary("pow", "f64", -1, Infinity)).toBe(1);
    expect(binary("pow", "f64", -8, 1 / 3)).toBeNaN();
  });

  test("comparisons with NaN are false, but for ne", () => {
    expect((["lt", "le", "eq", "ne"] as const).map((op) => binary(op, "f32", NaN, NaN))).toEqual([
      0, 0, 0, 1,
    ]);
  });
});

describe("integers", () => {
  test("wrap to their type", () => {
    expect(binary("add", "i32", 2 ** 31 - 1, 1)).toBe(-(2 ** 31));
    expect(binary("mul", "u8", 200, 2)).toBe(144);
    expect(binary("sub", "u32", 0, 1)).toBe(2 ** 32 - 1);
    expect(binary("mul", "u64", 2n ** 63n, 2)).toBe(0);
    expect(binary("add", "i64", 2n ** 63n - 1n, 1)).toBe(-(2n ** 63n));
  });

  test("are exact beyond 2^53", () => {
    expect(binary("mul", "i64", 3037000499, 3037000499)).toBe(9223372030926249001n);
    expect(binary("div", "i64", 2n ** 62n + 1n, 2)).toBe(2n ** 61n);
    expect(binary("mod", "i64", -(2n ** 62n) - 1n, 5)).toBe(0);
  });

  test("div and mod round down, and a zero divisor gives 0", () => {
    expect([binary("div", "i32", -7, 2), binary("mod", "i32", -7, 2)]).toEqual([-4, 1]);
    expect([binary("div", "i32", 7, -2), binary("mod", "i32", 7, -2)]).toEqual([-4, -1]);
    expect([binary("div", "i32", 7, 0), binary("mod", "i32", 7, 0)]).toEqual([0, 0]);
  });

  test("bits: counts outside the type shift everything out", () => {
    expect(binary("shl", "u32", 3, 31)).toBe(2 ** 31);
    expect(binary("shl", "i32", 1, 32)).toBe(0);
    expect(binary("shr", "i32", -8, 1)).toBe(-4);
    expect(binary("shr", "i32", -8, 40)).toBe(-1);
    expect(binary("shr", "u32", 2 ** 32 - 1, 31)).toBe(1);
    expect(binary("shr", "u64", 2n ** 64n - 1n, 64)).toBe(0);
    expect(binary("xor", "u32", 2 ** 32 - 1, 1)).toBe(2 ** 32 - 2);
    expect(binary("and", "i64", -1, 2n ** 62n)).toBe(2n ** 62n);
    const not = build.not(a("u8"));
    expect(evaluateExpr([not], { param: () => 5 })).toEqual([250]);
  });
});

test("bitcasts keep bits", () => {
  const cast = (value: Value, from: DType, to: DType): Value =>
    evaluateExpr([build.bitcast(a(from), to)], { param: () => value })[0]!;
  expect(cast(1, "f32", "i32")).toBe(0x3f800000);
  expect(cast(0x7f800000, "i32", "f32")).toBe(Infinity);
  expect(cast(-2, "f64", "i64")).toBe(-(2n ** 62n));
  expect(cast(0x3c00, "u16", "f16")).toBe(1);
});

describe("select", () => {
  const inside = build.lt(a("i64"), build.int(3));
  const guarded = build.select(inside, build.load("x", a("i64"), "f32"), build.constant(-1, "f32"));

  test("evaluates the taken arm only", () => {
    const evaluate = compileExpr([guarded]);
    const reads: number[] = [];
    const load = (_: string, offset: number): number => {
      reads.push(offset);
      return offset / 2;
    };
    expect(evaluate({ param: () => 1, load })).toEqual([0.5]);
    expect(evaluate({ param: () => 7, load })).toEqual([-1]);
    expect(reads).toEqual([1]);
  });

  test("nests to any depth", () => {
    let deep = guarded;
    for (let i = 0; i < 4000; i++)
      deep = build.select(
        build.eq(a("i64"), build.int(-i - 1)),
        build.constant(i, "f32"),
        build.add(deep, build.constant(1, "f32")),
      );
    expect(evaluateExpr([deep], { param: () => 2, load: () => 5 })).toEqual([4005]);
  });
});

test("a failed check reports its site and reads element 0", () => {
  const index = build.check(a("i64"), build.int(4), 3);
  const node = build.load("x", index, "i32");
  const sites: number[] = [];
  const env = (value: Value) => ({
    param: () => value,
    load: (_: string, offset: number) => 10 + offset,
    fail: (site: number) => void sites.push(site),
  });
  expect([2, 4, -1, 2n ** 60n].map((value) => evaluateExpr([node], env(value))[0])).toEqual([
    12, 10, 10, 10,
  ]);
  expect(sites).toEqual([3, 3, 3]);
  expect(() => evaluateExpr([index], { param: () => 4 })).toThrow(
    /index 4 is outside \[0, 4\) at site 3/,
  );
});

test("what the environment lacks is named", () => {
  expect(() => evaluateExpr([build.load("w", build.zero, "f32")], {})).toThrow(/buffer w/);
  expect(() => evaluateExpr([a("f32")], {})).toThrow(/parameter a/);
});
