import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  cast,
  constant,
  coord,
  div,
  int,
  load,
  lt,
  mod,
  mul,
  select,
  sym,
  yes,
} from "../../../compiler/scalar/build.js";
import { check, le } from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { failureWord, type MapDesc } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { roundFloat } from "../../../compiler/scalar/round.js";
import { mapCpu } from "../../../templates/map/cpu.js";
import { kernelOf, Kernels, random, runnableIsas } from "./harness.js";

const size = (name: string): Expr => sym({ name, space: "host", min: 1, max: 4096, divisor: 1 });
const [rows, columns] = [size("rows"), size("columns")];
const [i, j] = [coord("i", rows), coord("j", columns)];
const at = add(mul(i, columns), j);
const sizes = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 127, 129];
const cpu = targetNamed("cpu");

function addition(dtype: DType): MapDesc {
  const read = (name: string, offset: Expr): Expr => cast(load(name, offset, dtype), "f32");
  const operand = (name: string, elements: Expr) => ({
    name,
    dtype,
    access: "read" as const,
    elements,
  });
  return {
    family: "map",
    label: `add ${dtype}`,
    operands: [
      operand("x", mul(rows, columns)),
      operand("bias", columns),
      { name: "y", dtype, access: "write", elements: mul(rows, columns) },
    ],
    coords: [i, j],
    extents: [rows, columns],
    stores: [
      {
        operand: "y",
        offset: at,
        value: mul(add2(read("x", at), read("bias", j)), constant(0.3, "f32")),
        guard: null,
      },
    ],
  };
}
const add2 = (a: Expr, b: Expr): Expr => add(a, b);

/** y = x transposed, out of a table by a checked index; -1 where the column is past a limit. */
const gather: MapDesc = {
  family: "map",
  label: "checked gather",
  operands: [
    { name: "x", dtype: "f32", access: "read", elements: mul(rows, columns) },
    { name: "index", dtype: "i64", access: "read", elements: columns },
    { name: "y", dtype: "f32", access: "write", elements: mul(rows, columns) },
    { name: "status", dtype: "i64", access: "readwrite", elements: int(1) },
  ],
  coords: [i, j],
  extents: [rows, columns],
  stores: [
    {
      operand: "y",
      offset: add(mul(j, rows), i),
      value: select(
        lt(j, int(40)),
        load("x", add(mul(i, columns), check(load("index", j, "i64"), columns, 7)), "f32"),
        constant(-1, "f32"),
      ),
      guard: le(i, int(100)),
    },
  ],
};

/** Divisions of a flat index, a comparison of integers, and several stores of one element. */
const flat: MapDesc = {
  family: "map",
  label: "flat",
  operands: [
    { name: "x", dtype: "i32", access: "read", elements: mul(rows, columns) },
    { name: "even", dtype: "bool", access: "write", elements: mul(rows, columns) },
    { name: "y", dtype: "i64", access: "write", elements: mul(rows, columns) },
  ],
  coords: [coord("f", mul(rows, columns))],
  extents: [mul(rows, columns)],
  stores: (() => {
    const f = coord("f", mul(rows, columns));
    const source = add(mul(mod(f, rows), columns), div(f, rows));
    const value = cast(load("x", source, "i32"), "i64");
    return [
      { operand: "even", offset: f, value: lt(mod(value, int(2)), int(1)), guard: null },
      { operand: "y", offset: f, value: mul(value, value), guard: yes },
    ];
  })(),
};

const descs = { f32: addition("f32"), f16: addition("f16"), bf16: addition("bf16"), gather, flat };
const texts = Object.fromEntries(
  Object.entries(descs).map(([name, desc]) => [name, mapCpu.render(desc, { block: 1000 }, cpu)]),
);
const kernels = new Kernels();
beforeAll(() => kernels.compile(Object.values(texts)));
afterAll(() => kernels.remove());

describe.each(runnableIsas())("map on %s", (isa) => {
  it.each(["f32", "f16", "bf16"] as const)(
    "adds in f32 and stores %s rounded to nearest even",
    (dtype) => {
      for (const n of sizes) {
        const m = sizes[(sizes.indexOf(n) * 5 + 3) % sizes.length]!;
        const x = random(n, m * n).map((v) => roundFloat(v * 9, dtype));
        const bias = random(n + 1, n).map((v) => roundFloat(v, dtype));
        const { outputs } = kernels.run(
          descs[dtype],
          texts[dtype]!,
          { x, bias },
          { rows: m, columns: n },
          { isa, threads: 2 },
        );
        const scale = Math.fround(0.3);
        const want = x.map((v, at) =>
          roundFloat(Math.fround(Math.fround(v + bias[at % n]!) * scale), dtype),
        );
        expect(outputs["y"]).toEqual(want);
      }
    },
  );

  it("reads checked indices only where the arm is taken, and reports the ones outside", () => {
    const [m, n] = [129, 65];
    const x = random(1, m * n);
    const index = Float64Array.from({ length: n }, (_, at) => (at < 40 ? (at * 7) % n : 1e12));
    const status = [0];
    const good = kernels.run(
      gather,
      texts["gather"]!,
      { x, index, status },
      { rows: m, columns: n },
      { isa, backwards: true },
    );
    expect(good.outputs["status"]![0]).toBe(0);
    for (let r = 0; r < m; r++)
      for (let c = 0; c < n; c++) {
        const want = r > 100 ? NaN : c < 40 ? x[r * n + index[c]!]! : -1;
        expect(good.outputs["y"]![c * m + r]).toBe(want);
      }
    index[3] = -1;
    const bad = kernels.run(
      gather,
      texts["gather"]!,
      { x, index, status },
      { rows: m, columns: n },
      { isa },
    );
    expect(bad.outputs["status"]![0]).toBe(Number(failureWord(7)) - 1);
  });

  it("divides indices and stores several operands", () => {
    const [m, n] = [17, 31];
    const x = Float64Array.from({ length: m * n }, (_, at) => at - 200);
    const { outputs } = kernels.run(flat, texts["flat"]!, { x }, { rows: m, columns: n }, { isa });
    for (let f = 0; f < m * n; f++) {
      const value = x[(f % m) * n + Math.floor(f / m)]!;
      expect(outputs["even"]![f]).toBe(value % 2 === 0 ? 1 : 0);
      expect(outputs["y"]![f]).toBe(value * value);
    }
  });
});

it("prints the text of test/golden", async () => {
  await expect(kernelOf(texts["f32"]!)).toMatchFileSnapshot("../../golden/c/map.c");
});
