import { describe, expect, test } from "vitest";
import { power } from "./arithmetic.js";
import * as build from "./build.js";
import { compileExpr } from "./evaluate.js";
import { postorder, type Expr } from "./expr.js";
import { erf } from "./intrinsics.js";
import { legalise } from "./legalise.js";
import { primitive } from "./primitives.js";
import { builtin, builtinNames, type BuiltinName } from "./table.js";

const x = build.param("x", "f32");
const y = build.param("y", "f32");
const targets = {
  bare: new Set<string>(),
  c: new Set(["fma", "floor", "ceil", "round", "trunc"]),
};

/** Units in the last place of the f32 nearest to `exact`; below the normal range, of 2^-126. */
function ulps(found: number, exact: number): number {
  if (Number.isNaN(found) || Number.isNaN(exact))
    return Number.isNaN(found) && Number.isNaN(exact) ? 0 : Infinity;
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
    const size =
      2 ** (-30 + (Math.log2(Math.max(Math.abs(low), Math.abs(high))) + 30) * (i / count));
    for (const value of [size, -size])
      if (value >= low && value <= high) inputs.push(Math.fround(value));
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

const everywhere = [
  0,
  -0,
  Infinity,
  -Infinity,
  NaN,
  1e-45,
  -1e-45,
  1.1754943508222875e-38,
  3.4028234663852886e38,
  -3.4028234663852886e38,
  1,
  -1,
  0.5,
].map(Math.fround);

const cases: Partial<Record<BuiltinName, Case>> = {
  exp: {
    low: -104,
    high: 89,
    bound: 1.5,
    exact: Math.exp,
    special: [88.72283, 88.72284, -103.97, -103.98, -87.33655],
  },
  exp2: {
    low: -151,
    high: 129,
    bound: 1.5,
    exact: (v) => 2 ** v,
    special: [127.99999, 128, -149, -149.5, -150],
  },
  log: {
    low: 1e-40,
    high: 3e38,
    bound: 2,
    exact: Math.log,
    special: [0.6666666, 0.6666667, 1.3333333, 0.99999994, 1.0000001],
  },
  log2: {
    low: 1e-40,
    high: 3e38,
    bound: 2.5,
    exact: Math.log2,
    special: [2, 4, 8, 0.25, 0.99999994, 1.0000001],
  },
  sin: {
    low: -1e5,
    high: 1e5,
    bound: 2,
    limit: 2 ** 28,
    exact: Math.sin,
    special: [3.1415927, 6.2831855, 31415.926, 99999.99],
  },
  cos: {
    low: -1e5,
    high: 1e5,
    bound: 2,
    limit: 2 ** 28,
    exact: Math.cos,
    special: [1.5707964, 4.712389, 47123.89, 2 ** 27],
  },
  tanh: { low: -10, high: 10, bound: 3, exact: Math.tanh, special: [0.625, 0.62499994, -0.625] },
  erf: { low: -5, high: 5, bound: 3, exact: erf, special: [0.925, 0.92499995, 1e10] },
  sigmoid: {
    low: -87,
    high: 100,
    bound: 3,
    exact: (v) => 1 / (1 + Math.exp(-v)),
  },
};

/** Operations that every target has: see `legalise.ts`. */
const always = new Set<string>(
  "const param load cast bitcast select lt le eq ne and or xor not shl shr neg abs add sub mul div min max sqrt".split(
    " ",
  ),
);

/** Forms that do not cancel in double precision either. */
const stable = {
  silu: (v: number) => v / (1 + Math.exp(-v)),
  gelu_tanh: (v: number) =>
    v / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
  gelu_erf: (v: number) => (v / 2) * erfc(-v * Math.SQRT1_2),
};

/** erfc by the continued fraction where erf is near 1. */
function erfc(t: number): number {
  if (t < 1.75) return 1 - erf(t);
  let tail = t;
  for (let k = 80; k > 0; k--) tail = t + k / 2 / tail;
  return Math.exp(-t * t) / (tail * Math.sqrt(Math.PI));
}

describe.each(Object.entries(targets))("f32 on a target with what %s has", (name, native) => {
  test.each(Object.entries(cases))(
    "%s",
    (fn, { low, high, bound, exact, special = [], limit = Infinity }) => {
      const inputs = [
        ...spread(low, high, 6000),
        ...spread(-2, 2, 6000),
        ...everywhere,
        ...special.map(Math.fround),
      ]
        .filter((input) => !(Math.abs(input) > limit) || !Number.isFinite(input))
        .filter((input) => fn !== "sigmoid" || !(input < -87) || input === -Infinity);
      const found = worst(builtin(fn as BuiltinName).apply([x]), native, inputs, exact);
      console.log(`${name} ${fn}: ${found.error.toFixed(3)} ulp at ${found.at}`);
      expect(found.error).toBeLessThanOrEqual(bound);
    },
  );

  test.each([
    ["silu", -80, 1e-6],
    ["gelu_tanh", -2.5, 1e-6],
    // Farther out the f32 argument of the exponential is what limits it.
    ["gelu_tanh", -9, 1.5e-5],
    ["gelu_erf", -5, 1e-5],
  ] as const)("%s is relatively accurate from %f on", (fn, low, bound) => {
    const relative = (found: number, wanted: number): number =>
      found === wanted ? 0 : Math.abs(found - wanted) / Math.abs(wanted);
    const inputs = [...spread(low, 9, 6000), 0, -0].filter((v) => v >= low);
    const found = worst(builtin(fn).apply([x]), native, inputs, stable[fn], relative);
    console.log(`${name} ${fn} from ${low}: ${found.error.toExponential(2)} at ${found.at}`);
    expect(found.error).toBeLessThanOrEqual(bound);
  });

  test("pow", () => {
    const evaluate = compileExpr(legalise([build.binary("pow", x, y)], native), { round: "typed" });
    const values = [
      ...everywhere,
      2,
      -2,
      3,
      -3,
      0.1,
      1.5,
      -1.5,
      7,
      100.25,
      1e-3,
      33.3,
      -8388609,
      16777216,
      1e20,
    ].map(Math.fround);
    let largest = 0;
    for (const a of values)
      for (const b of values) {
        const found = Number(evaluate({ param: (param) => (param === "x" ? a : b) })[0]);
        const error = ulps(found, power(a, b));
        if (!(error <= 2))
          throw new Error(`pow(${a}, ${b}) = ${found}, not ${power(a, b)}: ${error} ulp`);
        if (found === 0) expect(found).toBe(Math.fround(power(a, b)));
        largest = Math.max(largest, error);
      }
    for (const a of spread(0.01, 50, 100))
      for (const b of spread(-12, 12, 40)) {
        const found = Number(evaluate({ param: (param) => (param === "x" ? a : b) })[0]);
        largest = Math.max(largest, ulps(found, a ** b));
      }
    console.log(`${name} pow: ${largest.toFixed(3)} ulp`);
    expect(largest).toBeLessThanOrEqual(2);
  });

  test.each([2, 3, 4, -1, -2, 0.5, -0.5, 1, 0, 16])("pow to the literal %f", (exponent) => {
    const inputs = [...spread(-5, 5, 500), ...everywhere].filter(
      (v) => Math.abs(v) > 1e-2 || v === 0,
    );
    const tree = build.binary("pow", x, build.constant(exponent, "f32"));
    const found = worst(tree, native, inputs, (v) => power(v, exponent));
    expect(found.error).toBeLessThanOrEqual(Math.max(2, Math.abs(exponent) / 2));
  });

  test("powers of a literal", () => {
    const base = build.constant(10000, "f32");
    const found = worst(
      build.binary("pow", base, x),
      native,
      spread(-9, 9, 1000),
      (v) => 10000 ** v,
    );
    expect(found.error).toBeLessThanOrEqual(1.5);
  });

  test("mod is exact", () => {
    const evaluate = compileExpr(legalise([build.binary("mod", x, y)], native), { round: "typed" });
    const values = [...everywhere, 0.1, -0.3, 7.5, -1e4, 3.25, 1e9].map(Math.fround);
    for (const a of values)
      for (const b of values)
        if (!(Math.abs(a / b) >= 2 ** 52) || b === 0)
          expect([a, b, evaluate({ param: (param) => (param === "x" ? a : b) })[0]]).toEqual([
            a,
            b,
            a % b,
          ]);
  });

  test.each(["floor", "ceil", "round", "trunc"] as const)("%s is exact", (fn) => {
    const inputs = [
      ...spread(-9, 9, 500),
      ...everywhere,
      0.5,
      1.5,
      2.5,
      -0.5,
      -1.5,
      8388607.5,
      -8388607.5,
      8388609,
      1e10,
    ].map(Math.fround);
    const evaluate = compileExpr(legalise([build.unary(fn, x)], native), { round: "typed" });
    for (const input of inputs)
      expect(evaluate({ param: () => input })[0]).toBe(primitive(fn).evaluate(input));
  });

  test.each(builtinNames)("%s has only operations that the target has", (fn) => {
    const args = Array.from({ length: builtin(fn).arity }, (_, i) => build.param(`p${i}`, "f32"));
    const left = new Set<string>();
    postorder(legalise([builtin(fn).apply(args)], native), (node) => {
      if (!always.has(node.op) && !native.has(node.op)) left.add(node.op);
    });
    expect([...left]).toEqual([]);
  });

  test.each(builtinNames)("%s is close to its own body", (fn) => {
    const body = builtin(fn);
    const args = Array.from({ length: body.arity }, (_, i) => build.param(`p${i}`, "f32"));
    const run = compileExpr(legalise([body.apply(args)], native), { round: "typed" });
    const rest = [0.75, 1.25];
    for (const value of [...spread(-3, 3, 200), 0, 10, -10, 30]) {
      const given = [value, ...rest].slice(0, body.arity);
      const wanted = Number(body.evaluate(...given));
      const found = Number(run({ param: (param) => given[Number(param.slice(1))]! })[0]);
      if (Object.is(found, wanted)) continue;
      const error = Math.abs(found - wanted);
      // Relative to the largest of the value, the input and 1: functions have zeros.
      if (!(error <= 4e-7 * Math.max(1, Math.abs(wanted), Math.abs(value))))
        throw new Error(`${fn}(${given.join(", ")}) = ${found}, not ${wanted}`);
    }
  });
});

test("what the target has natively stays", () => {
  const tree = build.unary("exp", build.unary("floor", x));
  expect(legalise([tree], new Set(["exp", "floor"]))).toEqual([tree]);
});

test("sine and cosine stay in [-1, 1] for any argument", () => {
  const evaluate = compileExpr(
    legalise([build.unary("sin", x), build.unary("cos", x)], targets.c),
    { round: "typed" },
  );
  for (let exponent = 20; exponent < 128; exponent++) {
    const input = Math.fround(1.37 * 2 ** exponent);
    for (const value of evaluate({ param: () => input }))
      expect(Math.abs(Number(value))).toBeLessThanOrEqual(1);
  }
});

test("tanh and erf of large arguments are exactly one", () => {
  const evaluate = compileExpr(
    legalise([build.unary("tanh", x), build.unary("erf", x)], targets.c),
    { round: "typed" },
  );
  for (const input of [10, 100, 1e10, Infinity]) {
    expect(evaluate({ param: () => input })).toEqual([1, 1]);
    expect(evaluate({ param: () => -input })).toEqual([-1, -1]);
  }
});
