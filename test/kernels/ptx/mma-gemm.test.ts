import { describe, expect, test } from "vitest";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { sm80MmaGemm } from "../../../templates/gemm/sm80-mma.js";
import { worstError } from "../../gpu/cases/mma-case.js";
import { gemmCase, gemmDesc, type GemmOptions } from "../../gpu/cases/mma-gemm.js";
import { gemmOptions } from "../../gpu/cases/mma-gemm-list.js";
import { architectures, assemble, hasPtxas, runCase } from "./mma-harness.js";

const target = targetNamed("sm_80");

describe("tensor-core gemm, interpreted", () => {
  test.each(gemmOptions.map((options) => [gemmDesc(options).desc.label, options] as const))(
    "%s",
    (_, options) => {
      const entry = gemmCase(options);
      const config = entry.config ?? sm80MmaGemm.candidates(entry.desc, target)[0]!;
      const { after, report } = runCase(entry, sm80MmaGemm.render(entry.desc, config, target));
      const { error, place } = worstError(entry.desc, after, entry.expected);
      expect(error, place).toBeLessThanOrEqual(entry.tolerance);
      const fragments = [...report.conflictSites.keys()].filter(
        (site) => !site.startsWith("ld.shared"),
      );
      expect(fragments, "bank conflicts of copies and fragments").toEqual([]);
    },
  );
});

/** Shapes of models: what the best configuration must assemble to without spills. */
const shapes: GemmOptions[] = [
  { dtype: "bf16", m: 4096, n: 4096, k: 4096, out: "bf16" },
  { dtype: "f16", m: 512, n: 3072, k: 768, out: "f16", epilogue: "bias+gelu" },
  {
    dtype: "bf16",
    m: 512,
    n: 8192,
    k: 2048,
    group: 2,
    epilogue: "gate",
    deferred: true,
    out: "bf16",
  },
  { dtype: "bf16", m: 1024, n: 4096, k: 1024, a: "norm", epilogue: "bias+gelu", out: "bf16" },
  { dtype: "bf16", m: 64, n: 7168, k: 2048, out: "bf16" },
  {
    dtype: "bf16",
    m: 1,
    n: 14336,
    k: 4096,
    group: 2,
    epilogue: "gate",
    deferred: true,
    out: "bf16",
  },
  { dtype: "f16", m: 1, n: 2304, k: 768, a: "norm", out: "f16" },
];

describe("candidates of the tensor-core gemm", () => {
  test.each(shapes)("$m×$n×$k are legal, the first moves enough bytes or products", (options) => {
    const { desc } = gemmDesc(options);
    const candidates = sm80MmaGemm.candidates(desc, target);
    expect(candidates.length).toBeGreaterThan(8);
    for (const config of candidates) {
      const { launch } = sm80MmaGemm.render(desc, config, target);
      expect(launch.kind === "gpu" && launch.sharedBytes).toBeLessThanOrEqual(99 * 1024);
    }
    expect(candidates[0]!.bm).toBe(Math.min(options.m <= 16 ? 16 : 128, candidates[0]!.bm));
  });

  test("other types and layouts are left to other templates", () => {
    const { desc } = gemmDesc({ dtype: "bf16", m: 8, n: 8, k: 8 });
    expect(sm80MmaGemm.candidates({ ...desc, dtype: "f32" }, target)).toEqual([]);
    expect(
      sm80MmaGemm.candidates(desc, {
        ...target,
        packing: () => ({ columns: 16, rows: 1, columnMajor: false, dtype: "bf16" }),
      }),
    ).toEqual([]);
  });
});

describe.skipIf(!hasPtxas())("tensor-core gemm, assembled (needs ptxas on PATH)", () => {
  test.each(shapes)("$m×$n×$k: no spills", (options) => {
    const { desc } = gemmDesc(options);
    const config = sm80MmaGemm.candidates(desc, target)[0]!;
    const { text } = sm80MmaGemm.render(desc, config, target);
    for (const architecture of architectures) expect(assemble(text, architecture)?.spills).toBe(0);
  });
});
