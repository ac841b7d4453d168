/** Cases of the tensor-core gemm: edges, layouts, prologues, epilogues. */
import type { GemmDesc, Operand, Stage, Store } from "../../../compiler/kernel/desc.js";
import { rawName } from "../../../compiler/kernel/desc.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import {
  add,
  cast,
  ceilDiv,
  constant,
  coord,
  div,
  int,
  load,
  lt,
  mul,
  param,
  sub,
  sym,
  unary,
  zero,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import type { Sm80MmaGemmConfig } from "../../../templates/gemm/sm80-mma-shape.js";
import type { Sm90aWgmmaGemmConfig } from "../../../templates/gemm/sm90a-wgmma-shape.js";
import {
  copyTensors,
  fills,
  roundoff,
  tensorOf,
  untouched,
  type Fill,
  type MmaCase,
} from "./mma-case.js";
import { referenceGemm, sizeOf, type Tensors } from "./mma-reference.js";

/** Of the template that the case is for. */
export type GemmConfig = Sm80MmaGemmConfig | Sm90aWgmmaGemmConfig;

export interface GemmOptions<C extends GemmConfig = GemmConfig> {
  readonly dtype: "f16" | "bf16";
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly group?: 1 | 2;
  /** Leading products; B is then strided. */
  readonly batch?: number;
  /** How many rows there are is loaded: all but this many tiles of rows are left out. */
  readonly counted?: number;
  /** M is a host symbol. */
  readonly symbolic?: boolean;
  readonly a?: "plain" | "offset" | "gather" | "transposed" | "scaled" | "norm";
  /** Row statistics that only the stores use. */
  readonly deferred?: boolean;
  readonly b?: "packed" | "nk" | "kn" | "nk+1" | "kn+1";
  readonly epilogue?: "plain" | "bias+gelu" | "residual" | "gate" | "several";
  readonly out?: DType;
  readonly config?: C;
  readonly whole?: boolean;
}

type Merge = GemmOptions & Required<Omit<GemmOptions, "config">>;

interface Parts {
  readonly o: Merge;
  readonly m: Expr;
  readonly n: Expr;
  readonly k: Expr;
  readonly z: Expr;
  readonly M: Expr;
  readonly operands: Operand[];
  readonly stages: Stage[];
}

const f32 = (value: number): Expr => constant(value, "f32");
const single = (value: Expr): Expr => cast(value, "f32");

function operand(
  parts: Parts,
  name: string,
  dtype: DType,
  elements: Expr,
  access: Operand["access"] = "read",
): string {
  parts.operands.push({ name, dtype, access, elements });
  return name;
}

function statistics(parts: Parts, x: Expr): void {
  const { k } = parts.o;
  const mean = param("mean", "f32");
  const centred = sub(x, mean);
  parts.stages.push(
    { name: "mean", kind: "sum", body: x, finish: mul(param(rawName("mean"), "f32"), f32(1 / k)) },
    {
      name: "rstd",
      kind: "sum",
      body: mul(centred, centred),
      finish: unary("rsqrt", add(mul(param(rawName("rstd"), "f32"), f32(1 / k)), f32(1e-5))),
    },
  );
}

function bodyOfA(parts: Parts): Expr {
  const { o, m, k, z, M } = parts;
  const K = int(o.k);
  const rows = mul(M, int(o.batch));
  const row = add(mul(z, M), m);
  const at = (offset: Expr, dtype: DType = o.dtype): Expr => load("a", offset, dtype);
  switch (o.a) {
    case "plain":
      operand(parts, "a", o.dtype, mul(rows, K));
      return at(add(mul(row, K), k));
    case "offset":
      // A slice of wider rows: aligned, though no row is next to another.
      operand(parts, "a", o.dtype, mul(rows, int(o.k + 24)));
      return at(add(add(mul(row, int(o.k + 24)), int(8)), k));
    case "gather":
      operand(parts, "ids", "i32", rows);
      operand(parts, "a", o.dtype, mul(int(16), K));
      return at(add(mul(cast(load("ids", row, "i32"), "i64"), K), k));
    case "transposed":
      operand(parts, "a", o.dtype, mul(rows, K));
      return at(add(mul(k, rows), row));
    case "scaled":
      operand(parts, "a", "f32", mul(rows, K));
      operand(parts, "scale", "f32", K);
      return mul(at(add(mul(row, K), k), "f32"), load("scale", k, "f32"));
    case "norm": {
      operand(parts, "a", o.dtype, mul(rows, K));
      operand(parts, "scale", "f32", K);
      const x = single(at(add(mul(row, K), k)));
      statistics(parts, x);
      return mul(mul(sub(x, param("mean", "f32")), param("rstd", "f32")), load("scale", k, "f32"));
    }
  }
}

