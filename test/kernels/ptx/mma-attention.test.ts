import { describe, expect, test } from "vitest";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { scoreShape } from "../../../compiler/codegen/ptx/mma-score.js";
import { sm80MmaAttention } from "../../../templates/attention/sm80-mma.js";
import { worstError } from "../../gpu/cases/mma-case.js";
import {
  attentionCase,
  attentionDesc,
  type AttentionOptions,
} from "../../gpu/cases/mma-attention.js";
import { attentionOptions } from "../../gpu/cases/mma-attention-list.js";
import { architectures, assemble, hasPtxas, runCase } from "./mma-harness.js";

const target = targetNamed("sm_80");

describe("tensor-core attention, interpreted", () => {
  test.each(attentionOptions.map((options) => [attentionDesc(options).label, options] as const))(
    "%s",
    (_, options) => {
      const entry = attentionCase(options);
      const config = entry.config ?? sm80MmaAttention.candidates(entry.desc, target)[0]!;
      const { after, report } = runCase(entry, sm80MmaAttention.render(entry.desc, config, target));
      const { error, place } = worstError(entry.desc, after, entry.expected);
      expect(error, place).toBeLessThanOrEqual(entry.tolerance);
      const fragments = [...report.conflictSites.keys()].filter((site) =>
        site.startsWith("ldmatrix"),
      );
      expect(fragments, "bank conflicts of fragments").toEqual([]);
    },
  );
});

describe("keys and values in pages", () => {
  const config = { tilesM: 1, warpsM: 1, warpsK: 2, bn: 64, stages: 2, keepQueries: true } as const;
  /** Look-ups of a step in the table, and copies of 16 bytes. */
  function stepOf(page: number): { lookUps: number; copies: number } {
    const options = { dtype: "bf16", q: 1, r: 4, keys: 4096, lengths: [4096], page } as const;
    const { text } = sm80MmaAttention.render(
      attentionDesc(options),
      { ...config, split: false },
      target,
    );
    const step = /^STEP:$(.*)bra STEP;/ms.exec(text)![1]!;
    const count = (what: RegExp): number => [...step.matchAll(what)].length;
    return { lookUps: count(/ld\.global/g), copies: count(/cp\.async\.cg\S* .*, 16/g) };
  }

  test.each([
    [64, 2],
    [128, 2],
    [32, 4],
    [16, 8],
    [7, 16],
  ])("of %i: %i look-ups, copies as wide as of whole rows", (page, lookUps) => {
    expect(stepOf(page)).toEqual({ lookUps, copies: 16 });
  });
});

describe("what is proved of a score body", () => {
  const shape = (mask: NonNullable<AttentionOptions["mask"]>): ReturnType<typeof scoreShape> =>
    scoreShape(attentionDesc({ dtype: "bf16", q: 40, keys: 80, mask }));

  test("no mask: every whole tile is inside", () => {
    expect(shape("none")).toEqual({ masksOnly: true, interior: [] });
  });

  test("causal: hardest at the first query and the last key", () => {
    expect(shape("causal").interior).toMatchObject([{ lastQuery: false, lastKey: true }]);
  });

  test("window: its other side is hardest at the last query and the first key", () => {
    expect(shape("window").interior).toMatchObject([
      { lastQuery: false, lastKey: true },
      { lastQuery: true, lastKey: false },
    ]);
  });

  test("padding masks, though no tile is proved inside; biases and caps are more than masks", () => {
    expect(shape("padding")).toEqual({ masksOnly: true, interior: null });
    expect(shape("bias").masksOnly).toBe(false);
    expect(shape("softcap").masksOnly).toBe(false);
  });
});

const shapes: AttentionOptions[] = [
  { dtype: "bf16", b: 4, g: 8, r: 4, q: 4096, keys: 4096, d: 128, mask: "causal", out: "bf16" },
  { dtype: "f16", g: 32, q: 8192, keys: 8192, d: 64, mask: "causal", out: "f16" },
  { dtype: "bf16", g: 8, q: 2048, keys: 2048, d: 256, mask: "causal", out: "bf16" },
  {
    dtype: "bf16",
    g: 8,
    r: 4,
    q: 1,
    keys: 4096,
    d: 128,
    mask: "causal",
    lengths: [4000],
    out: "bf16",
  },
  { dtype: "bf16", b: 8, g: 12, q: 128, keys: 128, d: 64, mask: "padding", out: "bf16" },
];

describe.skipIf(!hasPtxas())("tensor-core attention, assembled (needs ptxas on PATH)", () => {
  test.each(shapes)("q $q, depth $d: no spills", (options) => {
    const desc = attentionDesc(options);
    const config = sm80MmaAttention.candidates(desc, target)[0]!;
    const { text } = sm80MmaAttention.render(desc, config, target);
    for (const architecture of architectures) expect(assemble(text, architecture)?.spills).toBe(0);
  });
});
