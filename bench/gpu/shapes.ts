/** The shapes that `make-rows.ts` renders: sizes only. `row` is the row of the benchmark's table. */

export interface GemmSizes {
  readonly kind: "gemm";
  readonly row: "1" | "2";
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export interface BlockSizes {
  readonly kind: "gelu" | "swiglu";
  readonly row: "3" | "3b";
  readonly tokens: number;
  readonly d: number;
  readonly h: number;
}

export interface AttentionSizes {
  readonly kind: "attention";
  readonly row: "4" | "5";
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Queries of each sequence: all keys' (prefill) or one (decode). */
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly causal: boolean;
}

export type RowSizes = GemmSizes | BlockSizes | AttentionSizes;

const gemm = (row: GemmSizes["row"], m: number, n: number, k: number): GemmSizes => ({
  kind: "gemm",
  row,
  m,
  n,
  k,
});

const blocks = (
  kind: BlockSizes["kind"],
  d: number,
  h: number,
  tokens: readonly number[],
): BlockSizes[] =>
  tokens.map((count) => ({ kind, row: kind === "gelu" ? "3" : "3b", tokens: count, d, h }));

const attention = (
  row: AttentionSizes["row"],
  [batch, queryHeads, keyHeads]: readonly [number, number, number],
  queries: number,
  keys: number,
  depth: number,
  causal: boolean,
): AttentionSizes => ({
  kind: "attention",
  row,
  batch,
  queryHeads,
  keyHeads,
  queries,
  keys,
  depth,
  causal,
});

export const rows: readonly RowSizes[] = [
  gemm("1", 8192, 8192, 8192),
  gemm("1", 4096, 4096, 4096),
  gemm("1", 2048, 2048, 2048),
  gemm("1", 4096, 7168, 2048),
  gemm("1", 4096, 2048, 7168),
  gemm("1", 4096, 24576, 1536),
  gemm("1", 4096, 32768, 512),
  gemm("1", 4096, 7168, 16384),
  gemm("1", 4096, 11008, 4096),
  gemm("1", 4096, 4096, 11008),
  gemm("2", 128, 7168, 16384),
  gemm("2", 128, 24576, 1536),
  gemm("2", 64, 7168, 2048),
  gemm("2", 64, 2112, 7168),
  gemm("2", 16, 4096, 4096),
  gemm("2", 1, 7168, 16384),
  gemm("2", 1, 4096, 14336),
  attention("4", [4, 32, 8], 4096, 4096, 128, true),
  attention("4", [1, 32, 32], 8192, 8192, 128, true),
  attention("4", [1, 32, 32], 8192, 8192, 128, false),
  attention("4", [1, 32, 32], 8192, 8192, 64, true),
  attention("4", [1, 32, 8], 1024, 1024, 128, true),
  ...[1, 16, 64].flatMap((batch) =>
    [1024, 8192].map((keys) => attention("5", [batch, 32, 8], 1, keys, 128, false)),
  ),
  ...blocks("gelu", 1024, 4096, [1, 64, 512, 16, 4096]),
  ...blocks("swiglu", 2048, 8192, [1, 64, 512, 16, 4096]),
  ...blocks("gelu", 4096, 16384, [1, 64, 512, 16, 4096]),
  ...blocks("swiglu", 4096, 14336, [1, 64, 16]),
  ...blocks("gelu", 2048, 8192, [1, 64, 512, 16, 4096]),
];

export function nameOf(sizes: RowSizes): string {
  switch (sizes.kind) {
    case "gemm":
      return `gemm ${sizes.m}×${sizes.n}×${sizes.k}`;
    case "attention": {
      const { batch, queryHeads, keyHeads, queries, keys, depth, causal } = sizes;
      const heads = `b${batch} hq${queryHeads} hk${keyHeads}`;
      return queries === 1
        ? `decode ${heads} context ${keys} d${depth}`
        : `attention ${heads} s${queries} d${depth}${causal ? " causal" : ""}`;
    }
    case "gelu":
    case "swiglu":
      return `${sizes.kind} d=${sizes.d} h=${sizes.h} tokens ${sizes.tokens}`;
  }
}

/** The fewest bytes through memory and the operations: what no kernel can do without. */
export function workOf(sizes: RowSizes): { bytes: number; flops: number } {
  switch (sizes.kind) {
    case "gemm": {
      const { m, n, k } = sizes;
      return { bytes: 2 * (m * k + n * k + m * n), flops: 2 * m * n * k };
    }
    case "gelu":
    case "swiglu": {
      const { tokens, d, h } = sizes;
      const weights = (sizes.kind === "gelu" ? 2 : 3) * d * h;
      return { bytes: 2 * (weights + 2 * tokens * d), flops: 2 * tokens * weights };
    }
    case "attention": {
      const { batch, queryHeads, keyHeads, queries, keys, depth, causal } = sizes;
      const products = 4 * batch * queryHeads * queries * keys * depth;
      return {
        bytes: 2 * batch * depth * (2 * queryHeads * queries + 2 * keyHeads * keys),
        // As peers count it: half of the square under a causal mask.
        flops: causal ? products / 2 : products,
      };
    }
  }
}
