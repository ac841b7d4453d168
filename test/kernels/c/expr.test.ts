import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as build from "../../../compiler/scalar/build.js";
import { coord, int, load } from "../../../compiler/scalar/build.js";
import type { BinaryOp, Expr, UnaryOp } from "../../../compiler/scalar/expr.js";
import { evaluateExpr } from "../../../compiler/scalar/evaluate.js";
import { legalise } from "../../../compiler/scalar/legalise.js";
import { dtypes, isFloat, type DType } from "../../../compiler/ir/dtype.js";
import type { MapDesc } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { mapCpu } from "../../../templates/map/cpu.js";
import { Kernels, runnableIsas } from "./harness.js";

const floats = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  3.999,
  65504,
  65520,
  1e-8,
  6e-5,
  -1e30,
  2 ** 31,
  -(2 ** 31),
  2 ** 63,
  1e39,
  Infinity,
  -Infinity,
  NaN,
  0.1,
  1.0009765625,
  1.00048828125,
  257,
  255.5,
  128,
];
const integers = [
  0,
  1,
  -1,
  2,
  3,
  -3,
  7,
  31,
  32,
  63,
  64,
  100,
  -100,
  127,
  128,
  -128,
  255,
  32767,
  -32768,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
];
const kept: readonly DType[] = [
  "bool",
  "i8",
  "i16",
  "i32",
  "i64",
  "u8",
  "u32",
  "f16",
  "bf16",
  "f32",
  "f64",
];

const pool = (dtype: DType): readonly number[] => {
  if (isFloat(dtype)) return floats;
  const { bits, kind } = dtypes[dtype];
  if (kind === "bool") return [0, 1];
  const [low, high] =
    kind === "int" ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
  return integers.filter((x) => x >= low && x <= high);
};

/** Every pair of values of the pool, as the operands a and b. */
function pairs(dtype: DType): { a: number[]; b: number[] } {
  const values = pool(dtype);
  return { a: values.flatMap((x) => values.map(() => x)), b: values.flatMap(() => [...values]) };
}

interface Case {
  readonly type: DType;
  readonly results: readonly (readonly [name: string, value: (a: Expr, b: Expr) => Expr])[];
}

const unaries = (ops: readonly UnaryOp[]): Case["results"] =>
  ops.map((op) => [op, (a) => build.unary(op, a)]);
const binaries = (ops: readonly BinaryOp[]): Case["results"] =>
  ops.map((op) => [op, (a, b) => build.binary(op, a, b)]);
const compare = binaries(["lt", "le", "eq", "ne"]);
const casts: Case["results"] = kept.map((to) => [`to ${to}`, (a) => build.cast(a, to)]);
const chosen: Case["results"] = [["select", (a, b) => build.select(build.lt(a, b), a, b)]];

const arithmetic = binaries(["add", "sub", "mul", "div", "mod", "min", "max"]);
const whole: Case["results"] = [
  ...arithmetic,
  ...compare,
  ...chosen,
  ...casts,
  ...unaries(["neg", "abs", "not"]),
  ...binaries(["and", "or", "xor", "shl", "shr"]),
];
const real: Case["results"] = [
  ...arithmetic,
  ...compare,
  ...chosen,
  ...casts,
  ...unaries(["neg", "abs", "floor", "ceil", "round", "trunc", "sqrt"]),
  ["fma", (a, b) => build.fma(a, b, a)],
];
const cases: readonly Case[] = [
  { type: "f32", results: [...real, ["bits", (a) => build.bitcast(a, "i32")]] },
  { type: "f64", results: [...real, ["bits", (a) => build.bitcast(a, "i64")]] },
  {
    type: "f16",
    results: [
      ...casts,
      ["bits", (a) => build.bitcast(a, "u16")],
      ["as bf16", (a) => build.bitcast(a, "bf16")],
    ],
  },
  {
    type: "bf16",
    results: [
      ...casts,
      ["bits", (a) => build.bitcast(a, "u16")],
      ["as f16", (a) => build.bitcast(a, "f16")],
    ],
  },
  { type: "i32", results: [...whole, ["bits", (a) => build.bitcast(a, "f32")]] },
  ...(["i8", "i16", "i64", "u8", "u32"] as const).map((type) => ({ type, results: whole })),
  {
    type: "bool",
    results: [...casts, ...compare, ...binaries(["and", "or", "xor"]), ...unaries(["not"])],
  },
];

function descOf({ type, results }: Case): { desc: MapDesc; values: Expr[] } {
  const count = pairs(type).a.length;
  const i = coord("i", int(count));
  const [a, b] = [load("a", i, type), load("b", i, type)];
  const values = results.map(([, make]) => make(a, b));
  const read = (name: string) => ({
    name,
    dtype: type,
    access: "read" as const,
    elements: int(count),
  });
  const outputs = values.map((value, at) => ({
    name: `y${at}`,
    dtype: value.type,
    access: "write" as const,
    elements: int(count),
  }));
  const stores = values.map((value, at) => ({ operand: `y${at}`, offset: i, value, guard: null }));
  return {
    values,
    desc: {
      family: "map",
      label: type,
      operands: [read("a"), read("b"), ...outputs],
      coords: [i],
      extents: [int(count)],
      stores,
    },
  };
}

const cpu = targetNamed("cpu");
const built = cases.map((each) => {
  const { desc, values } = descOf(each);
  return { ...each, desc, values, text: mapCpu.render(desc, { block: 16384 }, cpu) };
});
const kernels = new Kernels();
beforeAll(() => kernels.compile(built.map(({ text }) => text)));
afterAll(() => kernels.remove());

describe.each(runnableIsas())("expressions on %s", (isa) => {
  it.each(built)(
    "of $type give what the interpreter gives, bit for bit",
    ({ type, results, desc, values, text }) => {
      const { a, b } = pairs(type);
      const stored = { a: kernels.stored(type, a), b: kernels.stored(type, b) };
      const { outputs } = kernels.run(desc, text, { a, b }, {}, { isa });
      const legal = legalise(values, new Set(["fma", "floor", "ceil", "round", "trunc", "mod"]));
      for (let i = 0; i < a.length; i++) {
        const env = { coord: () => i, load: (name: string) => stored[name as "a" | "b"][i]! };
        const want = evaluateExpr(legal, env, { round: "typed" });
        results.forEach(([name], at) => {
          const got = outputs[`y${at}`]![i]!;
          expect(
            Object.is(got, Number(want[at])) ||
              (got === 0 && want[at] === 0 && !isFloat(values[at]!.type)),
            `${name}(${a[i]}, ${b[i]}): ${got}, not ${want[at]}`,
          ).toBe(true);
        });
      }
    },
  );
});
