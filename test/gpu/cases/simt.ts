/** Cases of map, reduce and the f32 gemm and attention: every configuration, edge shapes, bodies. */
import type { GpuCase } from "./case.js";
import { mapCases } from "./map.js";
import { reduceCases } from "./reduce.js";
import { allAttentionCases } from "./simt-attention.js";
import { allGemmCases } from "./simt-gemm.js";

export const simtCases = (): GpuCase[] => [
  ...mapCases(),
  ...reduceCases(),
  ...allGemmCases(),
  ...allAttentionCases(),
];
