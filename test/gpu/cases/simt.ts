/** Cases of map, reduce and the f32 gemm and attention: every configuration, edge shapes, bodies. */
import type {
  AttentionDesc,
  GemmDesc,
  KernelDesc,
  MapDesc,
  Operand,
  ReduceDesc,
  Stage,
} from "../../../compiler/kernel/desc.js";
import { rawName, statusOperand } from "../../../compiler/kernel/desc.js";
import type { FamilyTemplate } from "../../../compiler/kernel/family.js";
import { packedElements, unpackedIndex } from "../../../compiler/kernel/packing.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import {
  add,
  and,
  binary,
  bitcast,
  cast,
  check,
  constant,
  coord,
  div,
  eq,
  ge,
  int,
  le,
  load,
  lt,
  max,
  min,
  mod,
  mul,
  ne,
  not,
  param,
  select,
  sub,
  sym,
  unary,
} from "../../../compiler/scalar/build.js";
import type { BinaryOp, Expr, UnaryOp } from "../../../compiler/scalar/expr.js";
import { sm80Map } from "../../../templates/map/sm80.js";
import { sm80Reduce } from "../../../templates/reduce/sm80.js";
import { sm80SimtGemm } from "../../../templates/gemm/sm80-simt.js";
import { sm80SimtAttention } from "../../../templates/attention/sm80-simt.js";
import {
  productTolerance,
  seedOf,
  tolerances,
  type Fill,
  type GpuCase,
  type Symbols,
  type Tolerance,
} from "./case.js";
import { reference } from "./reference.js";

const target = targetNamed("sm_80");
const f32 = (value: number): Expr => constant(Math.fround(value), "f32");
const size = (name: string, highest = 4096): Expr =>
  sym({ name, space: "host", min: 1, max: highest, divisor: 1 });
const hash = (seed: number, scale = 1, shift = 0, step?: number): Fill =>
  step === undefined
    ? { kind: "hash", seed: seedOf(seed), scale, shift }
    : { kind: "hash", seed: seedOf(seed), scale, shift, step };
const values = (list: readonly (number | bigint)[]): Fill => ({ kind: "values", values: list });
const row = (at: Expr, width: Expr, column: Expr): Expr => add(mul(at, width), column);
const read = (name: string, dtype: DType, elements: Expr): Operand => ({
  name,
  dtype,
  access: "read",
  elements,
});
const write = (name: string, dtype: DType, elements: Expr): Operand => ({
  name,
  dtype,
  access: "write",
  elements,
});
const status: Operand = {
  name: statusOperand,
  dtype: "i64",
  access: "readwrite",
  elements: int(1),
};
const single = (value: Expr): Expr => cast(value, "f32");

interface CaseOptions {
  readonly symbols?: Symbols;
  readonly inputs: Readonly<Record<string, Fill>>;
  readonly tolerance: Tolerance;
  /** Which candidates: the first (default), all, or one by index. */
  readonly configs?: "first" | "all" | number;
  readonly large?: boolean;
}

function casesOf<D extends KernelDesc, C>(
  template: FamilyTemplate<D["family"], C>,
  desc: D,
  options: CaseOptions,
): GpuCase[] {
  const { symbols = {}, inputs, tolerance, configs = "first", large = false } = options;
  const all = template.candidates(desc as never, target);
  const chosen = configs === "all" ? all : [all[configs === "first" ? 0 : configs]!];
  return chosen.map((config, i) => ({
    name: `${desc.family} ${desc.label}${configs === "all" ? ` #${i} ${Object.values(config as object).join("-")}` : ""}`,
    desc,
    kernel: (on = target) => template.render(desc as never, config, on),
    symbols,
    inputs,
    expected: () => reference(desc, inputs, symbols, target),
    tolerance,
    large,
  }));
}

// ---------------------------------------------------------------------------------------------- map

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

const whole = (seed: number, scale: number): Fill => hash(seed, scale, 0.5, 1);

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

