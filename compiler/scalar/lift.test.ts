import { describe, expect, test } from "vitest";
import { FarrierError } from "../errors.js";
import { evaluateExpr } from "./evaluate.js";
import { liftFunction, liftModule } from "./lift.js";
import { builtinTree, isBuiltin } from "./table.js";
import { parseTree, serialiseTree } from "./tree.js";

const resolve = (name: string) => (isBuiltin(name) ? builtinTree(name) : null);
const lift = (text: string) => liftFunction(text, { source: "f", resolve });

function value(text: string, ...args: number[]): number {
  const { params, tree } = lift(text);
  return Number(evaluateExpr([tree], { param: (name) => args[params.indexOf(name)]! })[0]);
}

describe("what can be lifted", () => {
  test.each<[string, number[], number]>([
    ["(x) => x * 2 - 1 / 4", [3], 5.75],
    ["x => { const y = x + 1; const z = y * y; return z; }", [2], 9],
    ["function f(a, b) { 'use strict'; return a % b; }", [-7.5, 2], -1.5],
    ["(x) => (x > 0 && x <= 2 ? 1 : !(x !== -1) || x === 5 ? 2 : 3)", [-1], 2],
    ["(x) => { if (x < 0) return -x; else if (x < 1) { return 0; } return x; }", [0.5], 0],
    ["(x) => { if (x < 0) { return 1; } const y = x * 3; return y; }", [2], 6],
    ["(x) => { { const y = x; return y + 1; } }", [2], 3],
    ["(x: number, y: number): number => (x as number) ** y!", [2, 10], 1024],
    ["(x) => Math.max(x, 1, 2) + Math.min(x, -1)", [0], 1],
    [
      "(x) => Math.PI * x + Math.LN2 * Math.SQRT1_2 + Number.EPSILON",
      [0],
      Math.LN2 * Math.SQRT1_2 + 2 ** -52,
    ],
    ["(x) => 0x10 + 1_000 + .5e1 + x", [0], 1021],
    ["(x) => (Number.isNaN(x) ? 1 : isFinite(x) ? 2 : 3)", [-Infinity], 3],
    ["(x) => Math.fround(x)", [0.1], Math.fround(0.1)],
    ["(x) => -x > -Infinity ? +x : NaN", [4], 4],
    ["(x) => erf(x) + sigmoid(0 * x) + fma(x, 2, 3)", [0], 3.5],
    ["(x) => (0, import_farrier.erf)(x) + __vi_import_0__.silu(x)", [0], 0],
    ["(x) => Math.sinh(x) + Math.acosh(1 + 0 * x)", [1], Math.sinh(1)],
  ])("%s", (text, args, wanted) => {
    expect(value(text, ...args)).toBeCloseTo(wanted, 12);
  });

  test.each([
    0.5,
    -0.5,
    1.5,
    2.5,
    -1.5,
    -2.5,
    0.49999999999999994,
    -0.2,
    -0,
    1e300,
    -Infinity,
    NaN,
    3,
  ])("Math.round(%f) takes ties up, as JavaScript", (x) => {
    expect(value("(x) => Math.round(x)", x)).toBe(Math.round(x));
  });

  test.each(["expm1", "log1p", "sign", "trunc", "tan", "log10", "tanh", "atan", "asinh", "cosh"])(
    "Math.%s",
    (name) => {
      const member = (v: number): number => Math[name as "expm1"](v);
      for (const x of [-0.9, -1e-10, 0, 1e-17, 0.3, 2, 30].filter((x) => name !== "log10" || x > 0))
        expect(Math.abs(value(`(x) => Math.${name}(x)`, x) - member(x))).toBeLessThanOrEqual(
          1e-14 * Math.abs(member(x)),
        );
    },
  );

  test("literals are folded in double precision", () => {
    expect(serialiseTree(lift("(x) => x * Math.sqrt(2 / Math.PI)"))).toBe(
      `param 0;const ${Math.sqrt(2 / Math.PI)};mul 0 1`,
    );
  });

  test("names of parameters and spelling do not matter", () => {
    const one = serialiseTree(lift("(gate, up) => gate / (1 + Math.exp(-gate)) * up"));
    const two = serialiseTree(
      lift("function g(a, b) { const e = Math.exp(-a); return (a / (1 + e)) * b; }"),
    );
    expect(two).toBe(one);
  });

  test("a callee's parameters may be called as the caller's", () => {
    expect(value("(bias, x, lambda) => shrink(bias, lambda, x)", 5, 1, 2)).toBe(3);
  });

  test("text and tree are the same", () => {
    const lifted = lift(
      "(x, y) => (x > -0 ? Math.fround(x) : NaN) + fma(x, y, 1e-300) * (y < 1 || x === 2 ? 1 : Infinity)",
    );
    expect(parseTree(serialiseTree(lifted), lifted.params)).toBe(lifted.tree);
  });
});

