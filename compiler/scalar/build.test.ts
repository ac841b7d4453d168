import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as build from "./build.js";
import { evaluateExpr, type Value } from "./evaluate.js";
import { isOp, type Expr, type SymbolInfo } from "./expr.js";
import { rangeOf } from "./range.js";

const symbol = (name: string, min: number, max: number): Expr =>
  build.sym({ name, space: "host", min, max, divisor: 1 } satisfies SymbolInfo);

const s = symbol("s", 1, 9);
const t = symbol("t", 1, 6);
const past = symbol("past", 0, 5);
const i = build.coord("i", s);
const j = build.coord("j", t);
const k = build.coord("k", build.int(4));
const any = build.param("any", "i64");

interface World {
  readonly s: number;
  readonly t: number;
  readonly past: number;
  readonly i: number;
  readonly j: number;
  readonly k: number;
  readonly any: number;
}

const worlds: fc.Arbitrary<World> = fc
  .record({
    s: fc.integer({ min: 1, max: 9 }),
    t: fc.integer({ min: 1, max: 6 }),
    past: fc.integer({ min: 0, max: 5 }),
  })
  .chain((dims) =>
    fc.record({
      s: fc.constant(dims.s),
      t: fc.constant(dims.t),
      past: fc.constant(dims.past),
      i: fc.integer({ min: 0, max: dims.s - 1 }),
      j: fc.integer({ min: 0, max: dims.t - 1 }),
      k: fc.integer({ min: 0, max: 3 }),
      any: fc.integer({ min: -50, max: 50 }),
    }),
  );

/** An expression built with simplification, beside what it means without. */
interface Pair {
  /** For the report of a failure. */
  readonly text: string;
  readonly expr: Expr;
  readonly mean: (world: World) => number;
}

/** The reference has no answer: a zero divisor (out of contract) or an inexact double. */
class Undefined extends Error {}

const nonzero = (b: number): number => {
  if (b === 0) throw new Undefined();
  return b;
};
const floorDiv = (a: number, b: number): number => Math.floor(a / nonzero(b));
const floorMod = (a: number, b: number): number => a - b * Math.floor(a / nonzero(b));

function meaning(mean: (world: World) => number, world: World): number {
  try {
    return mean(world);
  } catch (error) {
    fc.pre(!(error instanceof Undefined));
    throw error;
  }
}

const leaves: fc.Arbitrary<Pair> = fc.oneof(
  fc.constantFrom<Pair>(
    { text: "s", expr: s, mean: (w) => w.s },
    { text: "t", expr: t, mean: (w) => w.t },
    { text: "past", expr: past, mean: (w) => w.past },
    { text: "i", expr: i, mean: (w) => w.i },
    { text: "j", expr: j, mean: (w) => w.j },
    { text: "k", expr: k, mean: (w) => w.k },
    { text: "any", expr: any, mean: (w) => w.any },
  ),
  fc
    .integer({ min: -4, max: 12 })
    .map((n) => ({ text: String(n), expr: build.int(n), mean: () => n })),
);

type Join = readonly [string, (a: Expr, b: Expr) => Expr, (a: number, b: number) => number];
const joins: Join[] = [
  ["+", build.add, (a, b) => a + b],
  ["-", build.sub, (a, b) => a - b],
  ["*", build.mul, (a, b) => a * b],
  ["/", build.div, floorDiv],
  ["%", build.mod, floorMod],
  ["min", build.min, Math.min],
  ["max", build.max, Math.max],
];
const comparisons: Join[] = [
  ["<", build.lt, (a, b) => Number(a < b)],
  ["<=", build.le, (a, b) => Number(a <= b)],
  ["==", build.eq, (a, b) => Number(a === b)],
  ["!=", build.ne, (a, b) => Number(a !== b)],
  ["!<", (a, b) => build.not(build.lt(a, b)), (a, b) => Number(a >= b)],
];