const mapCases = (): GpuCase[] => [
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

// ------------------------------------------------------------------------------------------- reduce

function layerNormStages(x: Expr, width: Expr): Stage[] {
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

const normalised = (x: Expr): Expr => mul(sub(x, param("mean", "f32")), param("rstd", "f32"));

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

const reduceCases = (): GpuCase[] => [
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

// --------------------------------------------------------------------------------------------- gemm

interface GemmOptions {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly symbolic?: boolean;
  readonly a?: "plain" | "bf16" | "gather" | "transposed" | "norm" | "rms";
  readonly b?: "packed" | "nk" | "kn";
  /** As B is stored; it is multiplied in f32. */
  readonly stored?: "f32" | "bf16";
  readonly batch?: number;
  readonly epilogue?: "plain" | "gelu" | "gate" | "qkv";
  readonly out?: "f32" | "bf16";
  readonly configs?: CaseOptions["configs"];
  readonly exact?: boolean;
}

interface GemmParts {
  readonly desc: GemmDesc;
  readonly inputs: Record<string, Fill>;
}

function gemmInput(
  o: GemmOptions,
  m: Expr,
  k: Expr,
  z: Expr | null,
  M: Expr,
): { a: Expr; stages: Stage[]; operands: Operand[] } {
  const K = int(o.k);
  const plain = row(z === null ? m : row(z, M, m), K, k);
  const elements = mul(mul(int(o.batch ?? 1), M), K);
  if (o.a === "bf16")
    return {
      a: single(load("x", plain, "bf16")),
      stages: [],
      operands: [read("x", "bf16", elements)],
    };
  if (o.a === "transposed")
    return {
      a: load("x", row(k, M, m), "f32"),
      stages: [],
      operands: [read("x", "f32", elements)],
    };
  if (o.a === "gather") {
    const id = check(cast(load("ids", m, "i32"), "i64"), M, 3);
    return {
      a: load("x", row(id, K, k), "f32"),
      stages: [],
      operands: [read("ids", "i32", M), read("x", "f32", elements), status],
    };
  }
  const x = load("x", plain, "f32");
  const operands = [read("x", "f32", elements)];
  if (o.a === "norm")
    return {
      a: mul(normalised(x), load("gamma", k, "f32")),
      stages: layerNormStages(x, K),
      operands: [...operands, read("gamma", "f32", K)],
    };
  if (o.a === "rms") {
    const finish = unary("rsqrt", add(mul(param(rawName("rstd"), "f32"), f32(1 / o.k)), f32(1e-5)));
    return {
      a: mul(x, param("rstd", "f32")),
      stages: [{ name: "rstd", kind: "sum", body: mul(x, x), finish }],
      operands,
    };
  }
  return { a: x, stages: [], operands };
}

function gemmStores(
  o: GemmOptions,
  m: Expr,
  n: Expr,
  z: Expr | null,
  M: Expr,
): { stores: GemmDesc["stores"]; operands: Operand[] } {
  const N = int(o.n);
  const out = o.out ?? "f32";
  const at = row(z === null ? m : row(z, M, m), N, n);
  const elements = mul(mul(int(o.batch ?? 1), M), N);
  const acc = param("acc0", "f32");
  if (o.epilogue === "gate") {
    const gate = param("acc0", "f32");
    const value = mul(
      div(gate, add(f32(1), unary("exp", unary("neg", gate)))),
      param("acc1", "f32"),
    );
    return {
      stores: [{ operand: "y", offset: at, value, guard: null }],
      operands: [write("y", out, elements)],
    };
  }
  if (o.epilogue === "gelu") {
    const x = add(acc, load("bias", n, "f32"));
    const value = add(
      mul(mul(f32(0.5), x), add(f32(1), unary("erf", mul(x, f32(Math.SQRT1_2))))),
      single(load("rest", at, out)),
    );
    return {
      stores: [{ operand: "y", offset: at, value, guard: null }],
      operands: [read("bias", "f32", N), read("rest", out, elements), write("y", out, elements)],
    };
  }
  if (o.epilogue === "qkv") {
    const third = o.n / 3;
    const stores = ["q", "k", "v"].map((name, i) => ({
      operand: name,
      offset: row(m, int(third), sub(n, int(i * third))),
      value: add(acc, load(`bias ${name}`, sub(n, int(i * third)), "f32")),
      guard: and(ge(n, int(i * third)), lt(n, int((i + 1) * third))),
    }));
    return {
      stores,
      operands: ["q", "k", "v"].flatMap((name) => [
        write(name, out, mul(M, int(third))),
        read(`bias ${name}`, "f32", int(third)),
      ]),
    };
  }
  return {
    stores: [{ operand: "y", offset: at, value: acc, guard: null }],
    operands: [write("y", out, elements)],
  };
}

function gemmParts(o: GemmOptions): GemmParts {
  const M = o.symbolic === true ? size("m") : int(o.m);
  const group = o.epilogue === "gate" ? 2 : 1;
  const [m, n, k] = [coord("m", M), coord("n", int(o.n)), coord("k", int(o.k))];
  const z = o.batch === undefined ? null : coord("z", int(o.batch));
  const input = gemmInput(o, m, k, z, M);
  const output = gemmStores(o, m, n, z, M);
  const layout = target.packing("f32");
  const offset =
    o.b === "nk"
      ? row(z === null ? n : row(z, int(o.n), n), int(o.k), k)
      : row(z === null ? k : row(z, int(o.k), k), int(o.n), n);
  const packed = (o.b ?? "packed") === "packed";
  const stored = o.stored ?? "f32";
  const weight = read(
    "w",
    stored,
    packed ? packedElements(layout, int(o.k), int(o.n * group)) : int((o.batch ?? 1) * o.k * o.n),
  );
  const desc: GemmDesc = {
    family: "gemm",
    label: "",
    dtype: "f32",
    group,
    batch: z === null ? [] : [z],
    batchExtents: z === null ? [] : [int(o.batch!)],
    m,
    mExtent: M,
    n,
    nExtent: int(o.n),
    k,
    kExtent: int(o.k),
    a: input.a,
    stages: input.stages,
    stores: output.stores,
    b: packed
      ? { kind: "packed", operand: "w" }
      : { kind: "strided", value: cast(load("w", offset, stored), "f32") },
    operands: [
      ...input.operands.filter((each) => each !== status),
      weight,
      ...output.operands,
      ...input.operands.filter((each) => each === status),
    ],
  };
  const step = o.exact === true ? 1 : undefined;
  const fill = (seed: number): Fill => (step === undefined ? hash(seed) : hash(seed, 3, 0.5, 1));
  const inputs: Record<string, Fill> = {
    x: fill(20),
    w: fill(21),
    gamma: hash(22),
    bias: hash(23),
    rest: hash(24),
    "bias q": hash(25),
    "bias k": hash(26),
    "bias v": hash(27),
    status: values([0]),
    ids: values(Array.from({ length: o.m }, (_, i) => (i * 7) % o.m)),
  };
  return { desc, inputs };
}

export function gemmCases(o: GemmOptions): GpuCase[] {
  const { desc, inputs } = gemmParts(o);
  const label = `${o.m}x${o.n}x${o.k} ${o.a ?? "plain"} ${o.b ?? "packed"}${o.stored === undefined ? "" : ` ${o.stored}`} ${o.epilogue ?? "plain"} ${o.out ?? "f32"}${o.batch === undefined ? "" : ` batch ${o.batch}`}${o.symbolic === true ? " symbolic" : ""}`;
  const used = Object.fromEntries(
    desc.operands
      .filter(({ access }) => access !== "write")
      .map(({ name }) => [name, inputs[name]!]),
  );
  const tolerance = o.exact === true ? tolerances.exact : productTolerance(o.k, o.out);
  return casesOf(
    sm80SimtGemm,
    { ...desc, label },
    {
      symbols: { m: o.m },
      inputs: used,
      tolerance,
      configs: o.configs ?? "first",
      large: o.m * o.n * o.k > 4e6,
    },
  );
}

const allGemmCases = (): GpuCase[] =>
  (
    [
      { m: 70, n: 140, k: 72, exact: true, configs: "all" },
      { m: 1, n: 1, k: 1, exact: true, configs: "all" },
      { m: 33, n: 67, k: 45, exact: true, configs: "all", symbolic: true },
      { m: 9, n: 130, k: 130, configs: "all", a: "norm", epilogue: "gelu" },
      { m: 10, n: 40, k: 64, configs: "all", epilogue: "gate", a: "rms" },
      { m: 21, n: 51, k: 40, configs: "all", epilogue: "gate", out: "bf16", symbolic: true },
      { m: 20, n: 24, k: 36, configs: "all", b: "nk", batch: 2 },
      { m: 20, n: 30, k: 33, configs: "all", b: "kn", batch: 3 },
      { m: 19, n: 96, k: 64, configs: "all", epilogue: "qkv" },
      { m: 19, n: 66, k: 64, configs: "all", epilogue: "qkv", out: "bf16" },
      { m: 17, n: 64, k: 40, configs: "all", a: "bf16", epilogue: "gelu", out: "bf16" },
      { m: 17, n: 64, k: 40, configs: "all", a: "gather" },
      { m: 18, n: 64, k: 40, configs: "all", a: "transposed", b: "nk" },
      { m: 18, n: 66, k: 40, configs: "all", b: "nk", stored: "bf16" },
      { m: 18, n: 66, k: 43, configs: "all", b: "kn", stored: "bf16" },
      { m: 3, n: 40, k: 1100, a: "norm" },
      { m: 4, n: 40, k: 63, a: "norm", configs: "all" },
      { m: 512, n: 768, k: 768 },
      { m: 1, n: 3072, k: 768, a: "norm", epilogue: "gelu" },
      { m: 8, n: 768, k: 3072 },
      { m: 128, n: 2304, k: 768, a: "norm", epilogue: "qkv" },
    ] as GemmOptions[]
  ).flatMap(gemmCases);

// ---------------------------------------------------------------------------------------- attention

interface AttentionOptions {
  readonly batch: number;
  readonly heads: number;
  readonly repeat: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly width?: number;
  readonly mask?: "none" | "causal" | "cached" | "window" | "tensor" | "nothing";
  readonly configs?: CaseOptions["configs"];
  readonly out?: "f32" | "bf16";
  readonly dtype?: "f32" | "f16" | "bf16";
  /** Keys and values are in pages of so many, which a table names last to first. */
  readonly page?: number;
}

export function attentionCases(o: AttentionOptions): GpuCase[] {
  const [B, Q] = [size("batch", 8), size("queries", 1024)];
  const e0 = o.width ?? o.depth;
  const [G, R, C, D, E] = [int(o.heads), int(o.repeat), int(o.keys), int(o.depth), int(e0)];
  const queries = o.queries === 1 ? int(1) : Q;
  const [b, g, r, q] = [coord("b", B), coord("g", G), coord("r", R), coord("q", queries)];
  const [k, d, e] = [coord("k", C), coord("d", D), coord("e", E)];
  const head = row(g, R, r);
  const H = mul(G, R);
  const at = (last: Expr, width: Expr): Expr => row(row(row(b, queries, q), H, head), width, last);
  const perSequence = Math.ceil(o.keys / (o.page ?? o.keys));
  const inPage = int(o.page ?? o.keys);
  const pages = mul(B, int(perSequence));
  const entry = cast(load("table", row(b, int(perSequence), div(k, inPage)), "i32"), "i64");
  const page = o.page === undefined ? b : max(int(0), min(entry, sub(pages, int(1))));
  const kv = (last: Expr, width: Expr): Expr =>
    row(row(row(page, G, g), inPage, mod(k, inPage)), width, last);
  const held = mul(mul(pages, G), inPage);
  const past = cast(load("past", b, "i32"), "i64");
  const score = param("score", "f32");
  const low = f32(-Infinity);
  const cached = o.mask === "cached";
  const position = cached ? add(past, q) : q;
  const limit = cached ? add(past, queries) : C;
  const until = add(position, int(1));
  const masks: Record<
    NonNullable<AttentionOptions["mask"]>,
    { score: Expr; first: Expr; end: Expr }
  > = {
    none: { score, first: int(0), end: C },
    causal: { score: select(le(k, q), score, low), first: int(0), end: until },
    cached: { score: select(lt(k, until), score, low), first: int(0), end: until },
    window: {
      score: select(and(le(k, q), lt(sub(q, int(5)), k)), score, low),
      first: max(int(0), sub(q, int(4))),
      end: until,
    },
    tensor: {
      score: add(mul(score, f32(0.5)), load("mask", row(q, C, k), "f32")),
      first: int(0),
      end: C,
    },
    nothing: {
      score: select(lt(k, sub(q, int(2))), score, low),
      first: int(0),
      end: max(int(0), sub(q, int(2))),
    },
  };
  const mask = masks[o.mask ?? "none"];
  const { out = "f32", dtype = "f32" } = o;
  const desc: AttentionDesc = {
    family: "attention",
    dtype,
    b,
    g,
    r,
    q,
    k,
    d,
    e,
    extents: { b: B, g: G, r: R, q: queries, k: limit, d: D, e: E },
    label: `b${o.batch} g${o.heads} r${o.repeat} q${o.queries} k${o.keys} d${o.depth} e${e0} ${o.mask ?? "none"} ${dtype === "f32" ? "" : `${dtype} `}${out}${o.page === undefined ? "" : ` page ${o.page}`}`,
    queries: load("q", at(d, D), dtype),
    keys: load("k", kv(d, D), dtype),
    values: load("v", kv(e, E), dtype),
    scale: 1 / Math.sqrt(o.depth),
    score: mask.score,
    bounds: { first: mask.first, end: mask.end },
    operands: [
      read("q", dtype, mul(mul(mul(B, queries), H), D)),
      read("k", dtype, mul(held, D)),
      read("v", dtype, mul(held, E)),
      ...(o.page === undefined ? [] : [read("table", "i32", pages)]),
      ...(cached ? [read("past", "i32", B)] : []),
      ...(o.mask === "tensor" ? [read("mask", "f32", mul(queries, C))] : []),
      write("o", out, mul(mul(mul(B, queries), H), E)),
    ],
    stores: [{ operand: "o", offset: at(e, E), value: param("acc", "f32"), guard: null }],
  };
  const inputs: Record<string, Fill> = {
    q: hash(30, 2),
    k: hash(31, 2),
    v: hash(32),
    past: values(
      Array.from({ length: o.batch }, (_, i) => Math.max(0, o.keys - o.queries - 3 * i)),
    ),
    mask: hash(33, 3),
    table: values(
      Array.from({ length: o.batch * perSequence }, (_, i) => o.batch * perSequence - 1 - i),
    ),
  };
  const used = Object.fromEntries(
    desc.operands
      .filter(({ access }) => access === "read")
      .map(({ name }) => [name, inputs[name]!]),
  );
  const work = o.batch * o.heads * o.repeat * o.queries * o.keys * o.depth;
  return casesOf(sm80SimtAttention, desc, {
    symbols: { batch: o.batch, queries: o.queries },
    inputs: used,
    tolerance: { absolute: 2e-6, relative: out === "f32" ? 1e-5 : 2 ** -7, rms: 1e-5 },
    configs: o.configs ?? "first",
    large: work > 2e6,
  });
}

const allAttentionCases = (): GpuCase[] =>
  (
    [
      { batch: 2, heads: 2, repeat: 2, queries: 5, keys: 70, depth: 20, configs: "all" },
      {
        batch: 1,
        heads: 1,
        repeat: 1,
        queries: 37,
        keys: 37,
        depth: 32,
        mask: "causal",
        configs: "all",
      },
      {
        batch: 2,
        heads: 1,
        repeat: 3,
        queries: 1,
        keys: 300,
        depth: 64,
        mask: "cached",
        configs: "all",
      },
      { batch: 2, heads: 2, repeat: 2, queries: 7, keys: 50, depth: 16, mask: "cached" },
      { batch: 2, heads: 2, repeat: 2, queries: 7, keys: 50, depth: 16, mask: "cached", page: 16 },
      { batch: 3, heads: 1, repeat: 2, queries: 1, keys: 50, depth: 20, mask: "cached", page: 7 },
      { batch: 1, heads: 2, repeat: 1, queries: 20, keys: 20, depth: 8, mask: "window" },
      {
        batch: 1,
        heads: 1,
        repeat: 2,
        queries: 9,
        keys: 33,
        depth: 12,
        mask: "tensor",
        out: "bf16",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 9, keys: 33, depth: 16, mask: "nothing" },
      { batch: 1, heads: 1, repeat: 1, queries: 3, keys: 5, depth: 6, width: 10 },
      {
        batch: 1,
        heads: 1,
        repeat: 1,
        queries: 3,
        keys: 40,
        depth: 128,
        width: 96,
        configs: "all",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 2, keys: 45, depth: 256, configs: "all" },
      { batch: 1, heads: 1, repeat: 1, queries: 2, keys: 9, depth: 5, width: 33 },
      { batch: 1, heads: 2, repeat: 1, queries: 3, keys: 40, depth: 20, dtype: "bf16" },
      { batch: 1, heads: 1, repeat: 2, queries: 2, keys: 9, depth: 5, width: 7, dtype: "f16" },
      {
        batch: 1,
        heads: 1,
        repeat: 8,
        queries: 1,
        keys: 40,
        depth: 576,
        width: 128,
        mask: "cached",
        configs: "all",
      },
      { batch: 1, heads: 1, repeat: 1, queries: 1, keys: 1, depth: 64, mask: "cached" },
      { batch: 1, heads: 12, repeat: 1, queries: 512, keys: 512, depth: 64, mask: "causal" },
      { batch: 4, heads: 8, repeat: 4, queries: 1, keys: 1000, depth: 128, mask: "cached" },
      { batch: 1, heads: 2, repeat: 4, queries: 128, keys: 300, depth: 128, mask: "cached" },
    ] as AttentionOptions[]
  ).flatMap(attentionCases);

export const simtCases = (): GpuCase[] => [
  ...mapCases(),
  ...reduceCases(),
  ...allGemmCases(),
  ...allAttentionCases(),
];
