/** The cases of the sm_90a gemm: every tile on ragged extents, layouts, epilogues, several tiles a block. */
import type { Sm90aWgmmaGemmConfig } from "../../../templates/gemm/sm90a-wgmma-shape.js";
import { gemmCase, type GemmOptions as Options } from "./mma-gemm.js";

type GemmOptions = Options<Sm90aWgmmaGemmConfig>;

export const groupTile = (
  bm: number,
  bn: number,
  stages: number,
  groupsM: number,
  groupsN: number,
  staged: number,
  turns = 1,
): Sm90aWgmmaGemmConfig => ({ bm, bn, stages, groupsM, groupsN, turns, staged, raster: 8 });

const ragged = { dtype: "bf16", m: 70, n: 72, k: 136 } as const;

/** Every shape of tile, on extents that are no multiple of it. */
const tiles: GemmOptions[] = [
  { ...ragged, m: 150, n: 264, config: groupTile(128, 256, 3, 2, 1, 64) },
  { ...ragged, m: 130, n: 264, config: groupTile(128, 256, 4, 2, 1, 32) },
  { ...ragged, m: 264, n: 136, config: groupTile(256, 128, 3, 2, 1, 64) },
  { ...ragged, m: 150, n: 200, config: groupTile(128, 192, 4, 2, 1, 64) },
  { ...ragged, m: 150, n: 168, config: groupTile(128, 160, 4, 2, 1, 32) },
  { ...ragged, m: 150, n: 136, config: groupTile(128, 128, 4, 2, 1, 64) },
  { ...ragged, m: 150, n: 104, config: groupTile(128, 96, 4, 2, 1, 32) },
  { ...ragged, m: 150, n: 72, config: groupTile(128, 64, 4, 2, 1, 64) },
  { ...ragged, n: 264, config: groupTile(64, 256, 4, 1, 2, 64) },
  { ...ragged, n: 200, config: groupTile(64, 192, 4, 1, 2, 32) },
  { ...ragged, n: 136, config: groupTile(64, 128, 5, 1, 2, 64) },
  { ...ragged, m: 200, n: 72, k: 520, config: groupTile(64, 64, 3, 1, 2, 32) },
  { ...ragged, m: 150, n: 264, config: groupTile(128, 128, 5, 1, 1, 64, 2) },
  { ...ragged, m: 264, n: 72, k: 520, config: groupTile(128, 64, 3, 1, 1, 64, 2) },
  { ...ragged, n: 264, k: 264, config: groupTile(64, 256, 4, 1, 1, 32, 2) },
  { ...ragged, m: 1, n: 8, config: groupTile(64, 64, 4, 1, 1, 32, 2) },
].map((options) => ({ ...options, whole: true }));

const small = groupTile(64, 128, 4, 1, 2, 32);

const edges: GemmOptions[] = [
  { dtype: "f16", m: 1, n: 8, k: 8 },
  { dtype: "bf16", m: 1, n: 1, k: 8 },
  { dtype: "bf16", m: 64, n: 128, k: 64 },
  { dtype: "f16", m: 65, n: 129, k: 72 },
  { dtype: "bf16", m: 63, n: 127, k: 512, out: "bf16" },
  { dtype: "f16", m: 5, n: 33, k: 1000, out: "f16" },
  { dtype: "bf16", m: 40, n: 24, k: 64, symbolic: true },
  { dtype: "bf16", m: 40, n: 24, k: 200, a: "offset" },
  { dtype: "bf16", m: 40, n: 24, k: 200, a: "gather" },
  { dtype: "f16", m: 70, n: 136, k: 72, b: "nk", batch: 2 },
  { dtype: "bf16", m: 200, n: 136, k: 72, counted: 2 },
  { dtype: "bf16", m: 200, n: 264, k: 72, b: "nk", config: { ...small, raster: 2 } },
].map((options) => ({ whole: true, config: small, ...options }) as GemmOptions);

const bodies: GemmOptions[] = [
  { dtype: "bf16", m: 70, n: 48, k: 264, deferred: true },
  {
    dtype: "bf16",
    m: 200,
    n: 136,
    k: 264,
    deferred: true,
    config: groupTile(128, 64, 4, 1, 1, 32, 2),
  },
  { dtype: "f16", m: 70, n: 136, k: 72, deferred: true, epilogue: "bias+gelu", out: "f16" },
  { dtype: "bf16", m: 70, n: 47, k: 64, epilogue: "bias+gelu", out: "bf16" },
  { dtype: "bf16", m: 33, n: 64, k: 64, epilogue: "residual", out: "bf16" },
  { dtype: "bf16", m: 70, n: 72, k: 72, group: 2, epilogue: "gate", out: "bf16" },
  { dtype: "f16", m: 33, n: 47, k: 72, epilogue: "several", out: "f16", symbolic: true },
].map((options) => ({ config: small, ...options }) as GemmOptions);

export const wgmmaGemmOptions: readonly GemmOptions[] = [...tiles, ...edges, ...bodies];

export const wgmmaGemmCases = (): ReturnType<typeof gemmCase<Sm90aWgmmaGemmConfig>>[] =>
  wgmmaGemmOptions.map((options) => gemmCase(options));
