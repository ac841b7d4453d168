/** Cases of map: every function, type and conversion, edge shapes, guards, bodies. */
import type { MapDesc, Operand } from "../../../compiler/kernel/desc.js";
import { packedElements, unpackedIndex } from "../../../compiler/kernel/packing.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import {
  add,
  and,
  binary,
  bitcast,
  cast,
  check,
  coord,
  div,
  eq,
  ge,
  int,
  le,
  load,
  lt,
  mod,
  mul,
  ne,
  not,
  select,
  sub,
  unary,
} from "../../../compiler/scalar/build.js";
import type { BinaryOp, Expr, UnaryOp } from "../../../compiler/scalar/expr.js";
import { sm80Map } from "../../../templates/map/sm80.js";
import { tolerances, type Fill, type GpuCase } from "./case.js";

import {
  casesOf,
  f32,
  hash,
  read,
  row,
  single,
  size,
  status,
  target,
  values,
  whole,
  write,
} from "./simt-parts.js";

function mapDesc(
  label: string,
  operands: Operand[],
  coords: Expr[],
  extents: Expr[],
  stores: MapDesc["stores"],
): MapDesc {
  return { family: "map", label, operands, coords, extents, stores };
}

function unaries(op: UnaryOp, count: number, scale: number, shift: number): GpuCase[] {
  const i = coord("i", int(count));
  const desc = mapDesc(
    op,
    [read("x", "f32", int(count)), write("y", "f32", int(count))],
    [i],
    [int(count)],
    [{ operand: "y", offset: i, value: unary(op, load("x", i, "f32")), guard: null }],
  );
  return casesOf(sm80Map, desc, {
    inputs: { x: hash(1, scale, shift) },
    tolerance: tolerances.f32,
  });
}

function binaries(op: BinaryOp, dtype: DType, x: Fill, y: Fill, count = 515): GpuCase[] {
  const i = coord("i", int(count));
  const value = binary(op, load("x", i, dtype), load("y", i, dtype));
  const desc = mapDesc(
    `${op} ${dtype}`,
    [
      read("x", dtype, int(count)),
      read("y", dtype, int(count)),
      write("z", value.type, int(count)),
    ],
    [i],
    [int(count)],
    [{ operand: "z", offset: i, value, guard: null }],
  );
  const tolerance = dtype === "f32" ? tolerances.f32 : tolerances.exact;
  return casesOf(sm80Map, desc, { inputs: { x, y }, tolerance });
}

const castTypes: readonly DType[] = [
  "bool",
  "i8",
  "u8",
  "i16",
  "u16",
  "i32",
  "u32",
  "i64",
  "u64",
  "f16",
  "bf16",
  "f32",
  "f64",
];

/** From every type to every other at once; `count` decides between vectors and single elements. */
function casts(from: DType, count: number, fill: Fill): GpuCase[] {
  const i = coord("i", int(count));
  const x = load("x", i, from);
  const desc = mapDesc(
    `cast ${from} ${count}`,
    [read("x", from, int(count)), ...castTypes.map((to) => write(`to ${to}`, to, int(count)))],
    [i],
    [int(count)],
    castTypes.map((to) => ({ operand: `to ${to}`, offset: i, value: cast(x, to), guard: null })),
  );
  const tolerance = {
    absolute: 0,
    relative: from === "f64" || from.endsWith("64") || from.endsWith("32") ? 2 ** -8 : 0,
    rms: 0,
  };
  return casesOf(sm80Map, desc, { inputs: { x: fill }, tolerance });
}

/** The bits of one type as others of the same width. */
function patterns(from: DType, types: readonly DType[], fill: Fill): GpuCase[] {
  const i = coord("i", int(40));
  const x = load("x", i, from);
  const desc = mapDesc(
    `bits of ${from}`,
    [read("x", from, int(40)), ...types.map((to) => write(`as ${to}`, to, int(40)))],
    [i],
    [int(40)],
    types.map((to) => ({ operand: `as ${to}`, offset: i, value: bitcast(x, to), guard: null })),
  );
  return casesOf(sm80Map, desc, { inputs: { x: fill }, tolerance: tolerances.exact });
}

function embedding(dtype: "bf16" | "f16" | "f32", width: number, bad: boolean): GpuCase[] {
  const rows = size("rows");
  const [i, j] = [coord("i", rows), coord("j", int(width))];
  const id = check(load("ids", i, "i64"), int(37), 5);
  const desc = mapDesc(
    `embedding ${dtype} ${width}${bad ? " with a bad id" : ""}`,
    [
      read("ids", "i64", rows),
      read("table", dtype, int(37 * width)),
      read("place", dtype, mul(rows, int(width))),
      write("y", dtype, mul(rows, int(width))),
      status,
    ],
    [i, j],
    [rows, int(width)],
    [
      {
        operand: "y",
        offset: row(i, int(width), j),
        guard: null,
        value: add(
          single(load("table", row(id, int(width), j), dtype)),
          single(load("place", row(i, int(width), j), dtype)),
        ),
      },
    ],
  );
  const ids = Array.from({ length: 11 }, (_, n) => (bad && n === 7 ? -1n : BigInt((n * 13) % 37)));
  return casesOf(sm80Map, desc, {
    symbols: { rows: 11 },
    tolerance: tolerances[dtype],
    configs: "all",
    inputs: { ids: values(ids), table: hash(2), place: hash(3), status: values([0]) },
  });
}