function bodyOfB(parts: Parts): GemmDesc["b"] {
  const { o, n, k, z } = parts;
  const [K, N] = [int(o.k), int(o.n)];
  const at = (offset: Expr): GemmDesc["b"] => ({
    kind: "strided",
    value: load("b", offset, o.dtype),
  });
  switch (o.b) {
    case "packed":
      operand(parts, "b", o.dtype, mul(mul(N, int(o.group)), mul(ceilDiv(K, int(8)), int(8))));
      return { kind: "packed", operand: "b" };
    case "nk":
      operand(parts, "b", o.dtype, mul(mul(int(o.batch), N), K));
      return at(add(mul(add(mul(z, N), n), K), k));
    case "nk+1":
      operand(parts, "b", o.dtype, add(mul(mul(int(o.batch), N), K), int(1)));
      return at(add(add(mul(add(mul(z, N), n), K), k), int(1)));
    case "kn":
      operand(parts, "b", o.dtype, mul(mul(int(o.batch), N), K));
      return at(add(mul(add(mul(z, K), k), N), n));
    case "kn+1":
      operand(parts, "b", o.dtype, add(mul(mul(int(o.batch), N), K), int(1)));
      return at(add(add(mul(add(mul(z, K), k), N), n), int(1)));
  }
}

const acc = param("acc0", "f32");
const sigmoid = (x: Expr): Expr => div(f32(1), add(f32(1), unary("exp", unary("neg", x))));

function storesOf(parts: Parts): Store[] {
  const { o, m, n, z, M } = parts;
  const N = int(o.n);
  const elements = mul(mul(int(o.batch), M), N);
  const at = add(mul(add(mul(z, M), m), N), n);
  const value = o.deferred ? mul(sub(acc, param("mean", "f32")), param("rstd", "f32")) : acc;
  const out = (expr: Expr): Store => ({
    operand: operand(parts, "out", o.out, elements, "write"),
    offset: at,
    value: expr,
    guard: null,
  });
  switch (o.epilogue) {
    case "plain":
      return [out(value)];
    case "bias+gelu": {
      operand(parts, "bias", o.dtype, N);
      const x = add(value, single(load("bias", n, o.dtype)));
      return [out(mul(x, sigmoid(mul(x, f32(1.702)))))];
    }
    case "residual":
      operand(parts, "bias", "f32", N);
      operand(parts, "residual", o.dtype, elements);
      return [out(add(add(value, load("bias", n, "f32")), single(load("residual", at, o.dtype))))];
    case "gate":
      return [out(mul(mul(value, sigmoid(value)), param("acc1", "f32")))];
    case "several": {
      const half = int(Math.floor(o.n / 2));
      const left = lt(n, half);
      operand(parts, "left", o.out, mul(mul(int(o.batch), M), half), "write");
      const transposed = operand(parts, "transposed", "f32", elements, "write");
      return [
        { operand: "left", offset: add(mul(add(mul(z, M), m), half), n), value, guard: left },
        {
          operand: transposed,
          offset: add(mul(add(mul(z, N), n), M), m),
          value: mul(value, f32(2)),
          guard: null,
        },
      ];
    }
  }
}

const defaults = {
  group: 1,
  batch: 1,
  counted: 0,
  symbolic: false,
  a: "plain",
  deferred: false,
  b: "packed",
  epilogue: "plain",
  out: "f32",
  whole: false,
} as const;

