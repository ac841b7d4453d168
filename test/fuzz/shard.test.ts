/** A share of the fuzzer for every change: graphs of fixed seeds, and the graphs that were wrong once. */
import { describe, expect, it } from "vitest";
import { targetNamed } from "../../compiler/kernel/target.js";
import { runBatch } from "./batch.js";
import { describeCase } from "./case.js";
import { faults } from "./faults.js";
import { generate, variantsOf } from "./generate.js";
import { hunt, Pool } from "./inject.js";
import { isRefusal, lowerCase } from "./lower.js";
import { regressions } from "./regressions/index.js";
import { runSeeds } from "./seeds.js";

const compiler = { backend: { target: "cpu", isa: "portable", level: 0 } } as const;
process.env["FARRIER_THREADS"] ??= "2";

describe("fuzzing", () => {
  it.each([1, 2, 3])(
    "graphs of shard %i are computed right",
    { timeout: 120_000 },
    async (shard) => {
      const seeds = Array.from({ length: 50 }, (_, i) => shard * 1000 + i);
      const { passed, refused, failures } = await runSeeds(seeds, { ...compiler, reduce: true });
      expect(failures.map(({ what, text }) => `${what}\n${text}`)).toEqual([]);
      expect(passed + refused.length).toBe(seeds.length);
      expect(passed).toBeGreaterThan(45);
    },
  );

  it("graphs that were wrong once are right", { timeout: 120_000 }, async () => {
    const trials = regressions.map(({ build, variants }) => ({ found: build(), variants }));
    const verdicts = await runBatch(trials, compiler);
    const wrong = verdicts.flatMap((verdict, i) =>
      verdict.kind === "passed" ? [] : [`${regressions[i]!.name}: ${verdict.what}`],
    );
    expect(wrong).toEqual([]);
  });

  it("graphs become kernels of a GPU, or are refused", { timeout: 120_000 }, () => {
    const found = Array.from({ length: 60 }, (_, i) => generate(9000 + i));
    const trials = found.map((each) => ({ found: each, variants: variantsOf(each) }));
    trials.push(
      ...regressions.map(({ build, variants }) => ({ found: build(), variants: [...variants] })),
    );
    const thrown = trials.flatMap(({ found: each, variants }) =>
      variants.flatMap((variant) => {
        try {
          lowerCase(each, variant, targetNamed("sm_80"));
          return [];
        } catch (error) {
          return isRefusal(error) ? [] : [`${describeCase(each)}\n${String(error)}`];
        }
      }),
    );
    expect(thrown).toEqual([]);
  });

  it("planted defects are found and reduced", { timeout: 120_000 }, async () => {
    const pool = new Pool(1);
    const chosen = ["min and max swapped", "a rounding left out", "two temporaries in one place"];
    for (const fault of faults.filter(({ name }) => chosen.includes(name))) {
      const { found, nodes } = await hunt(pool, fault, { most: 200, reduce: true });
      expect({ fault: fault.name, found }).toEqual({ fault: fault.name, found: true });
      expect(nodes).toBeLessThanOrEqual(8);
    }
  });
});