describe("what cannot be lifted is refused with its place", () => {
  test.each([
    ["(x) => x * k", "1:12", "`k`, a variable from outside the function,"],
    ["(x) => {\n  let s = 0;\n  return s + x;\n}", "2:3", "declare it with const"],
    ["(x) => {\n  for (;;) {}\n}", "2:3", "a loop"],
    ["(x) => {\n  while (x > 0) return x;\n  return 0;\n}", "2:3", "a loop"],
    ["(x) => { x += 1; return x; }", "1:10", "the assignment `x += 1`"],
    ["(x) => x++", "1:8", "the assignment `x++`"],
    ["(x) => helper(x)", "1:8", "the call of `helper`"],
    ["(x) => Math.random() * x", "1:8", "the call of `Math.random`"],
    ["(x) => Math.hypot(x, 1)", "1:8", "the call of `Math.hypot`"],
    ["(x) => x.toFixed", "1:8", "the property `x.toFixed`"],
    ["(x) => x.toFixed(2)", "1:8", "the call of `x`, a number,"],
    ["async (x) => x", "1:1", "an async function"],
    ["function* f(x) { return x; }", "1:1", "a generator"],
    ["(x, y = 2) => x * y", "1:5", "the default of `y = 2`"],
    ["({ x }) => x", "1:2", "a destructured parameter"],
    ["([x]) => x", "1:2", "a destructured parameter"],
    ["(...x) => 1", "1:2", "a rest parameter"],
    ["() => 1", "1:1", "a function without parameters"],
    ["(x: string) => 1", "1:2", "parameters are numbers"],
    ["(x?: number) => 1", "1:2", "parameters are numbers"],
    ["(x): boolean => x > 1", "1:6", "a result of type `boolean`"],
    ["(x) => x > 1", "1:8", "a result that is a condition"],
    ["(x) => x || 1", "1:8", "the number `x` as a condition"],
    ["(x) => (x > 1) + 1", "1:8", "the condition `(x > 1)` as a number"],
    ["(x) => (x > 1 ? x : x > 0)", "1:9", "a choice between a number and a condition"],
    ["(x) => x | 0", "1:8", "the operator `|`"],
    ["(x) => ~x", "1:8", "the operator of `~x`"],
    ["(x) => x ?? 1", "1:8", "the operator `??`"],
    ["(x) => `${x}`", "1:8", "TemplateExpression"],
    ["(x) => [x][0]", "1:8", "ElementAccessExpression"],
    ["(x) => 1n", "1:8", "BigIntLiteral"],
    ["(x) => Math.max(...x)", "1:17", "a spread argument"],
    ["(x) => Math.max()", "1:8", "without arguments"],
    ["(x) => Math.exp(x, 1)", "1:8", "gives 2 arguments instead of 1"],
    ["(x) => silu(x, 1)", "1:8", "gives 2 arguments instead of 1"],
    ["function f(x) { return x > 1 ? f(x - 1) : x; }", "1:32", "the recursion of `f`"],
    ["(x) => { if (x > 1) { const y = x; } return x; }", "1:10", "branch does not return"],
    ["(x) => { if (x > 1) return x; }", "1:1", "may end without a result"],
    ["(x) => { return; }", "1:10", "a return without a value"],
    ["(x) => { Math.exp(x); return x; }", "1:10", "has no effect here"],
    ["(x) => { throw x; }", "1:10", "ThrowStatement"],
    ["(x) => { switch (x) { default: return x; } }", "1:10", "SwitchStatement"],
    ["(x) => { const { y } = x; return y; }", "1:16", "bind one name to one value"],
    ["(x) => (y => y)(x)", "1:8", "call Math or a function of farrier by name"],
    ["(x) => Math.exp?.(x)", "1:8", "call Math or a function of farrier by name"],
    ["(x) => this.k * x", "1:8", "the property `this.k`"],
    ["(x) => await x", "1:8", ""],
  ])("%s", (text, place, what) => {
    let caught: unknown;
    try {
      lift(text);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(FarrierError);
    const error = caught as FarrierError;
    expect(error.code).toBe("E_SCALAR_LIFT");
    expect(error.exitStatus).toBe(2);
    if (what !== "") {
      expect(error.place.where).toBe(`f ${place}`);
      expect(error.message).toContain(what);
    }
  });

  test("text that does not parse, and functions without a text", () => {
    expect(() => lift("(x) => {")).toThrow(/does not parse/);
    expect(() => lift("function exp() { [native code] }")).toThrow(/native or bound function/);
    expect(() => lift("class A {}")).toThrow(/not an arrow function/);
    expect(() => lift("method(x) { return x; }")).toThrow(/E_SCALAR_LIFT/);
  });
});

test("a module's functions may call each other in any order, not themselves", () => {
  const lifted = liftModule(
    "export function f(x: number) { return g(x) + 1; }\nfunction g(y: number) { return y * 2; }",
  );
  expect([...lifted.keys()]).toEqual(["f"]);
  expect(serialiseTree(lifted.get("f")!)).toBe("param 0;const 2;mul 0 1;const 1;add 2 3");
  expect(() =>
    liftModule(
      "export function f(x: number) { return g(x); }\nfunction g(y: number) { return f(y); }",
    ),
  ).toThrow(/the call of `f`/);
});
