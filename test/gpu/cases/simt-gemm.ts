/** Cases of the f32 gemm: every configuration, tile edges, prologues, stores. */
import type { GemmDesc, Operand, Stage } from "../../../compiler/kernel/desc.js";
import { rawName } from "../../../compiler/kernel/desc.js";
import { packedElements } from "../../../compiler/kernel/packing.js";
import {
  add,
  and,
  cast,
  check,
  coord,
  div,
  ge,
  int,
  load,
  lt,
  mul,
  param,
  sub,
  unary,
} from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import { sm80SimtGemm } from "../../../templates/gemm/sm80-simt.js";
import { productTolerance, tolerances, type Fill, type GpuCase } from "./case.js";

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
  write,
} from "./simt-parts.js";
import type { CaseOptions } from "./simt-parts.js";
import { layerNormStages, normalised } from "./reduce.js";

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

export const allGemmCases = (): GpuCase[] =>
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
