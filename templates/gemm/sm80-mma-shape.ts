/** Configurations of the sm_80 tensor-core gemm and the sizes that follow from them. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { isContiguous } from "../../compiler/codegen/affine.js";
import { add, ceilDiv, coord, int, load, mul, zero } from "../../compiler/codegen/expressions.js";
import { copySource, type CopySource } from "../../compiler/codegen/ptx/mma-copy.js";
import {
  stagedStride,
  tileBytes,
  tileLayout,
  type TileLayout,
} from "../../compiler/codegen/ptx/mma-layout.js";

export interface Sm80MmaGemmConfig {
  /** Rows, physical columns and depth of a block's tile. */
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  /** Tiles in shared memory, one of which is being multiplied. */
  readonly stages: number;
  /** Warps along rows, columns and slices of each tile's depth. */
  readonly warpsM: number;
  readonly warpsN: number;
  readonly warpsK: number;
  /** Rows of tiles that are walked together so that their B stays in L2; 0: columns of the grid. */
  readonly raster: number;
}

/** Where a tile's elements come from, and how it lies in shared memory. */
export interface TileSource {
  readonly layout: TileLayout;
  /** Copied as it is; null: `value` is computed in registers. */
  readonly copy: CopySource | null;
  readonly value: Expr;
}

export interface GemmShape {
  readonly config: Sm80MmaGemmConfig;
  readonly threads: number;
  /** Rows and columns of a warp's tile. */
  readonly warpRows: number;
  readonly warpColumns: number;
  /** k16 steps of a warp in each tile. */
  readonly steps: number;
  /** Physical columns: `group` for each logical one. */
  readonly columns: Expr;
  readonly column: Expr;
  readonly a: TileSource;
  readonly b: TileSource;
  /** B lies [k][n]: contiguous along n. */
  readonly rowsOfB: boolean;
  readonly bOffset: number;
  readonly stageBytes: number;
  /** Where row statistics stand: [stage][row] of f32. */
  readonly statsOffset: number;
  readonly sharedBytes: number;
  /** Passes in which accumulators are staged for the stores, rows in each, words of a row. */
  readonly passes: number;
  readonly stagedRows: number;
  readonly stagedStride: number;
}

/** B over k and the physical column: the packed weight, or the desc's own expression. */
function valueOfB(desc: GemmDesc, column: Expr): Expr {
  if (desc.b.kind === "strided") return desc.b.value;
  const rowElements = mul(ceilDiv(desc.kExtent, int(8)), int(8));
  const { operand, first = zero } = desc.b;
  return load(operand, add(first, add(mul(column, rowElements), desc.k)), desc.dtype);
}

/** The coordinate of physical columns: the desc's own where each logical column has one. */
const columnOf = (desc: GemmDesc, columns: Expr): Expr =>
  desc.b.kind === "strided" ? desc.n : coord("column", columns);

export interface GemmSources {
  readonly columns: Expr;
  readonly column: Expr;
  readonly a: { readonly copy: CopySource | null; readonly value: Expr };
  readonly b: { readonly copy: CopySource | null; readonly value: Expr };
  readonly rowsOfB: boolean;
}

/** What a desc allows, whatever the configuration. */
export function gemmSources(desc: GemmDesc): GemmSources {
  const columns = mul(desc.nExtent, int(desc.group));
  const column = columnOf(desc, columns);
  const value = valueOfB(desc, column);
  const alongK = copySource(value, desc.k, desc.dtype);
  const alongN = alongK === null ? copySource(value, column, desc.dtype) : null;
  const stridesAlongN =
    value.op === "load" &&
    !isContiguous(value.args[0]!, desc.k) &&
    isContiguous(value.args[0]!, column);
  return {
    columns,
    column,
    a: { copy: copySource(desc.a, desc.k, desc.dtype), value: desc.a },
    b: { copy: alongK ?? alongN, value },
    rowsOfB: alongK === null && (alongN !== null || stridesAlongN),
  };
}

export function gemmShape(
  desc: GemmDesc,
  config: Sm80MmaGemmConfig,
  sources: GemmSources,
): GemmShape {
  const { bm, bn, bk, stages, warpsM, warpsN, warpsK } = config;
  const a = { ...sources.a, layout: tileLayout(bm, bk / 8) };
  const { rowsOfB } = sources;
  const b = { ...sources.b, layout: rowsOfB ? tileLayout(bk, bn / 8) : tileLayout(bn, bk / 8) };
  const stageBytes = tileBytes(a.layout) + tileBytes(b.layout);
  const warpRows = bm / warpsM;
  const stride = stagedStride(bn);
  let passes = 1;
  const staged = (): number => (warpsK * bm * stride * 4) / passes;
  while (staged() > stages * stageBytes && passes < warpRows / 16) passes *= 2;
  const statsOffset = Math.max(stages * stageBytes, Math.ceil(staged() / 128) * 128);
  return {
    config,
    threads: warpsM * warpsN * warpsK * 32,
    warpRows,
    warpColumns: bn / warpsN,
    steps: bk / 16 / warpsK,
    columns: sources.columns,
    column: sources.column,
    a,
    b,
    rowsOfB,
    bOffset: tileBytes(a.layout),
    stageBytes,
    statsOffset,
    sharedBytes: statsOffset + desc.stages.length * bm * 4,
    passes,
    stagedRows: bm / passes,
    stagedStride: stride,
  };
}
