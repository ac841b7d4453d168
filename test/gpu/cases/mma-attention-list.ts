/** The attention cases: small enough for an interpreter, each aimed at one edge or one path. */
import type { Sm80MmaAttentionConfig } from "../../../templates/attention/sm80-mma-shape.js";
import { attentionCase, type AttentionOptions } from "./mma-attention.js";

const tile = (
  tilesM: number,
  warpsM: number,
  warpsK: number,
  bn: number,
  stages: number,
  keepQueries = true,
): Sm80MmaAttentionConfig => ({ tilesM, warpsM, warpsK, bn, stages, keepQueries });

const wide = tile(1, 4, 1, 64, 2);
const decode = tile(1, 1, 4, 64, 2);

const tiles: AttentionOptions[] = [
  tile(1, 4, 1, 32, 2),
  tile(1, 4, 1, 64, 3, false),
  tile(1, 8, 1, 64, 2),
  tile(2, 4, 1, 64, 2, false),
  tile(2, 4, 1, 32, 2),
  tile(1, 1, 2, 32, 5),
  tile(1, 1, 4, 64, 3),
  tile(1, 1, 8, 128, 2),
  tile(1, 2, 2, 64, 2),
  tile(1, 2, 4, 64, 2, false),
].map((config) => ({ dtype: "bf16", q: 70, keys: 150, mask: "causal", config }));

const sharing: AttentionOptions[] = [1, 2, 4, 8].flatMap(
  (r) =>
    [
      { dtype: "bf16", b: 2, g: 2, r, q: 9, keys: 70, mask: "causal", config: wide },
      {
        dtype: "f16",
        b: 2,
        g: 2,
        r,
        q: 1,
        keys: 200,
        mask: "causal",
        lengths: [200, 37],
        config: decode,
      },
    ] as AttentionOptions[],
);

const masks: AttentionOptions[] = (
  ["none", "window", "padding", "bias", "softcap", "nothing"] as const
)
  .flatMap(
    (mask) =>
      [
        { dtype: "bf16", g: 2, r: 2, q: 40, keys: 75, mask, config: wide },
        { dtype: "f16", b: 2, g: 2, q: 3, keys: 300, mask, lengths: [300, 129], config: decode },
      ] as AttentionOptions[],
  )
  .filter(({ mask, lengths }) => !(mask === "bias" && lengths !== undefined));

const depths: AttentionOptions[] = [
  { dtype: "bf16", q: 20, keys: 40, d: 8 },
  { dtype: "f16", q: 20, keys: 40, d: 32, mask: "causal" },
  { dtype: "bf16", q: 20, keys: 70, d: 72, mask: "causal" },
  { dtype: "bf16", q: 20, keys: 70, d: 80 },
  { dtype: "f16", q: 20, keys: 70, d: 96, e: 64, mask: "causal" },
  { dtype: "bf16", q: 20, keys: 70, d: 128, mask: "causal" },
  { dtype: "bf16", q: 20, keys: 70, d: 192, e: 128, mask: "causal" },
  { dtype: "bf16", q: 20, keys: 70, d: 256, mask: "causal" },
  { dtype: "bf16", q: 1, keys: 70, d: 256 },
  { dtype: "bf16", q: 1, r: 8, keys: 700, d: 128, lengths: [700] },
  { dtype: "bf16", q: 1, r: 40, keys: 70, d: 576, e: 256, mask: "causal", lengths: [70] },
  { dtype: "f16", q: 3, r: 16, keys: 40, d: 576, e: 256, mask: "causal" },
];

const others: AttentionOptions[] = [
  { dtype: "bf16", q: 20, keys: 40, shifted: true, config: wide },
  { dtype: "f16", q: 2, r: 3, keys: 90, shifted: true, config: decode },
  { dtype: "bf16", q: 20, keys: 40, out: "bf16", residual: true, config: wide },
  { dtype: "f16", q: 1, keys: 1, out: "f16", config: decode },
  {
    dtype: "bf16",
    b: 3,
    g: 2,
    q: 1,
    keys: 64,
    mask: "causal",
    lengths: [1, 64, 33],
    out: "bf16",
    config: decode,
  },
  { dtype: "bf16", b: 2, g: 1, q: 1, keys: 64, mask: "none", lengths: [0, 16], config: decode },
  {
    dtype: "bf16",
    b: 2,
    g: 2,
    q: 130,
    keys: 130,
    mask: "causal",
    out: "bf16",
    config: tile(1, 8, 1, 64, 2),
  },
];

export const attentionOptions: readonly AttentionOptions[] = [
  ...tiles,
  ...sharing,
  ...masks,
  ...depths,
  ...others,
];

export const attentionCases = (): ReturnType<typeof attentionCase>[] =>
  attentionOptions.map(attentionCase);
