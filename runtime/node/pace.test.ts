import { expect, it } from "vitest";
import { Pace } from "./pace.js";

it("makes runs here that were short the last time", () => {
  const pace = new Pace();
  expect(pace.here("a")).toBe(false);
  pace.took("a", 0.15, false);
  expect(pace.here("a")).toBe(true);
  expect(pace.here("b")).toBe(false);
  pace.took("a", 0.8, true);
  expect(pace.here("a")).toBe(false);
});

it("lets others have their turn after a millisecond", () => {
  const pace = new Pace();
  pace.took("a", 0.15, false);
  let runs = 0;
  for (; pace.here("a"); runs++) pace.took("a", 0.15, true);
  expect(runs).toBe(6);
  pace.took("a", 0, false);
  for (runs = 0; pace.here("a"); runs++) pace.took("a", 0, true);
  expect(runs).toBeLessThan(60);
  pace.took("a", 0.15, false);
  expect(pace.here("a")).toBe(true);
});

it("forgets shapes rather than keeping all that there ever were", () => {
  const pace = new Pace();
  for (let i = 0; i < 1000; i++) pace.took(String(i), 0.1, false);
  expect(pace.here("0")).toBe(false);
  expect(pace.here("999")).toBe(true);
});
