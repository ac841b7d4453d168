import { describe, expect, test } from "vitest";
import { param } from "./build.js";
import { compileExpr } from "./evaluate.js";
import { postorder, type Expr } from "./expr.js";
import { erf } from "./intrinsics.js";
import { legalise } from "./legalise.js";
import { primitive } from "./primitives.js";
import { builtin, builtinNames, type BuiltinName } from "./table.js";

const x = param("x", "f32");
const y = param("y", "f32");
const targets = {
  bare: new Set<string>(),
  c: new Set(["fma", "floor", "ceil", "round", "trunc"]),
};

/** Units in the last place of the f32 nearest to `exact`; below the normal range, of 2^-126. */
function ulps(found: number, exact: number): number {
  if (Number.isNaN(found) || Number.isNaN(exact)) return Number.isNaN(found) && Number.isNaN(exact) ? 0 : Infinity;
  const rounded = Math.fround(exact);
  if (found === rounded) return 0;
  if (!Number.isFinite(found) || !Number.isFinite(rounded)) return Infinity;
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(exact))));
  return Math.abs(found - exact) / 2 ** (exponent - 23);
}

/** `count` f32 inputs from low to high, geometric on each side of zero where they differ in sign. */
function spread(low: number, high: number, count: number): number[] {
  const inputs: number[] = [];
  const linear = (i: number): number => low + ((high - low) * i) / count;
  for (let i = 0; i <= count; i++) inputs.push(Math.fround(linear(i)));
  for (let i = 0; i < count; i++) {
    const size = 2 ** (-30 + (Math.log2(Math.max(Math.abs(low), Math.abs(high))) + 30) * (i / count));
    for (const value of [size, -size]) if (value >= low && value <= high) inputs.push(Math.fround(value));
  }
  return inputs;
}

function worst(
  tree: Expr,
  native: ReadonlySet<string>,
  inputs: readonly number[],
  exact: (x: number) => number,
  error: (found: number, exact: number) => number = ulps,
): { error: number; at: number } {
  const evaluate = compileExpr(legalise([tree], native), { round: "typed" });
  let result = { error: 0, at: NaN };
  for (const input of inputs) {
    const found = Number(evaluate({ param: () => input })[0]);
    const size = error(found, exact(input));
    if (!(size <= result.error)) result = { error: size, at: input };
  }
  return result;
}

interface Case {
  readonly low: number;
  readonly high: number;
  readonly bound: number;
  readonly exact: (x: number) => number;
  /** Inputs besides: where it turns, over- and underflows, and is not a number. */
  readonly special?: readonly number[];
  /** Finite inputs larger than this are not asked for. */
  readonly limit?: number;
}

const everywhere = [0, -0, Infinity, -Infinity, NaN, 1e-45, -1e-45, 1.1754943508222875e-38, 3.4028234663852886e38, -3.4028234663852886e38, 1, -1, 0.5].map(Math.fround);

const cases: Partial<Record<BuiltinName, Case>> = {
  exp: { low: -104, high: 89, bound: 1.5, exact: Math.exp, special: [88.72283, 88.72284, -103.97, -103.98, -87.33655] },
  exp2: { low: -151, high: 129, bound: 1.5, exact: (v) => 2 ** v, special: [127.99999, 128, -149, -149.5, -150] },
  log: { low: 1e-40, high: 3e38, bound: 2, exact: Math.log, special: [0.6666666, 0.6666667, 1.3333333, 0.99999994, 1.0000001] },
  log2: { low: 1e-40, high: 3e38, bound: 2.5, exact: Math.log2, special: [2, 4, 8, 0.25, 0.99999994, 1.0000001] },
  sin: { low: -1e5, high: 1e5, bound: 2, limit: 2 ** 28, exact: Math.sin, special: [3.1415927, 6.2831855, 31415.926, 99999.99] },
  cos: { low: -1e5, high: 1e5, bound: 2, limit: 2 ** 28, exact: Math.cos, special: [1.5707964, 4.712389, 47123.89, 2 ** 27] },
  tanh: { low: -10, high: 10, bound: 3, exact: Math.tanh, special: [0.625, 0.62499994, -0.625] },
  erf: { low: -5, high: 5, bound: 3, exact: erf, special: [0.925, 0.92499995, 1e10] },
  sigmoid: { low: -87, high: 100, bound: 3, exact: builtin("sigmoid").evaluate as (v: number) => number },
};

describe.each(Object.entries(targets))("f32 on a target with what %s has", (name, native) => {
  test.each(Object.entries(cases))("%s", (fn, { low, high, bound, exact, special = [], limit = Infinity }) => {
    const inputs = [...spread(low, high, 15_000), ...spread(-2, 2, 15_000), ...everywhere, ...special.map(Math.fround)]
      .filter((input) => !(Math.abs(input) > limit) || !Number.isFinite(input))
      .filter((input) => fn !== "sigmoid" || !(input < -87) || input === -Infinity);
    const found = worst(builtin(fn as BuiltinName).apply([x]), native, inputs, exact);
    console.log(`${name} ${fn}: ${found.error.toFixed(3)} ulp at ${found.at}`);
    expect(found.error).toBeLessThanOrEqual(bound);
  });

  test.each(["silu", "gelu_tanh"] as const)("%s is relatively accurate", (fn) => {
    const relative = (found: number, exact: number): number =>
      Math.abs(exact) < 1e-36 ? (Math.abs(found) < 1e-35 ? 0 : Infinity) : Math.abs(found - exact) / Math.abs(exact);
    // The double-precision form of GELU cancels too: its reference is 1 + tanh(u) as 2/(1 + e^-2u).
    const exact = (v: number): number =>
      fn === "silu"
        ? v / (1 + Math.exp(-v))
        : v / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    const inputs = [...spread(-9, 9, 15_000), 0, -0];
    const found = worst(builtin(fn).apply([x]), native, inputs, exact, relative);
    console.log(`${name} ${fn}: ${found.error.toExponential(2)} at ${found.at}`);
    expect(found.error).toBeLessThanOrEqual(fn === "silu" ? 1e-6 : 1e-5);
  });
});
