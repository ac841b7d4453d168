/** Every small case of map, reduce and the f32 gemm and attention, run without a GPU. */
import { describe, expect, it } from "vitest";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { mismatch, type GpuCase } from "../../gpu/cases/case.js";
import { interpret } from "../../gpu/cases/run.js";
import { sampleCases } from "../../gpu/cases/sample.js";
import { simtCases } from "../../gpu/cases/simt.js";

const byFamily = new Map<string, GpuCase[]>();
/** Attention has dozens of configurations: a GPU runs them all, here every third is enough. */
const skipped = (test: GpuCase): boolean =>
  test.large === true ||
  (test.desc.family === "attention" && Number(/#(\d+)/.exec(test.name)?.[1] ?? 0) % 3 !== 0);

for (const test of [...simtCases(), ...sampleCases()])
  if (!skipped(test))
    byFamily.set(test.desc.family, [...(byFamily.get(test.desc.family) ?? []), test]);

describe("PTX of dependent launches, interpreted", () => {
  const target = targetNamed("sm_90");
  it.each([...byFamily])("%s", (_, cases) => {
    const [test] = cases;
    expect(mismatch(test!, interpret(test!, target).after, test!.expected())).toBeNull();
  });
});

describe.each([...byFamily])("PTX %s, interpreted", (_, cases) => {
  it.each(cases.map((test) => [test.name, test] as const))("%s", (_name, test) => {
    expect(mismatch(test, interpret(test).after, test.expected())).toBeNull();
  });
});