function tileTags(config: GemmConfig): string[] {
  const stages = `stages=${config.stages}`;
  return "warpsM" in config
    ? [
        `tile=${config.bm}x${config.bn}x${config.bk}`,
        `warps=${config.warpsM}x${config.warpsN}x${config.warpsK}`,
        stages,
      ]
    : [`tile=${config.bm}x${config.bn}`, `turns=${config.turns}`, stages];
}

function describe(options: GemmOptions): string {
  const { config, m, n, k, dtype, ...rest } = options;
  const tags = Object.entries(rest).map(([key, value]) => `${key}=${value}`);
  const tile = config === undefined ? [] : tileTags(config);
  return ["gemm", dtype, `${m}x${n}x${k}`, ...tags, ...tile].join(" ");
}

export function gemmDesc(options: GemmOptions): {
  desc: GemmDesc;
  symbols: Record<string, number>;
} {
  const o: Merge = { ...defaults, ...options };
  const M = o.symbolic
    ? sym({ name: "rows", space: "host", min: 1, max: 4096, divisor: 1 })
    : int(o.m);
  const parts: Parts = {
    o,
    M,
    operands: [],
    stages: [],
    m: coord("m", M),
    n: coord("n", int(o.n)),
    k: coord("k", int(o.k)),
    z: o.batch === 1 ? zero : coord("z", int(o.batch)),
  };
  const a = bodyOfA(parts);
  if (o.deferred) statistics(parts, single(a));
  const b = bodyOfB(parts);
  const stores = storesOf(parts);
  const counts =
    o.counted === 0 ? {} : { rows: load(operand(parts, "count", "i32", int(1)), zero, "i32") };
  const desc: GemmDesc = {
    family: "gemm",
    operands: parts.operands,
    label: describe(options),
    batch: o.batch === 1 ? [] : [parts.z],
    batchExtents: o.batch === 1 ? [] : [int(o.batch)],
    m: parts.m,
    mExtent: M,
    ...counts,
    n: parts.n,
    nExtent: int(o.n),
    k: parts.k,
    kExtent: int(o.k),
    group: o.group,
    dtype: o.dtype,
    a,
    stages: parts.stages,
    b,
    stores,
  };
  return { desc, symbols: o.symbolic ? { rows: o.m } : {} };
}

export function gemmCase<C extends GemmConfig = Sm80MmaGemmConfig>(
  options: GemmOptions<C>,
): MmaCase<GemmDesc, C> {
  const { desc, symbols } = gemmDesc(options);
  const o: Merge = { ...defaults, ...options };
  const tensors: Tensors = new Map();
  // The first row tile that is left out begins at `end`.
  const end = o.counted * (options.config?.bm ?? 0);
  const given: Record<string, Fill> = { ids: (i) => (i * 7) % 16, count: () => end - 3 };
  desc.operands.forEach((entry, index) => {
    const count = sizeOf(entry.elements, symbols);
    const fill: Fill =
      entry.access === "write"
        ? () => untouched
        : (given[entry.name] ?? (o.whole ? fills.whole : fills.unit));
    const values = tensorOf(entry, count, fill, index + 1);
    // Packed rows end with zeros.
    const row = Math.ceil(o.k / 8) * 8;
    if (entry.name === "b" && o.b === "packed")
      values.forEach((_, i) => {
        if (i % row >= o.k) values[i] = 0;
      });
    tensors.set(entry.name, values);
  });
  const expected = copyTensors(tensors);
  referenceGemm(desc, expected, symbols);
  if (o.counted > 0) expected.get("out")!.fill(untouched, end * o.n);
  const rounding = Math.max(
    roundoff[o.out]!,
    o.a === "scaled" || o.a === "norm" ? roundoff[o.dtype]! / 4 : 0,
    1e-5,
  );
  const tolerance =
    o.whole && o.out === "f32" && o.epilogue === "plain" && o.a !== "norm" && !o.deferred
      ? 0
      : rounding * 4;
  return {
    name: desc.label,
    desc,
    config: options.config ?? null,
    symbols,
    tensors,
    expected,
    tolerance,
  };
}
