/** The same small bundle on a real GPU, where there is one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { devices, load, Tensor, type Model, type State } from "./index.js";
import { writeBundle, type BundleParts } from "./testing/bundle.js";
import { scaleBundle } from "./testing/scale.js";

const missing = await devices().then(
  (found) => found.cuda,
  (error: Error) => error.message,
);

describe.skipIf(missing !== null)(
  `a GPU${missing === null ? "" : ` (skipped: ${missing})`}`,
  () => {
    const root = mkdtempSync(join(tmpdir(), "farrier-gpu-"));
    let model: Model;
    let state: State;
    beforeAll(async () => {
      model = await load(writeBundle(join(root, "scale"), scaleBundle(["sm_80"])), {
        device: "cuda:0",
      });
      state = model.createState();
    });
    afterAll(async () => {
      await model.close();
      rmSync(root, { recursive: true, force: true });
    });

    const x = new Tensor(
      "f32",
      [4, 64],
      Float32Array.from({ length: 256 }, (_, i) => Math.sqrt(i)),
    );
    const run = async (graph: boolean): Promise<Buffer> =>
      Buffer.from((await model.run({ x }, { state, graph }))["y"]?.bytes ?? []);

    it("computes, with and without a graph, the same bits 100 times", async () => {
      const y = (
        await model.run(
          {
            x: [
              [1, 2, 3],
              [4, 5, 6],
            ],
          },
          { state },
        )
      )["y"];
      expect([...(y?.data ?? [])]).toEqual([2.5, 8.5, 18.5, 8.5, 20.5, 36.5]);
      const first = await run(false);
      for (let i = 0; i < 100; i++) expect((await run(i % 2 === 0)).equals(first)).toBe(true);
      expect((await model.run({ x }, { state, graph: true }))["count"]?.data[0]).toBe(103n);
    });

    it("reports a failed check, plain and from a graph", async () => {
      for (const graph of [false, true])
        await expect(model.run({ x: [[-1, 2]] }, { state, graph })).rejects.toThrow(
          /^E_RT_INDEX: input x/,
        );
      expect((await run(true)).length).toBe(1024);
    });

    it("times each step", async () => {
      const { steps } = await model.profile({ x }, { state, repeat: 20 });
      expect(steps.map((step) => step.label)).toEqual(["scale", "add"]);
      for (const { ms } of steps) {
        expect(ms).toBeGreaterThan(0);
        expect(ms).toBeLessThan(1);
      }
    });

    it("gives the driver's words for PTX that it refuses", async () => {
      const parts: BundleParts = {
        ...scaleBundle(["sm_80"]),
        ptx: { "k.ptx": ".version 7.0\n.target sm_80\n.address_size 64\nnonsense;\n" },
      };
      await expect(
        load(writeBundle(join(root, "bad"), parts), { device: "cuda:0" }),
      ).rejects.toThrow(/^E_MODULE: [^]*line 4/);
      const newer: BundleParts = {
        ...scaleBundle(["sm_80"]),
        ptx: { "k.ptx": ".version 99.9\n.target sm_80\n.address_size 64\n" },
      };
      await expect(
        load(writeBundle(join(root, "newer"), newer), { device: "cuda:0" }),
      ).rejects.toThrow(/^E_(TARGET|MODULE): /);
    });

    it("says how much memory there is not", async () => {
      const parts = scaleBundle(["sm_80"]);
      const text = JSON.stringify(parts.plan).replace(
        '"arenaBytes":256',
        `"arenaBytes":${2 ** 48}`,
      );
      const large = await load(
        writeBundle(join(root, "large"), {
          ...parts,
          plan: JSON.parse(text) as BundleParts["plan"],
        }),
        { device: "cuda:0" },
      );
      await expect(large.run({ x: [[1]] }, { state: large.createState() })).rejects.toThrow(
        /^E_RT_OOM: allocating \d+ bytes: .* bytes are free/,
      );
      await large.close();
      expect((await run(false)).length).toBe(1024);
    });
  },
);
