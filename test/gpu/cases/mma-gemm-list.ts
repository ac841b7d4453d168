/** The gemm cases: small enough for an interpreter, each aimed at one edge or one path. */
import type { Sm80MmaGemmConfig } from "../../../templates/gemm/sm80-mma-shape.js";
import { gemmCase, type GemmOptions as Options } from "./mma-gemm.js";

type GemmOptions = Options<Sm80MmaGemmConfig>;

export const tile = (
  bm: number,
  bn: number,
  bk: number,
  stages: number,
  warpsM: number,
  warpsN: number,
  warpsK = 1,
  raster = 0,
): Sm80MmaGemmConfig => ({ bm, bn, bk, stages, warpsM, warpsN, warpsK, raster });

const square = { dtype: "bf16", m: 70, n: 56, k: 136 } as const;

/** Every shape of tile, on ragged extents. */
const tiles: GemmOptions[] = [
  tile(16, 8, 64, 4, 1, 1, 4),
  tile(16, 16, 128, 3, 1, 1, 8),
  tile(16, 32, 64, 4, 1, 2, 2),
  tile(16, 64, 64, 2, 1, 4, 1),
  tile(16, 128, 64, 3, 1, 4, 2),
  tile(32, 32, 64, 5, 1, 1, 4),
  tile(32, 64, 32, 3, 2, 2, 1),
  tile(32, 8, 128, 3, 1, 1, 4),
  tile(64, 32, 64, 3, 2, 1, 2),
  tile(64, 64, 32, 4, 2, 2),
  tile(64, 128, 64, 3, 1, 4),
  tile(64, 256, 32, 3, 1, 4),
  tile(128, 64, 64, 3, 4, 1),
  tile(128, 128, 32, 2, 2, 2),
  tile(128, 128, 64, 3, 2, 4),
  tile(128, 256, 32, 4, 2, 4),
].map((config) => ({ ...square, config, whole: true }));

const edges: GemmOptions[] = [
  { dtype: "bf16", m: 1, n: 8, k: 8 },
  { dtype: "f16", m: 1, n: 1, k: 1 },
  { dtype: "bf16", m: 17, n: 33, k: 40 },
  { dtype: "f16", m: 16, n: 64, k: 512 },
  { dtype: "bf16", m: 3, n: 19, k: 129 },
  { dtype: "f16", m: 33, n: 130, k: 264 },
  { dtype: "bf16", m: 5, n: 40, k: 1000, out: "bf16" },
  { dtype: "f16", m: 130, n: 72, k: 64, out: "f16" },
  { dtype: "bf16", m: 40, n: 24, k: 64, symbolic: true },
  { dtype: "bf16", m: 1, n: 48, k: 320, symbolic: true },
].map((options) => ({ ...options, whole: true }) as GemmOptions);

const small = tile(32, 32, 32, 3, 2, 2);
const sliced = tile(16, 32, 64, 4, 1, 1, 4);

/** Layouts of A and B. */
const sources: GemmOptions[] = (
  ["plain", "offset", "gather", "transposed", "scaled"] as const
).flatMap((a) =>
  (["packed", "nk", "kn", "nk+1", "kn+1"] as const).map((b) => ({
    dtype: b === "kn" ? "f16" : "bf16",
    m: 37,
    n: 40,
    k: 104,
    a,
    b,
    whole: true,
    config: b === "packed" || b === "kn" ? small : tile(32, 64, 64, 2, 2, 2),
  })),
);

const oddLayouts: GemmOptions[] = [
  { dtype: "bf16", m: 19, n: 21, k: 43, a: "plain", b: "packed", config: small },
  { dtype: "bf16", m: 19, n: 21, k: 43, a: "transposed", b: "kn", config: sliced },
  { dtype: "f16", m: 19, n: 21, k: 43, a: "scaled", b: "nk", config: small },
  { dtype: "f16", m: 20, n: 24, k: 40, b: "kn", batch: 3, config: sliced },
  { dtype: "bf16", m: 20, n: 24, k: 43, b: "nk", batch: 2, config: small },
  { dtype: "bf16", m: 200, n: 72, k: 40, config: tile(32, 32, 32, 3, 2, 2, 1, 4) },
].map((options) => ({ ...options, whole: true }) as GemmOptions);

/** Prologues with row statistics, and epilogues. */
const bodies: GemmOptions[] = [
  { dtype: "bf16", m: 21, n: 48, k: 264, a: "norm", config: small },
  { dtype: "f16", m: 3, n: 48, k: 768, a: "norm", config: sliced, out: "f16" },
  { dtype: "bf16", m: 3, n: 48, k: 2056, a: "norm", config: sliced },
  { dtype: "bf16", m: 5, n: 40, k: 129, a: "norm", config: small, symbolic: true },
  { dtype: "bf16", m: 21, n: 48, k: 264, deferred: true, config: small },
  {
    dtype: "f16",
    m: 2,
    n: 96,
    k: 512,
    deferred: true,
    config: sliced,
    epilogue: "bias+gelu",
    out: "f16",
  },
  { dtype: "bf16", m: 21, n: 48, k: 64, epilogue: "bias+gelu", out: "bf16", config: small },
  { dtype: "f16", m: 21, n: 47, k: 64, epilogue: "bias+gelu", out: "f16", config: small },
  {
    dtype: "bf16",
    m: 33,
    n: 64,
    k: 64,
    epilogue: "residual",
    out: "bf16",
    config: tile(32, 64, 32, 3, 2, 2),
  },
  { dtype: "bf16", m: 33, n: 40, k: 72, group: 2, epilogue: "gate", out: "bf16", config: small },
  { dtype: "f16", m: 1, n: 72, k: 256, group: 2, epilogue: "gate", out: "f16", config: sliced },
  { dtype: "bf16", m: 9, n: 29, k: 64, group: 2, epilogue: "gate", a: "norm", config: sliced },
  { dtype: "bf16", m: 33, n: 48, k: 72, epilogue: "several", out: "bf16", config: small },
  {
    dtype: "f16",
    m: 33,
    n: 47,
    k: 72,
    epilogue: "several",
    out: "f16",
    config: small,
    symbolic: true,
  },
  {
    dtype: "bf16",
    m: 140,
    n: 264,
    k: 64,
    epilogue: "bias+gelu",
    out: "bf16",
    config: tile(128, 256, 32, 3, 2, 4),
  },
  {
    dtype: "bf16",
    m: 70,
    n: 96,
    k: 64,
    epilogue: "residual",
    config: tile(64, 64, 64, 2, 2, 2),
    batch: 2,
    b: "kn",
  },
];

export const gemmOptions: readonly GemmOptions[] = [
  ...tiles,
  ...edges,
  ...sources,
  ...oddLayouts,
  ...bodies,
];

export const gemmCases = (): ReturnType<typeof gemmCase<Sm80MmaGemmConfig>>[] =>
  gemmOptions.map((options) => gemmCase(options));
