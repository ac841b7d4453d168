import { expect, it } from "vitest";
import { newestTarget, targetNamed } from "./target.js";

it("a GPU's best target is its own, or the newest baseline that it runs", () => {
  expect([80, 86, 89, 90, 100, 120].map(newestTarget)).toEqual([
    "sm_80",
    "sm_80",
    "sm_80",
    "sm_90a",
    "sm_90",
    "sm_90",
  ]);
});

it("targets that one bundle may hold pack weights alike", () => {
  const layouts = ["sm_80", "sm_90", "sm_90a"].map((name) => targetNamed(name).packing("bf16"));
  expect(new Set(layouts.map((layout) => JSON.stringify(layout))).size).toBe(1);
});
