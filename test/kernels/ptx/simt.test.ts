/** Every small case of map, reduce and the f32 gemm and attention, run without a GPU. */
import { describe, expect, it } from "vitest";
import { mismatch, type GpuCase } from "../../gpu/cases/case.js";
import { interpret } from "../../gpu/cases/run.js";
import { simtCases } from "../../gpu/cases/simt.js";

const byFamily = new Map<string, GpuCase[]>();
for (const test of simtCases())
  if (test.large !== true)
    byFamily.set(test.desc.family, [...(byFamily.get(test.desc.family) ?? []), test]);

describe.each([...byFamily])("PTX %s, interpreted", (_, cases) => {
  it.each(cases.map((test) => [test.name, test] as const))("%s", (_name, test) => {
    expect(mismatch(test, interpret(test).after, test.expected())).toBeNull();
  });
});