/** Arms that may not load, a transpose, a split into guarded stores, and integer division. */
function indexing(width: number, dtype: "f32" | "bf16"): GpuCase[] {
  const rows = size("rows");
  const [i, j] = [coord("i", rows), coord("j", int(width))];
  const half = int(width / 2);
  const left = single(load("left", row(i, half, j), dtype));
  const right = single(load("right", row(i, half, sub(j, half)), dtype));
  const joined = select(lt(j, half), left, right);
  const turned = single(load("turned", row(j, rows, i), dtype));
  const whole = mul(rows, int(width));
  const desc = mapDesc(
    `indexing ${dtype} ${width}`,
    [
      read("left", dtype, mul(rows, half)),
      read("right", dtype, mul(rows, half)),
      read("turned", dtype, whole),
      write("both", dtype, whole),
      write("first", dtype, mul(rows, half)),
      write("second", dtype, mul(rows, half)),
      write("parts", "i64", whole),
    ],
    [i, j],
    [rows, int(width)],
    [
      { operand: "both", offset: row(i, int(width), j), value: add(joined, turned), guard: null },
      { operand: "first", offset: row(i, half, j), value: joined, guard: lt(j, half) },
      {
        operand: "second",
        offset: row(i, half, sub(j, half)),
        value: sub(joined, turned),
        guard: ge(j, half),
      },
      {
        operand: "parts",
        offset: row(i, int(width), j),
        guard: null,
        value: add(mul(div(row(i, int(width), j), int(12)), int(1000)), mod(row(i, rows, j), rows)),
      },
    ],
  );
  return casesOf(sm80Map, desc, {
    symbols: { rows: 13 },
    tolerance: tolerances[dtype],
    configs: "all",
    inputs: { left: hash(4), right: hash(5), turned: hash(6) },
  });
}

/** A packed weight as the weight program makes it. */
function packing(dtype: "f32" | "bf16", k: number, n: number): GpuCase[] {
  const layout = target.packing(dtype);
  const extent = packedElements(layout, int(k), int(n));
  const at = coord("at", extent);
  const index = unpackedIndex(layout, at, int(k));
  const inside = and(lt(index.k, int(k)), lt(index.n, int(n)));
  const value = select(inside, single(load("w", row(index.n, int(k), index.k), dtype)), f32(0));
  const desc = mapDesc(
    `packing ${dtype} ${k}x${n}`,
    [read("w", dtype, int(k * n)), write("p", dtype, extent)],
    [at],
    [extent],
    [{ operand: "p", offset: at, value, guard: null }],
  );
  return casesOf(sm80Map, desc, { inputs: { w: hash(7) }, tolerance: tolerances.exact });
}

function booleans(): GpuCase[] {
  const i = coord("i", int(64));
  const [x, y] = [load("x", i, "f32"), load("y", i, "f32")];
  const flag = load("flag", i, "bool");
  const parts: [string, Expr][] = [
    ["lt", lt(x, y)],
    ["le", le(x, y)],
    ["eq", eq(x, y)],
    ["ne", ne(x, y)],
    ["not", not(flag)],
    ["both", and(flag, lt(x, y))],
    ["choice", select(flag, lt(x, y), eq(x, y))],
    ["same", eq(flag, lt(x, y))],
  ];
  const desc = mapDesc(
    "booleans",
    [
      read("x", "f32", int(64)),
      read("y", "f32", int(64)),
      read("flag", "bool", int(64)),
      ...parts.map(([name]) => write(name, "bool", int(64))),
    ],
    [i],
    [int(64)],
    parts.map(([name, value]) => ({ operand: name, offset: i, value, guard: null })),
  );
  const x0 = Array.from({ length: 64 }, (_, n) => (n === 9 ? NaN : (n % 5) - 2));
  const y0 = Array.from({ length: 64 }, (_, n) => (n === 11 ? NaN : (n % 3) - 1));
  return casesOf(sm80Map, desc, {
    tolerance: tolerances.exact,
    inputs: {
      x: values(x0),
      y: values(y0),
      flag: values(Array.from({ length: 64 }, (_, n) => (n >> 1) & 1)),
    },
  });
}

