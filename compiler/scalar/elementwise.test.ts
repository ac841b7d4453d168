import { describe, expect, test } from "vitest";
import * as build from "./build.js";
import { elementwise } from "./elementwise.js";
import { compileExpr } from "./evaluate.js";
import * as farrier from "./functions.js";
import { erf, sigmoid } from "./functions.js";
import { legalise } from "./legalise.js";

describe("a user's function", () => {
  const swiglu = elementwise((gate, up) => (gate / (1 + Math.exp(-gate))) * up);

  test("has its arity, and its own body as the oracle", () => {
    expect(swiglu.arity).toBe(2);
    expect(swiglu.evaluate(1.5, -2)).toBe((1.5 / (1 + Math.exp(-1.5))) * -2);
  });

  test("is known by what it computes", () => {
    const same = elementwise(function named(a: number, b: number): number {
      const e = Math.exp(-a);
      return (a / (1 + e)) * b;
    });
    expect(same.key).toBe(swiglu.key);
    expect(same.name).toBe("named");
    expect(elementwise((a, b) => (a / (1 + Math.exp(-a))) * a + 0 * b).key).not.toBe(swiglu.key);
  });

  test("computes in the type of its arguments", () => {
    const args = [build.param("acc0", "f32"), build.param("acc1", "f32")];
    const run = compileExpr(legalise([swiglu.apply(args)], new Set(["fma"])), { round: "typed" });
    const [found] = run({ param: (name) => (name === "acc0" ? 1.5 : -2) });
    expect(swiglu.apply(args).type).toBe("f32");
    expect(Math.abs(Number(found) - Number(swiglu.evaluate(1.5, -2)))).toBeLessThan(1e-6);
  });

  test("its parameters may be called as the arguments", () => {
    const [x, y] = [build.param("x", "f32"), build.param("y", "f32")];
    expect(elementwise((x, y) => x - y).apply([y, x])).toBe(build.sub(y, x));
  });

  test("Math.fround rounds in a double, and is nothing in an f32", () => {
    const rounded = elementwise((x) => Math.fround(x) + x);
    const [x32, x64] = [build.param("x", "f32"), build.param("x", "f64")];
    expect(rounded.apply([x32])).toBe(build.add(x32, x32));
    expect(rounded.apply([x64])).toBe(build.add(build.cast(build.cast(x64, "f32"), "f64"), x64));
  });

  test("may call what farrier exports, imported by name or as a module", () => {
    const direct = elementwise((x) => x * sigmoid(x) + erf(x));
    expect(elementwise((x) => x * farrier.sigmoid(x) + farrier.erf(x)).key).toBe(direct.key);
  });
});

describe("is refused", () => {
  test("with a variable of its surroundings", () => {
    const slope = 0.1;
    expect(() => elementwise((x) => (x < 0 ? slope * x : x))).toThrow(
      /`slope`, a variable from outside/,
    );
  });

  test("with a name that means something else here", () => {
    const tanh = (x: number): number => x / 2;
    expect(() => elementwise((x) => tanh(x) + 1)).toThrow(
      /the function gives .* and its text .*rename it/,
    );
  });

  test("without a text", () => {
    expect(() => elementwise(Math.exp)).toThrow(/native or bound function/);
    expect(() => elementwise(sigmoid.bind(null))).toThrow(/native or bound function/);
  });
});
