import { describe, expect, test } from "vitest";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { renderKernel } from "../../../compiler/bundle/select.js";
import { sm90aWgmmaGemm } from "../../../templates/gemm/sm90a-wgmma.js";
import { worstError } from "../../gpu/cases/mma-case.js";
import { gemmCase, gemmDesc, type GemmOptions } from "../../gpu/cases/mma-gemm.js";
import { fewBlocks } from "../../gpu/cases/registry.js";
import { wgmmaGemmOptions } from "../../gpu/cases/wgmma-gemm-list.js";
import { assemble, hasPtxas, runCase } from "./mma-harness.js";

const target = targetNamed("sm_90a");

describe("warpgroup gemm, interpreted", () => {
  test.each(wgmmaGemmOptions.map((options) => [gemmDesc(options).desc.label, options] as const))(
    "%s",
    (_, options) => {
      const entry = gemmCase(options);
      const { after, report } = runCase(
        entry,
        sm90aWgmmaGemm.render(entry.desc, options.config!, fewBlocks),
      );
      const { error, place } = worstError(entry.desc, after, entry.expected);
      expect(error, place).toBeLessThanOrEqual(entry.tolerance);
      const sites = [...report.conflictSites.keys()];
      const narrow = (site: string): boolean =>
        options.config!.bn % 64 !== 0 && site.startsWith("ld.shared");
      expect(
        sites.filter((site) => !narrow(site)),
        "bank conflicts",
      ).toEqual([]);
    },
  );
});

/** The smallest case, spoiled: what the interpreter says of it. */
function spoiled(change: (text: string) => string): () => void {
  const entry = gemmCase({ ...wgmmaGemmOptions.at(-6)!, m: 70, n: 48, k: 600 });
  const kernel = sm90aWgmmaGemm.render(entry.desc, entry.config!, target);
  const text = change(kernel.text);
  expect(text).not.toBe(kernel.text);
  return () => runCase(entry, { ...kernel, text });
}

describe("a warpgroup gemm that is wrong", () => {
  const remove = (pattern: RegExp) => (text: string) => text.replace(pattern, "");
  test.each<[string, RegExp, RegExp]>([
    ["without proxy fence", / *fence\.proxy\.async\S*\n/, /no proxy fence/],
    ["without wgmma.fence", / *wgmma\.fence\S*\n/, /without wgmma\.fence/],
    ["that gives no stage back", / *@%p\d+ mbarrier\.arrive.*\n/g, /nothing happens/],
    ["that does not wait for products", / *wgmma\.wait_group\S* 1;\n/, /operands changed/],
  ])("%s", (_, pattern, complaint) => {
    expect(spoiled(remove(pattern))).toThrow(complaint);
  });

  test("that fills stages before they are given back", () => {
    // The wait of the role that fills: the second of the two.
    const early = (text: string): string => {
      const [head, tail] = text.split("COPIES:") as [string, string];
      return `${head}COPIES:${tail.replace(/WAIT_\d+:[\s\S]*?READY_\d+:/, "")}`;
    };
    expect(spoiled(early)).toThrow(/nothing happens|operands changed/);
  });
});

/** Shapes of a Llama-8B layer, and one with statistics. */
const shapes: GemmOptions[] = [
  { dtype: "bf16", m: 4096, n: 6144, k: 4096, out: "bf16" },
  { dtype: "bf16", m: 512, n: 4096, k: 14336, out: "bf16", epilogue: "residual" },
  { dtype: "bf16", m: 2048, n: 14336, k: 4096, group: 2, epilogue: "gate", out: "bf16" },
  { dtype: "f16", m: 100, n: 3072, k: 768, out: "f16", epilogue: "bias+gelu", deferred: true },
];

describe("candidates of the warpgroup gemm", () => {
  const tilesOf = (options: GemmOptions): string[] =>
    sm90aWgmmaGemm
      .candidates(gemmDesc(options).desc, target)
      .map(({ bm, bn, stages }) => `${bm}x${bn}x${stages}`);

  test("are those that were measured best", () => {
    const square = (size: number): GemmOptions => ({ dtype: "bf16", m: size, n: size, k: size });
    expect(tilesOf(square(4096))[0]).toBe("128x256x3");
    expect(tilesOf(square(2048))[0]).toBe("128x256x3");
    expect(tilesOf({ dtype: "bf16", m: 512, n: 28672, k: 4096 })[0]).toBe("128x224x4");
    expect(tilesOf({ dtype: "bf16", m: 512, n: 6144, k: 4096 })[0]).toBe("128x192x4");
    expect(tilesOf({ dtype: "bf16", m: 256, n: 6144, k: 4096 })[0]).toBe("128x96x7");
  });

  test("take turns where the stores compute much", () => {
    const { desc } = gemmDesc({ ...shapes[0]!, m: 4096, n: 4096, k: 1024, epilogue: "bias+gelu" });
    expect(sm90aWgmmaGemm.candidates(desc, target)[0]!.turns).toBe(2);
  });

  test("fit a multiprocessor", () => {
    for (const options of shapes) {
      const { desc } = gemmDesc(options);
      for (const config of sm90aWgmmaGemm.candidates(desc, target)) {
        const { launch } = sm90aWgmmaGemm.render(desc, config, target);
        expect(launch.kind === "gpu" && launch.sharedBytes).toBeLessThanOrEqual(227 * 1024);
        expect(launch.kind === "gpu" && launch.threads).toBe(384);
      }
    }
  });

  test("other targets, few rows, other types and layouts are left to other templates", () => {
    const plain = { dtype: "bf16", m: 512, n: 512, k: 512 } as const;
    expect(tilesOf(plain)).not.toEqual([]);
    expect(tilesOf({ ...plain, m: 64 })).toEqual([]);
    expect(tilesOf({ ...plain, a: "scaled" })).toEqual([]);
    expect(tilesOf({ ...plain, a: "transposed" })).toEqual([]);
    expect(tilesOf({ ...plain, b: "kn" })).toEqual([]);
    expect(tilesOf({ ...plain, b: "nk+1" })).toEqual([]);
    expect(tilesOf({ ...plain, k: 508 })).toEqual([]);
    const { desc } = gemmDesc(plain);
    expect(sm90aWgmmaGemm.candidates({ ...desc, dtype: "f32" }, target)).toEqual([]);
    for (const name of ["sm_80", "sm_90"])
      expect(sm90aWgmmaGemm.candidates(desc, targetNamed(name))).toEqual([]);
  });

  test("come before mma.sync", () => {
    const { desc } = gemmDesc(shapes[0]!);
    expect(renderKernel(desc, target).text).toContain("wgmma.mma_async");
    expect(renderKernel(desc, targetNamed("sm_90")).text).toContain("mma.sync");
    expect(renderKernel(gemmDesc({ ...shapes[0]!, m: 16 }).desc, target).text).toContain(
      "mma.sync",
    );
  });
});

describe.skipIf(!hasPtxas())("warpgroup gemm, assembled (needs ptxas on PATH)", () => {
  test.each(shapes)("$m×$n×$k: no spills, no warnings", (options) => {
    const { desc } = gemmDesc(options);
    for (const config of sm90aWgmmaGemm.candidates(desc, target).slice(0, 4)) {
      const found = assemble(sm90aWgmmaGemm.render(desc, config, target).text, "sm_90a")!;
      expect(found.spills).toBe(0);
      expect(found.log).not.toMatch(/C75\d\d/);
    }
  });
});
