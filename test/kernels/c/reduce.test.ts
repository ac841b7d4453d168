import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  cast,
  constant,
  coord,
  div,
  int,
  load,
  mul,
  param,
  sub,
  sym,
  unary,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { rawName, type ReduceDesc, type Stage } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { reduceCpu } from "../../../templates/reduce/cpu.js";
import { kernelOf, Kernels, random, relativeRms, runnableIsas } from "./harness.js";
import { reference, rowMajor } from "./reference.js";

const size = (name: string): Expr => sym({ name, space: "host", min: 1, max: 4096, divisor: 1 });
const [rows, columns] = [size("rows"), size("columns")];
const [i, j] = [coord("i", rows), coord("j", columns)];
const cpu = targetNamed("cpu");
const f32 = (value: number): Expr => constant(value, "f32");
const raw = (name: string, type: DType = "f32"): Expr => param(rawName(name), type);
const n = cast(columns, "f32");

/** LayerNorm of rows, 16-bit in and out, with the mean stored too. */
function layerNorm(dtype: DType): ReduceDesc {
  const x = cast(load("x", rowMajor(i, columns, j), dtype), "f32");
  const centred = sub(x, param("mean", "f32"));
  const scaled = mul(mul(centred, param("rstd", "f32")), load("gamma", j, "f32"));
  return {
    family: "reduce",
    label: `layer norm ${dtype}`,
    operands: [
      { name: "x", dtype, access: "read", elements: mul(rows, columns) },
      { name: "gamma", dtype: "f32", access: "read", elements: columns },
      { name: "y", dtype, access: "write", elements: mul(rows, columns) },
      { name: "mean", dtype: "f32", access: "write", elements: rows },
    ],
    coords: [i],
    extents: [rows],
    axis: j,
    axisExtent: columns,
    stages: [
      { name: "mean", kind: "sum", body: x, finish: div(raw("mean"), n) },
      {
        name: "rstd",
        kind: "sum",
        body: mul(centred, centred),
        finish: unary("rsqrt", add(div(raw("rstd"), n), f32(1e-5))),
      },
    ],
    elementStores: [{ operand: "y", offset: rowMajor(i, columns, j), value: scaled, guard: null }],
    rowStores: [{ operand: "mean", offset: i, value: param("mean", "f32"), guard: null }],
  };
}

/** Every kind at once, along a strided axis: sums, extrema and products of columns. */
function columnsDesc(dtype: "f32" | "f64" | "i32"): ReduceDesc {
  const x = load("x", rowMajor(j, rows, i), dtype);
  const kinds = ["sum", "max", "min", "prod"] as const;
  return {
    family: "reduce",
    label: `columns ${dtype}`,
    operands: [
      { name: "x", dtype, access: "read", elements: mul(rows, columns) },
      ...kinds.map((kind) => ({ name: kind, dtype, access: "write" as const, elements: rows })),
    ],
    coords: [int(0), i],
    extents: [int(1), rows],
    axis: j,
    axisExtent: columns,
    stages: kinds.map((kind): Stage => ({ name: kind, kind, body: x, finish: raw(kind, dtype) })),
    elementStores: [],
    rowStores: kinds.map((kind) => ({
      operand: kind,
      offset: i,
      value: param(kind, dtype),
      guard: null,
    })),
  };
}

const descs = {
  f32: layerNorm("f32"),
  f16: layerNorm("f16"),
  bf16: layerNorm("bf16"),
  "columns f32": columnsDesc("f32"),
  "columns f64": columnsDesc("f64"),
  "columns i32": columnsDesc("i32"),
};
const texts = Object.fromEntries(
  Object.entries(descs).map(([name, desc]) => [
    name,
    reduceCpu.render(desc, reduceCpu.candidates(desc, cpu)[0]!, cpu),
  ]),
);
const kernels = new Kernels();
beforeAll(() => kernels.compile(Object.values(texts)));
afterAll(() => kernels.remove());

const shapes = [
  [1, 1],
  [3, 2],
  [2, 3],
  [17, 7],
  [5, 15],
  [16, 16],
  [2, 17],
  [9, 31],
  [1, 33],
  [65, 63],
  [4, 129],
  [2, 511],
  [3, 512],
  [2, 513],
  [1, 1500],
] as const;

describe.each(runnableIsas())("reduce on %s", (isa) => {
  it.each(["f32", "f16", "bf16"] as const)("normalises rows of %s", (dtype) => {
    for (const [m, length] of shapes) {
      const x = random(m + length, m * length).map((v) => v + 3);
      const gamma = random(length, length);
      const symbols = { rows: m, columns: length };
      const { outputs } = kernels.run(descs[dtype], texts[dtype]!, { x, gamma }, symbols, {
        isa,
        threads: 2,
      });
      const stored = kernels.stored(dtype, x);
      const want = reference(descs[dtype], { x: stored, gamma }, symbols);
      const limit = { f32: 1e-6, f16: 4e-4, bf16: 3e-3 }[dtype];
      if (length > 1) expect(relativeRms(outputs["y"]!, want["y"]!)).toBeLessThan(limit);
      expect(relativeRms(outputs["mean"]!, want["mean"]!)).toBeLessThan(1e-7);
    }
  });

  it.each(["f32", "f64", "i32"] as const)("reduces columns of %s by every kind", (dtype) => {
    for (const [m, length] of shapes) {
      const scale = dtype === "i32" ? 3.9 : 1.5;
      const x = random(m + length, m * length).map((v) =>
        dtype === "i32" ? Math.round(v * scale) || 1 : v * scale,
      );
      const symbols = { rows: m, columns: length };
      const name = `columns ${dtype}` as const;
      const { outputs } = kernels.run(descs[name], texts[name]!, { x }, symbols, { isa });
      const want = reference(descs[name], { x }, symbols);
      for (const kind of ["sum", "max", "min"])
        expect(relativeRms(outputs[kind]!, want[kind]!)).toBeLessThan(3e-7);
      if (length < 16) expect(relativeRms(outputs["prod"]!, want["prod"]!)).toBeLessThan(1e-6);
    }
  });

  it("keeps NaN in extrema", () => {
    for (const place of [0, 5, 16, 40]) {
      const x = random(1, 41);
      x[place] = NaN;
      const { outputs } = kernels.run(
        descs["columns f32"],
        texts["columns f32"]!,
        { x },
        { rows: 1, columns: 41 },
        { isa },
      );
      expect([outputs["max"]![0], outputs["min"]![0]]).toEqual([NaN, NaN]);
    }
  });
});

it("prints the text of test/golden", async () => {
  await expect(kernelOf(texts["bf16"]!)).toMatchFileSnapshot("../../golden/c/reduce.c");
});
