import { describe, expect, it } from "vitest";
import { launchesOf } from "./measured.js";
import { rowsOf } from "./rows.js";
import { tableText } from "./table.js";
import { measuredLayers } from "../../../test/profiles.js";

describe("a profile as a table", () => {
  it("has a row for launches that are alike, the longest first", () => {
    expect(tableText(measuredLayers(4))).toMatchInlineSnapshot(`
      "main at batch 2 on a device (cpu): 32.40 µs a run, median of 5
      8 launches of 32.00 µs in all, each between marks of 0.50 µs that are taken off
      floors of 16.00 µs, 49 % of the run: 51.1 MiB moved, 4.46 TB/s, 835 TFLOP/s (a table)
      share  launches    µs  floor  of it  held by  family  computes
       75 %         4  6.00   3.00   50 %  memory   gemm    product: layers.[0-3].up
                                                            before it: RMS norm
                                                            after it:  gelu
       25 %         4  2.00   1.00   50 %  memory   map     add: layers.1 and 3 more"
    `);
  });

  it("says where launches are faster than memory", () => {
    const measured = { ...measuredLayers(1), launchesMs: 0.001 };
    expect(tableText(measured)).toContain("faster than memory: what launches read was in caches");
  });

  it("keeps launches apart that move other amounts", () => {
    const { launches } = measuredLayers(2);
    expect(rowsOf(launches)).toHaveLength(2);
    expect(rowsOf(launches.map((each) => ({ ...each, read: each.number })))).toHaveLength(4);
  });
});

describe("floors of launches", () => {
  const rates = { bytes: 1e9, operations: { f32: 1e12 }, source: "" };
  const kernel = {
    ...{ family: "gemm" as const, symbol: "s", config: "", computes: "product" },
    ...{ prologue: [], epilogue: [], writes: [] },
  } as const;
  const floor = { read: ["mul", "rows", 1000], written: 0, operations: 0, dtype: null } as const;
  const profile = {
    ...{ plan: 0, workspaceBytes: 0, runMs: 1, markMs: 0.25 },
    steps: [0.1, 1.25].map((ms) => ({ label: "", kernel: "s", family: "", ms })),
  };

  it("are of memory or of arithmetic, whichever takes longer; marks are taken off times", () => {
    const product = { ...floor, operations: 4e9, dtype: "f32" } as const;
    const kernels = [floor, product].map((each) => ({ ...kernel, floor: each }));
    expect(launchesOf(profile, kernels, rates, { rows: 2000 })).toMatchObject([
      { ms: 0, share: 0, floorMs: 2, holds: "memory", read: 2e6 },
      { ms: 1, share: 1, floorMs: 4, holds: "arithmetic", operations: 4e9 },
    ]);
  });

  it("do without arithmetic whose rate is not known", () => {
    const product = { ...kernel, floor: { ...floor, operations: 4e9, dtype: "f64" as const } };
    const [found] = launchesOf(profile, [product], rates, { rows: 1 });
    expect(found).toMatchObject({ floorMs: 0.001, holds: "memory" });
  });

  it.each([
    [["mul", "columns", 2] as const, "columns"],
    [["pow", 2, 3] as never, "pow"],
    [["sum", "%q", 2 ** 40, 1] as const, "terms"],
  ])("are refused where a report asks for %j", (read, text) => {
    const odd = { ...kernel, floor: { ...floor, read } };
    expect(() => launchesOf(profile, [odd], rates, { rows: 1 })).toThrow(
      new RegExp(`^E_BUNDLE_FORMAT: a floor has .*${text}`),
    );
  });
});
