/** The cases of the sm_90a gemm: every tile on ragged extents, layouts, epilogues, several tiles a block. */
import type { Sm90aWgmmaGemmConfig } from "../../../templates/gemm/sm90a-wgmma-shape.js";
import { gemmCase, type GemmOptions as Options } from "./mma-gemm.js";

type GemmOptions = Options<Sm90aWgmmaGemmConfig>;

export const groupTile = (
  bm: number,
  bn: number,
  turns: 1 | 2,
  stages: number,
): Sm90aWgmmaGemmConfig => ({ bm, bn, turns, stages, raster: 8 });

const ragged = { dtype: "bf16", m: 150, n: 72, k: 136 } as const;

/** Every shape of tile, on extents that are no multiple of it; where warpgroups take turns, several a block. */
const tiles: GemmOptions[] = [
  { ...ragged, n: 264, config: groupTile(128, 256, 1, 3) },
  { ...ragged, n: 232, config: groupTile(128, 224, 1, 4) },
  { ...ragged, n: 200, config: groupTile(128, 192, 1, 4) },
  { ...ragged, n: 168, config: groupTile(128, 160, 1, 5) },
  { ...ragged, n: 264, config: groupTile(128, 128, 2, 5) },
  { ...ragged, n: 200, config: groupTile(128, 96, 2, 4) },
  { ...ragged, m: 264, k: 520, config: groupTile(128, 64, 2, 3) },
  { ...ragged, n: 264, k: 264, config: groupTile(64, 256, 2, 4) },
  { ...ragged, n: 200, config: groupTile(64, 192, 2, 4) },
  { ...ragged, n: 264, config: groupTile(64, 128, 2, 3) },
  { ...ragged, n: 104, config: groupTile(64, 96, 2, 8) },
  { ...ragged, m: 200, k: 520, config: groupTile(64, 64, 2, 3) },
].map((options) => ({ ...options, whole: true }));

const small = groupTile(64, 64, 2, 4);
const shared = groupTile(128, 160, 1, 3);

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
  { dtype: "bf16", m: 300, n: 136, k: 72, b: "nk", config: { ...small, raster: 2 } },
  { dtype: "bf16", m: 1, n: 8, k: 72, config: shared },
].map((options) => ({ whole: true, config: small, ...options }) as GemmOptions);

const bodies: GemmOptions[] = [
  { dtype: "bf16", m: 70, n: 48, k: 264, deferred: true },
  { dtype: "bf16", m: 140, n: 48, k: 264, deferred: true, config: shared },
  { dtype: "bf16", m: 140, n: 72, k: 72, deferred: true, config: groupTile(128, 64, 2, 3) },
  { dtype: "f16", m: 70, n: 136, k: 72, deferred: true, epilogue: "bias+gelu", out: "f16" },
  { dtype: "bf16", m: 70, n: 47, k: 64, epilogue: "bias+gelu", out: "bf16" },
  { dtype: "bf16", m: 33, n: 64, k: 64, epilogue: "residual", out: "bf16" },
  { dtype: "bf16", m: 70, n: 72, k: 72, group: 2, epilogue: "gate", out: "bf16" },
  { dtype: "bf16", m: 130, n: 88, k: 72, group: 2, epilogue: "gate", out: "bf16", config: shared },
  { dtype: "f16", m: 33, n: 47, k: 72, epilogue: "several", out: "f16", symbolic: true },
].map((options) => ({ config: small, ...options }) as GemmOptions);

export const wgmmaGemmOptions: readonly GemmOptions[] = [...tiles, ...edges, ...bodies];

export const wgmmaGemmCases = (): ReturnType<typeof gemmCase<Sm90aWgmmaGemmConfig>>[] =>
  wgmmaGemmOptions.map((options) => gemmCase(options));
