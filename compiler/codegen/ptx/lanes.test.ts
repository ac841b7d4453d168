/** What the analysis says of quotients and remainders, beside their values in every lane. */
import { describe, expect, it } from "vitest";
import { coord, div, int, mod } from "../../scalar/build.js";
import { LaneAnalysis, type LeafFacts } from "./lanes.js";

const k = coord("k", int(1 << 20));

/** Steps of k / by and k % by where lane 0 is up to `above` more than a multiple of `of`. */
function steps(lanes: number, facts: LeafFacts, by: number): (number | null)[] {
  const analysis = new LaneAnalysis(lanes, () => facts);
  return [div, mod].map((of) => analysis.step(of(k, int(by))));
}

describe("quotients of lanes", () => {
  it("are one where the run starts near enough to a multiple", () => {
    const near = { of: 64, above: 15 };
    expect(steps(4, { step: 16, multiple: 1, near }, 64)).toEqual([0, 16]);
    expect(steps(4, { step: 16, multiple: 1, near }, 128)).toEqual([0, 16]);
    expect(steps(5, { step: 16, multiple: 1, near }, 128)).toEqual([null, null]);
    expect(steps(4, { step: 16, multiple: 1, near }, 96)).toEqual([null, null]);
    expect(steps(2, { step: 16, multiple: 1, near }, 96)).toEqual([0, 16]);
    expect(steps(4, { step: 1, multiple: 8 }, 12)).toEqual([0, 1]);
    expect(steps(4, { step: 1, multiple: 2 }, 12)).toEqual([null, null]);
  });

  it("are never said to be one where they are not", () => {
    for (const lanes of [2, 3, 4, 8])
      for (const step of [1, 2, 3, 8])
        for (const of of [1, 2, 6, 8, 16, 32])
          for (const above of [0, 1, 7])
            for (const by of [1, 3, 4, 8, 12, 32]) {
              const [quotient] = steps(lanes, { step, multiple: 1, near: { of, above } }, by);
              if (quotient !== 0) continue;
              for (let start = 0; start < 200; start += of)
                for (let more = 0; more <= above; more++) {
                  const first = start + more;
                  const last = first + step * (lanes - 1);
                  expect(Math.floor(first / by)).toBe(Math.floor(last / by));
                }
            }
  });
});
