import { describe, expect, it } from "vitest";
import { param } from "./build.js";
import { expandDouble } from "./doubles.js";
import { compileExpr } from "./evaluate.js";
import { binary, unary } from "./build.js";

const [x, y] = [param("x", "f64"), param("y", "f64")];
const specials = [0, -0, Infinity, -Infinity, NaN, 5e-324, 1e-310, 1, -1, 2, 0.5, 710, -746, 1e300];
const spread = Array.from({ length: 400 }, (_, i) => (i - 200) * 0.37 + 0.001);
const small = Array.from({ length: 100 }, (_, i) => 10 ** (-i / 6));
const probes = [...specials, ...spread, ...small, ...small.map((each) => -each)];

function expectClose(found: number, wanted: number, relative: number, what: string): void {
  const close =
    Object.is(found, wanted) ||
    (Number.isNaN(found) && Number.isNaN(wanted)) ||
    Math.abs(found - wanted) <= relative * Math.abs(wanted) + 5e-324;
  expect(close, `${what}: ${found}, expected ${wanted}`).toBe(true);
}

describe("f64 functions without libm", () => {
  it.each([
    ["exp", Math.exp],
    ["log", Math.log],
    ["log2", Math.log2],
    ["exp2", (v: number) => 2 ** v],
    ["tanh", Math.tanh],
  ] as const)("%s", (op, wanted) => {
    const run = compileExpr([expandDouble(new Set(), unary(op, x))!]);
    const bound = op === "exp2" ? 2 ** -42 : 2 ** -49;
    for (const probe of probes)
      expectClose(Number(run({ param: () => probe })[0]), wanted(probe), bound, `${op}(${probe})`);
  });

  it("pow", () => {
    const run = compileExpr([expandDouble(new Set(), binary("pow", x, y))!]);
    for (const a of [...specials.slice(0, 11), -3, -2.5, 7, 0.1])
      for (const b of [...specials.slice(0, 5), 1, -1, 2, 3, 0.5, -0.5, 10, 33.25]) {
        // JavaScript's own power of one and infinity is NaN.
        const wanted = a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b;
        const values: Record<string, number> = { x: a, y: b };
        const found = Number(run({ param: (name) => values[name]! })[0]);
        expectClose(found, wanted, 2 ** -40, `pow(${a}, ${b})`);
      }
  });

  it("leaves what a target has", () => {
    expect(expandDouble(new Set(["exp.f64"]), unary("exp", x))).toBeNull();
  });
});
