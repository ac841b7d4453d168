/** `explain` on models of several kinds: each refusal names its limit, and the number that broke it. */
import { describe, expect, it } from "vitest";
import type { EntryReport, Report } from "../../compiler/bundle/report.js";
import { explanation } from "../../compiler/cli/explain.js";
import type { Refusal } from "../../compiler/kernel/limits.js";
import { fixture } from "../support.js";
import { farrier } from "./support.js";

const numberText = (value: number): string => value.toLocaleString("en-US");

function refusalsOf({ values, refusals }: EntryReport): Refusal[] {
  return [...refusals, ...values.flatMap(({ refusal }) => refusal ?? [])];
}

describe.each(["gpt2", "llama", "bert", "deepseek_v2"])("explain %s", (name) => {
  const argv = ["explain", fixture(name, "hf"), "--target", "cpu,sm_80"];
  let report: Report;

  it("tells of each value in memory, and of each refusal, both numbers", async () => {
    const { status, events } = await farrier(...argv, "--json");
    expect(status).toBe(0);
    report = events.at(-1)!["report"] as Report;
    const entries = report.targets.flatMap((target) => target.entries);
    for (const { values } of entries) {
      expect(values.length).toBeGreaterThan(0);
      for (const { readers, refusal } of values)
        expect(refusal === null).toBe(readers.length === 0);
    }
    for (const { limit, allowed, found, text } of entries.flatMap(refusalsOf)) {
      expect(limit).not.toBe("");
      expect([Number.isFinite(allowed), Number.isFinite(found)]).toEqual([true, true]);
      expect(found).not.toBe(allowed);
      // Counts of one and none are words or numbers; larger ones are written out.
      for (const number of [allowed, found]) expect(text).toContain(numberText(number));
    }
  });

  it("prints them", () => {
    const text = explanation(report);
    for (const refusal of report.targets.flatMap((t) => t.entries).flatMap(refusalsOf))
      expect(text).toContain(refusal.text);
    if (name !== "deepseek_v2") return;
    expect(text).toMatch(/no epilogue could take .*: .* \d+ elements? apart, .* are \d/);
    // A step reads the latent; with many queries it would cost more.
    const absorbed = "attention(q, c·K, c·V) => attention(q·Kᵀ, c, c)·V, in decode: ";
    expect(text).toContain(absorbed);
  });
});
