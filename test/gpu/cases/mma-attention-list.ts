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
  split = false,
): Sm80MmaAttentionConfig => ({ tilesM, warpsM, warpsK, bn, stages, keepQueries, split });

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

/** Keys divided among blocks: parts with and without keys, one part alone, masks that hide whole parts. */
const divided: AttentionOptions[] = [
  { q: 1, r: 4, keys: 700, lengths: [700], config: tile(1, 1, 4, 64, 2, true, true) },
  { q: 1, r: 4, keys: 700, lengths: [100], config: tile(1, 1, 4, 64, 2, true, true) },
  { q: 1, r: 4, keys: 700, lengths: [0], config: tile(1, 1, 4, 64, 2, true, true) },
  { b: 3, g: 2, q: 1, r: 8, keys: 600, lengths: [600, 1, 257], d: 128 },
  { b: 2, g: 2, q: 2, r: 3, keys: 400, mask: "causal", lengths: [400, 300], out: "bf16" },
  { q: 1, r: 1, keys: 1500, mask: "window", lengths: [1400] },
  { q: 1, r: 2, keys: 640, mask: "padding", lengths: [640] },
  { b: 2, q: 1, r: 2, keys: 640, mask: "softcap", lengths: [640, 200], residual: true },
  {
    q: 4,
    r: 4,
    keys: 1100,
    mask: "nothing",
    lengths: [1024],
    config: tile(1, 1, 2, 32, 3, true, true),
  },
  { q: 1, r: 16, keys: 500, d: 72, lengths: [500], config: tile(1, 1, 1, 64, 3, false, true) },
  { q: 1, r: 30, keys: 520, d: 64, lengths: [520], config: tile(1, 2, 2, 64, 2, true, true) },
  { q: 1, r: 40, keys: 1000, d: 576, e: 256, mask: "causal", lengths: [990] },
].flatMap(
  (options) =>
    [
      { dtype: "bf16", ...options },
      { dtype: "f16", ...options },
    ] as AttentionOptions[],
);

const paged: AttentionOptions[] = [
  ...[64, 16, 7].map((page): AttentionOptions => ({
    dtype: "bf16",
    b: 2,
    g: 2,
    r: 4,
    q: 1,
    keys: 200,
    mask: "causal",
    lengths: [200, 37],
    page,
    config: decode,
  })),
  {
    dtype: "bf16",
    b: 2,
    g: 2,
    q: 1,
    r: 4,
    keys: 700,
    lengths: [700, 90],
    page: 64,
    config: tile(1, 1, 4, 64, 2, true, true),
  },
  { dtype: "f16", b: 2, g: 2, q: 20, keys: 70, mask: "causal", page: 16, config: wide },
  { dtype: "bf16", q: 1, r: 40, keys: 70, d: 576, e: 256, mask: "causal", lengths: [70], page: 16 },
];

export const attentionOptions: readonly AttentionOptions[] = [
  ...tiles,
  ...sharing,
  ...masks,
  ...depths,
  ...others,
  ...divided,
  ...paged,
];

export const attentionCases = (): ReturnType<typeof attentionCase>[] =>
  attentionOptions.map(attentionCase);
