/** Cases of reduce: every kind and type, norms and softmax, rows and columns. */
import type { ReduceDesc, Stage } from "../../../compiler/kernel/desc.js";
import { rawName } from "../../../compiler/kernel/desc.js";
import {
  add,
  cast,
  coord,
  div,
  int,
  load,
  mul,
  param,
  sub,
  unary,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import { sm80Reduce } from "../../../templates/reduce/sm80.js";
import { tolerances, type Fill, type GpuCase } from "./case.js";

import { casesOf, f32, hash, read, row, single, size, values, write } from "./simt-parts.js";
import type { CaseOptions } from "./simt-parts.js";

export function layerNormStages(x: Expr, width: Expr): Stage[] {
  const centred = sub(x, param("mean", "f32"));
  const count = cast(width, "f32");
  return [
    { name: "mean", kind: "sum", body: x, finish: div(param(rawName("mean"), "f32"), count) },
    {
      name: "rstd",
      kind: "sum",
      body: mul(centred, centred),
      finish: unary("rsqrt", add(div(param(rawName("rstd"), "f32"), count), f32(1e-5))),
    },
  ];
}

export const normalised = (x: Expr): Expr =>
  mul(sub(x, param("mean", "f32")), param("rstd", "f32"));

export function layerNorm(
  dtype: "f32" | "bf16" | "f16",
  rows: number,
  width: number,
  configs: CaseOptions["configs"] = "first",
  symbolic = false,
): GpuCase[] {
  const R = size("rows");
  const W = symbolic ? size("width", 2048) : int(width);
  const [i, j] = [coord("i", R), coord("j", W)];
  const x = single(load("x", row(i, W, j), dtype));
  const desc: ReduceDesc = {
    family: "reduce",
    label: `layer norm ${dtype} ${rows}x${width}${symbolic ? " symbolic" : ""}`,
    operands: [
      read("x", dtype, mul(R, W)),
      read("gamma", "f32", W),
      write("y", dtype, mul(R, W)),
      write("mean", "f32", R),
    ],
    coords: [i],
    extents: [R],
    axis: j,
    axisExtent: W,
    stages: layerNormStages(x, W),
    elementStores: [
      {
        operand: "y",
        offset: row(i, W, j),
        value: mul(normalised(x), load("gamma", j, "f32")),
        guard: null,
      },
    ],
    rowStores: [{ operand: "mean", offset: i, value: param("mean", "f32"), guard: null }],
  };
  const tolerance =
    dtype === "f32"
      ? { absolute: 1e-5, relative: 1e-5, rms: 0 }
      : { ...tolerances[dtype], absolute: 2e-3 };
  return casesOf(sm80Reduce, desc, {
    symbols: { rows, width },
    inputs: { x: hash(12, 1, 0.5), gamma: hash(13) },
    tolerance,
    configs,
    large: rows * width > 2e5,
  });
}

function softmax(
  rows: number,
  width: number,
  configs: CaseOptions["configs"] = "first",
): GpuCase[] {
  const [i, j] = [coord("i", int(rows)), coord("j", int(width))];
  const x = load("x", row(i, int(width), j), "f32");
  const power = unary("exp", sub(x, param("top", "f32")));
  const desc: ReduceDesc = {
    family: "reduce",
    label: `softmax ${rows}x${width}`,
    operands: [read("x", "f32", int(rows * width)), write("y", "f32", int(rows * width))],
    coords: [i],
    extents: [int(rows)],
    axis: j,
    axisExtent: int(width),
    stages: [
      { name: "top", kind: "max", body: x, finish: param(rawName("top"), "f32") },
      { name: "sum", kind: "sum", body: power, finish: param(rawName("sum"), "f32") },
    ],
    elementStores: [
      {
        operand: "y",
        offset: row(i, int(width), j),
        value: div(power, param("sum", "f32")),
        guard: null,
      },
    ],
    rowStores: [],
  };
  return casesOf(sm80Reduce, desc, {
    inputs: { x: hash(14, 8) },
    tolerance: tolerances.f32Reduce,
    configs,
  });
}

/** Every kind of every type; `strided` reduces down the columns. */
function kinds(
  dtype: "f32" | "f64" | "i32" | "i64",
  rows: number,
  width: number,
  strided: boolean,
): GpuCase[] {
  const [i, j] = [coord("i", int(rows)), coord("j", int(width))];
  const x = load("x", strided ? row(j, int(rows), i) : row(i, int(width), j), dtype);
  const names = ["sum", "max", "min", "prod"] as const;
  const desc: ReduceDesc = {
    family: "reduce",
    label: `kinds ${dtype} ${rows}x${width}${strided ? " columns" : ""}`,
    operands: [
      read("x", dtype, int(rows * width)),
      ...names.map((name) => write(name, dtype, int(rows))),
    ],
    coords: [int(0), i],
    extents: [int(1), int(rows)],
    axis: j,
    axisExtent: int(width),
    stages: names.map((kind) => ({
      name: kind,
      kind,
      body: x,
      finish: param(rawName(kind), dtype),
    })),
    elementStores: [],
    rowStores: names.map((name) => ({
      operand: name,
      offset: i,
      value: param(name, dtype),
      guard: null,
    })),
  };
  const integer = dtype.startsWith("i");
  const fill: Fill = integer
    ? values(
        Array.from({ length: rows * width }, (_, n) => (n % 31 === 0 ? 3 : n % 7 === 0 ? -1 : 1)),
      )
    : hash(15, 0.05, 1);
  return casesOf(sm80Reduce, desc, {
    inputs: { x: fill },
    configs: "all",
    tolerance: integer ? tolerances.exact : { absolute: 1e-5, relative: 2e-5, rms: 0 },
  });
}

export const reduceCases = (): GpuCase[] => [
  ...layerNorm("f32", 5, 64, "all"),
  ...layerNorm("bf16", 3, 768, "all"),
  ...layerNorm("f16", 2, 7),
  ...layerNorm("f32", 3, 1, "all"),
  ...layerNorm("bf16", 9, 770),
  ...layerNorm("f32", 2, 500, "all", true),
  ...layerNorm("bf16", 512, 768),
  ...softmax(3, 33, "all"),
  ...softmax(2, 5000, "all"),
  ...softmax(1, 50257),
  ...kinds("f32", 5, 37, false),
  ...kinds("f32", 40, 6, true),
  ...kinds("f64", 12, 70, true),
  ...kinds("i32", 3, 66, false),
  ...kinds("i64", 8, 33, true),
  ...kinds("f64", 3, 130, false),
  ...kinds("i64", 3, 64, false),
];