export function gelu(dtype: "f32" | "bf16" | "f16", count: number): GpuCase[] {
  const n = size("n", 1 << 22);
  const i = coord("i", mul(n, int(8)));
  const x = single(load("x", i, dtype));
  const inner = mul(f32(0.7978845608028654), add(x, mul(f32(0.044715), mul(x, mul(x, x)))));
  const value = mul(mul(f32(0.5), x), add(f32(1), unary("tanh", inner)));
  const extent = mul(n, int(8));
  const desc = mapDesc(
    `gelu ${dtype} ${count}`,
    [read("x", dtype, extent), write("y", dtype, extent)],
    [i],
    [extent],
    [{ operand: "y", offset: i, value, guard: null }],
  );
  return casesOf(sm80Map, desc, {
    symbols: { n: count / 8 },
    inputs: { x: hash(8, 4) },
    tolerance: tolerances[dtype],
    large: count > 1e4,
  });
}

/** Neighbours come from two tensors in turn: lanes of a thread take different arms. */
function zipped(): GpuCase[] {
  const count = 256;
  const i = coord("i", int(2 * count));
  const half = div(i, int(2));
  const isEven = eq(mod(i, int(2)), int(0));
  const value = select(isEven, load("x", half, "f32"), load("y", half, "f32"));
  const operands = [read("x", "f32", int(count)), read("y", "f32", int(count))];
  const desc = mapDesc(
    "two tensors in turn",
    [...operands, write("z", "f32", int(2 * count))],
    [i],
    [int(2 * count)],
    [{ operand: "z", offset: i, value, guard: null }],
  );
  const inputs = { x: hash(1, 8), y: hash(2, 8) };
  return casesOf(sm80Map, desc, { inputs, tolerance: tolerances.exact, configs: "all" });
}

export const mapCases = (): GpuCase[] => [
  ...zipped(),
  ...(
    [
      "neg",
      "abs",
      "floor",
      "ceil",
      "round",
      "trunc",
      "exp",
      "exp2",
      "sin",
      "cos",
      "tanh",
      "erf",
    ] as const
  ).flatMap((op) => unaries(op, 1001, 6, 0)),
  ...(["sqrt", "rsqrt", "log", "log2"] as const).flatMap((op) => unaries(op, 1000, 3, 3.001)),
  ...(["add", "sub", "mul", "min", "max"] as const).flatMap((op) =>
    binaries(op, "f32", hash(1, 8), hash(2, 8)),
  ),
  ...binaries("div", "f32", hash(1, 8), hash(2, 3, 4)),
  ...binaries("pow", "f32", hash(1, 3, 3.1), hash(2, 3)),
  ...binaries("mod", "f32", hash(1, 30), hash(2, 3, 4)),
  ...(["i32", "i64", "i8", "u8", "u32", "i16"] as const).flatMap((dtype) =>
    (
      [
        "add",
        "sub",
        "mul",
        "div",
        "mod",
        "min",
        "max",
        "and",
        "or",
        "xor",
        "lt",
        "le",
        "eq",
        "ne",
      ] as const
    ).flatMap((op) =>
      binaries(
        op,
        dtype,
        dtype.startsWith("u") ? hash(1, 60, 60, 1) : whole(1, 60),
        dtype.startsWith("u") ? hash(2, 6, 6, 1) : whole(2, 6),
        66,
      ),
    ),
  ),
  ...(["shl", "shr"] as const).flatMap((op) =>
    (["i32", "i64", "u32"] as const).flatMap((dtype) =>
      binaries(
        op,
        dtype,
        dtype === "u32" ? hash(1, 60, 60, 1) : whole(1, 60),
        hash(2, 4, 4, 1),
        66,
      ),
    ),
  ),
  ...(["add", "mul", "div", "min", "max"] as const).flatMap((op) =>
    binaries(op, "f64", hash(1, 8), hash(2, 3, 4)),
  ),
  ...(["f32", "f16", "bf16", "f64"] as const).flatMap((from) =>
    [40, 37].flatMap((count) => casts(from, count, hash(9, 300))),
  ),
  ...(["i8", "i16", "i32", "i64"] as const).flatMap((from) => casts(from, 40, whole(10, 127))),
  ...(["u8", "u16", "u32", "u64"] as const).flatMap((from) =>
    casts(from, 37, hash(10, 120, 120, 1)),
  ),
  ...casts("bool", 40, hash(11, 0.5, 0.5, 1)),
  ...patterns("f16", ["i16", "u16", "bf16"], hash(12, 30)),
  ...patterns("bf16", ["i16", "u16", "f16"], hash(13, 30)),
  ...patterns("i16", ["u16", "f16", "bf16"], whole(14, 3000)),
  ...patterns("u16", ["i16", "f16", "bf16"], hash(15, 3000, 3000, 1)),
  ...patterns("bool", ["i8", "u8"], hash(16, 0.5, 0.5, 1)),
  ...embedding("bf16", 48, false),
  ...embedding("f32", 20, true),
  ...embedding("f16", 7, false),
  ...indexing(24, "f32"),
  ...indexing(16, "bf16"),
  ...indexing(10, "bf16"),
  ...packing("f32", 20, 70),
  ...packing("bf16", 20, 33),
  ...booleans(),
  ...gelu("f32", 1000),
  ...gelu("bf16", 1000),
  ...gelu("f16", 1 << 18),
];
