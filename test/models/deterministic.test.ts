/** Same inputs, same texts: whatever the process compiled before. */
import { expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { fixture } from "../support.js";

async function texts(name: string): Promise<string> {
  const { targets } = await lower(fixture(name, "hf"), { dtype: "bf16", target: ["cpu", "sm_80"] });
  return JSON.stringify(targets.map(({ files, plans }) => [[...files].sort(), plans]));
}

it("gives the same kernels and plans before and after another model", async () => {
  const before = await texts("llama");
  await texts("gpt2");
  expect(await texts("llama")).toBe(before);
});

it("gives the same kernels and plans in a process that compiled another model first", async () => {
  const { fork } = await import("../fresh-process.js");
  const [first, second] = await Promise.all([fork("llama"), fork("gpt2", "llama")]);
  expect(second).toBe(first);
}, 120_000);
