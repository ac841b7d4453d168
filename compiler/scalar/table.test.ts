import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { param } from "./build.js";
import { compileExpr } from "./evaluate.js";
import { postorder } from "./expr.js";
import { generatedPath, generateLifted } from "./lift-builtins.js";
import { primitiveNames } from "./primitives.js";
import { builtin, builtinNames, builtinTree, isBuiltin, scalarFunction } from "./table.js";

// First, before another test lifts anything.
test("built-in functions do not load ts-morph", () => {
  for (const name of builtinNames) builtinTree(name);
  const loaded = Object.keys(createRequire(import.meta.url).cache);
  expect(loaded.filter((path) => path.includes("ts-morph"))).toEqual([]);
});

test("lifted.generated.ts is what functions.ts gives: else run lift-builtins.ts", () => {
  expect(readFileSync(generatedPath, "utf8")).toBe(generateLifted());
});

describe.each(builtinNames)("%s", (name) => {
  const fn = builtin(name);

  test("its tree computes what its body does", () => {
    const { params, tree } = builtinTree(name);
    expect(params).toHaveLength(fn.arity);
    const run = compileExpr([tree]);
    for (const x of [
      -1e4,
      -700,
      -30,
      -5,
      -1,
      -0.3,
      -1e-8,
      -0,
      0,
      1e-8,
      0.2,
      0.9,
      1,
      2,
      11,
      50,
      700,
      1e4,
      NaN,
    ]) {
      const given = params.map((_, i) => (i === 0 ? x : 0.7 + i));
      const wanted = Number(fn.evaluate(...given));
      const found = Number(run({ param: (each) => given[params.indexOf(each)]! })[0]);
      if (found !== wanted && !Number.isNaN(wanted))
        expect(Math.abs(found - wanted)).toBeLessThanOrEqual(1e-14 * Math.abs(wanted));
      else expect(found).toBe(wanted);
    }
  });

  test.each(["f32", "f64"] as const)("instantiated in %s, everything is", (type) => {
    const args = Array.from({ length: fn.arity }, (_, i) => param(`p${i}`, type));
    const types = new Set<string>();
    postorder([fn.apply(args)], (node) => types.add(node.type));
    expect([...types].filter((each) => each !== type && each !== "bool")).toEqual([]);
  });
});

describe("values", () => {
  const close = (name: Parameters<typeof builtin>[0], args: number[], wanted: number): void => {
    const found = Number(builtin(name).evaluate(...args));
    if (found !== wanted) expect(Math.abs(found - wanted) / Math.abs(wanted)).toBeLessThan(1e-14);
  };

  test.each(["atan", "asin", "acos", "asinh", "atanh", "sinh", "cosh", "acosh"] as const)(
    "%s is Math's",
    (name) => {
      for (const x of [
        -0.999,
        -0.5,
        -0.42,
        -1e-9,
        -0,
        0,
        1e-20,
        0.3,
        0.41421,
        0.7,
        1,
        1.5,
        2.5,
        30,
        600,
        1e10,
        1e200,
        Infinity,
      ]) {
        const wanted = Math[name](x);
        if (Number.isNaN(wanted)) expect(builtin(name).evaluate(x)).toBeNaN();
        else if (name !== "acosh" || x === 1 || x > 1.1) close(name, [x], wanted);
      }
    },
  );

  // By mpmath, to 17 digits.
  test("activations", () => {
    close("gelu_erf", [1], 0.8413447460685429);
    close("gelu_tanh", [1], 0.8411919906082768);
    close("silu", [-2], -0.23840584404423515);
    close("softplus", [-40], 4.248354255291589e-18);
    close("softplus", [1000], 1000);
    close("mish", [1.5], 1.4033782663958025);
    close("elu", [-1, 1], -0.6321205588285577);
    close("soft_cap", [100, 30], 29.92373902421512);
    close("hard_swish", [1], 2 / 3);
  });
});

test("names", () => {
  expect(isBuiltin("toString")).toBe(false);
  expect(builtinNames.filter((name) => (primitiveNames as string[]).includes(name))).toEqual([]);
  expect(scalarFunction("add")).not.toBe(scalarFunction("silu"));
  expect(scalarFunction("silu")).toBe(builtin("silu"));
});
