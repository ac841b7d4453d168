import { describe, expect, it } from "vitest";
import { drawnFor, repeatsOf } from "./folding.js";

describe("layers that are alike", () => {
  it("are one period between what begins and ends a model", () => {
    const repeats = repeatsOf([..."xyabcabcabcabz"]);
    expect(repeats).toEqual({ start: 2, period: 3, count: 3 });
    const drawn = [..."xyabcabcabcabz"].map((_, launch) => drawnFor(repeats, launch));
    expect(drawn).toEqual([0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 11, 12, 13]);
  });

  it("are those that leave the least to draw", () => {
    expect(repeatsOf([..."aaabcdbcdbcdbcd"])).toEqual({ start: 3, period: 3, count: 4 });
    expect(repeatsOf([..."aaaaaa"])).toEqual({ start: 0, period: 1, count: 6 });
  });

  it("are drawn as they are where they are few", () => {
    expect(repeatsOf([..."abcabcx"])).toBeNull();
    expect(repeatsOf([])).toBeNull();
    expect(drawnFor(null, 7)).toBe(7);
  });
});