const pairs = fc.letrec<{ number: Pair; condition: Pair }>((tie) => ({
  number: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaves,
    fc.tuple(fc.constantFrom(...joins), tie("number"), tie("number")).map(join),
    fc.tuple(tie("condition"), tie("number"), tie("number")).map(([c, a, b]) => ({
      text: `(${c.text} ? ${a.text} : ${b.text})`,
      expr: build.select(c.expr, a.expr, b.expr),
      mean: (w: World) => (c.mean(w) === 0 ? b.mean(w) : a.mean(w)),
    })),
  ),
  condition: fc.tuple(fc.constantFrom(...comparisons), tie("number"), tie("number")).map(join),
}));

function join([[name, make, mean], a, b]: [Join, Pair, Pair]): Pair {
  return {
    text: `(${a.text} ${name} ${b.text})`,
    expr: make(a.expr, b.expr),
    mean: (w) => {
      const value = mean(a.mean(w), b.mean(w));
      if (!Number.isSafeInteger(value)) throw new Undefined();
      return value === 0 ? 0 : value;
    },
  };
}

function evaluate(expr: Expr, world: World): Value {
  const get = (name: string): Value => world[name as keyof World];
  return evaluateExpr([expr], { sym: get, coord: get, param: get })[0]!;
}

describe("the simplifier keeps the meaning", () => {
  test("of integer expressions, and their ranges hold", () => {
    fc.assert(
      fc.property(pairs.number, worlds, ({ expr, mean }, world) => {
        const value = meaning(mean, world);
        expect(evaluate(expr, world)).toBe(value);
        const { min, max } = rangeOf(expr);
        expect(value).toBeGreaterThanOrEqual(min);
        expect(value).toBeLessThanOrEqual(max);
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  test("of conditions", () => {
    fc.assert(
      fc.property(pairs.condition, worlds, ({ expr, mean }, world) => {
        expect(evaluate(expr, world)).toBe(meaning(mean, world));
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  test("of rebuilding and substituting", () => {
    fc.assert(
      fc.property(pairs.number, pairs.number, worlds, (whole, part, world) => {
        const [replaced] = build.substitute([whole.expr], new Map([[any, part.expr]]));
        const value = meaning((w) => whole.mean({ ...w, any: part.mean(w) }), world);
        expect(evaluate(replaced!, world)).toBe(value);
      }),
      { numRuns: 1000, seed: 1 },
    );
  });

  test("equal polynomials are one object", () => {
    fc.assert(
      fc.property(pairs.number, pairs.number, pairs.number, (a, b, c) => {
        const [x, y, z] = [a.expr, b.expr, c.expr];
        expect(build.add(x, build.add(y, z))).toBe(build.add(build.add(z, x), y));
        expect(build.sub(build.add(x, y), y)).toBe(x);
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});

describe("division by dimensions", () => {
  const row = build.add(build.mul(i, t), j);

  test("splits a row-major offset", () => {
    expect(build.div(row, t)).toBe(i);
    expect(build.mod(row, t)).toBe(j);
  });

  test("splits an offset of three coordinates by a product", () => {
    const offset = build.add(build.mul(row, build.int(4)), k);
    const plane = build.mul(t, build.int(4));
    expect(build.div(offset, plane)).toBe(i);
    expect(build.mod(offset, plane)).toBe(build.add(build.mul(j, build.int(4)), k));
    expect(build.div(build.mod(offset, plane), build.int(4))).toBe(j);
  });

  test("proves bounds against a symbolic extent", () => {
    expect(build.lt(row, build.mul(s, t))).toBe(build.yes);
    expect(build.le(build.mul(s, t), row)).toBe(build.no);
    expect(build.check(row, build.mul(s, t), 1)).toBe(row);
    expect(isOp(build.check(build.add(row, build.one), build.mul(s, t), 1), "check")).toBe(true);
  });

  test("a failed check is zero, even below an extent of zero", () => {
    const checked = build.check(any, past, 7);
    expect(build.lt(checked, past)).not.toBe(build.yes);
    const failures: number[] = [];
    const env = { param: () => 3, sym: () => 0, fail: (site: number) => void failures.push(site) };
    expect(evaluateExpr([checked], env)).toEqual([0]);
    expect(failures).toEqual([7]);
  });
});

describe("quotient and remainder", () => {
  const { add, div, int, mod, mul } = build;
  const [n, m] = [build.coord("n", int(600)), build.coord("m", int(7))];

  test.each([build.int(56), symbol("size", 1, 99)])(
    "of one number are the number again",
    (width) => {
      const whole = add(mul(div(n, width), width), mod(n, width));
      expect(whole).toBe(n);
      const scaled = add(mul(m, mul(div(n, width), width)), mul(m, mod(n, width)));
      expect(scaled).toBe(mul(m, n));
      expect(add(add(int(3), whole), m)).toBe(add(n, add(m, int(3))));
    },
  );

  test("of one number by two divisors stay apart", () => {
    const apart = add(mul(div(n, int(8)), int(8)), mod(n, int(16)));
    expect(apart).not.toBe(n);
    const twice = add(mul(div(n, int(8)), int(16)), mod(n, int(8)));
    expect(twice).not.toBe(n);
  });
});

describe("integers beyond 2^53", () => {
  const big = build.constant(2n ** 62n + 3n, "i64");
  const at = (expr: Expr, value: Value): Value => evaluateExpr([expr], { param: () => value })[0]!;

  test("stay exact in sums and products", () => {
    expect(at(build.add(build.mul(any, big), big), 1)).toBe(-(2n ** 63n) + 6n);
    expect(build.sub(big, big)).toBe(build.zero);
    expect(build.add(build.mul(any, big), build.mul(any, build.int(2)))).toBe(
      build.mul(any, build.constant(2n ** 62n + 5n, "i64")),
    );
    const square = build.mul(build.int(2 ** 40), build.int(2 ** 40));
    expect(square).toBe(build.zero);
  });

  test("are not compared through doubles", () => {
    expect(build.eq(big, build.constant(2n ** 62n + 4n, "i64"))).not.toBe(build.yes);
    expect(at(build.lt(build.mul(any, big), build.constant(2n ** 62n + 4n, "i64")), 1)).toBe(1);
  });

  test("divide exactly", () => {
    const most = build.int(Number.MAX_SAFE_INTEGER);
    expect(build.constValue(build.div(most, build.int(2)))).toBe(4503599627370495);
    expect(build.constValue(build.mod(most, build.int(10)))).toBe(1);
  });
});

test("literals fold as casts do", () => {
  expect(build.cast(build.constant(1e300, "f64"), "i64")).toBe(
    build.constant(2n ** 63n - 1n, "i64"),
  );
  expect(build.cast(build.constant(2n ** 64n - 1n, "u64"), "i64")).toBe(build.int(-1));
  expect(build.cast(build.constant(1 / 3, "f64"), "f16")).toBe(
    build.constant(0.333251953125, "f16"),
  );
  expect(build.cast(build.constant(NaN, "f32"), "i32")).toBe(build.constant(0, "i32"));
});

test("narrow integers wrap, so their sums prove nothing", () => {
  const byte = build.load("b", build.zero, "u8");
  const wide = build.cast(byte, "i64");
  expect(rangeOf(wide)).toEqual({ min: 0, max: 255 });
  const sum = build.cast(build.add(byte, build.constant(1, "u8")), "i64");
  expect(build.lt(build.zero, sum)).not.toBe(build.yes);
});

test("substitution is simultaneous", () => {
  const [a, b] = [build.param("a", "f64"), build.param("b", "f64")];
  const zero = build.constant(0, "f64");
  const [swapped] = build.substitute(
    [build.select(build.lt(zero, a), b, zero)],
    new Map([
      [a, b],
      [b, a],
    ]),
  );
  expect(swapped).toBe(build.select(build.lt(zero, b), a, zero));
  const one = build.constant(1, "f64");
  const [folded] = build.substitute(
    [build.select(build.lt(zero, a), b, zero)],
    new Map([
      [a, one],
      [b, a],
    ]),
  );
  expect(folded).toBe(a);
});
