/** `farrier profile` over bundles and models, on the CPU. */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Measured } from "../../compiler/cli/profile/measured.js";
import { bundleOf, fixture, temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

let llama: string;
beforeAll(async () => {
  llama = await bundleOf(fixture("llama", "hf"), {
    weights: { kind: "random", seed: 1 },
    dims: { batch: [1, 4], seq: [1, 64] },
  });
});

async function profiled(...argv: string[]): Promise<Measured> {
  const { events } = await farrier("profile", ...argv, "--json", "--repeat", "3");
  const last = events.at(-1)!;
  expect(last).toMatchObject({ event: "profiled" });
  return last as unknown as Measured;
}

const hidden = 64;
const bf16 = 2;

describe("a language model", () => {
  it("is profiled in a decode step, launch by launch, beside its floors", async () => {
    const measured = await profiled(llama);
    expect(measured).toMatchObject({ entry: "decode", target: "cpu", sizes: { batch: 1 } });
    // As filled as the cache can be with one more.
    expect(measured.context).toBe(63);
    expect(measured.runMs).toBeGreaterThan(0);
    expect(measured.launches.map(({ number }) => number)).toEqual([...measured.launches.keys()]);
    expect(measured.launches.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
    const head = measured.launches.find(({ computes }) => computes === "product: lm_head")!;
    expect(head.operations).toBe(2 * hidden * 256);
    expect(head.read).toBe((hidden * 256 + hidden) * bf16);
    expect(head.floorMs).toBeCloseTo((1e3 * (head.read + head.written)) / measured.rates.bytes, 9);
  });

  it("reads the cache as far as it is filled, for each sequence", async () => {
    const attention = async (...argv: string[]): Promise<number> =>
      (await profiled(llama, ...argv)).launches.find(({ family }) => family === "attention")!.read;
    // Keys and values of two heads, 16 wide; a sequence has queries of four, and a length.
    const cached = 2 * 2 * 16 * bf16;
    const own = 4 * 16 * bf16 + 4;
    expect(await attention("--context", "9")).toBe(10 * cached + own);
    expect(await attention("--context", "30", "--dim", "batch=3")).toBe(3 * (31 * cached + own));
  });

  it("has an entry without a cache, at the upper end of a range", async () => {
    const measured = await profiled(llama, "--entry", "main", "--dim", "seq=1..16");
    expect(measured).toMatchObject({ sizes: { batch: 1, seq: 16 }, context: null });
  });

  it("has floors for the rates that are given", async () => {
    const { rates, launches } = await profiled(
      ...[llama, "--entry", "prefill", "--dim", "seq=32"],
      ...["--bandwidth", "0.5", "--tflops", "0.001"],
    );
    expect(rates).toMatchObject({ bytes: 5e11, source: "as given" });
    for (const { operations, read, written, floorMs, holds } of launches) {
      const [memory, arithmetic] = [(read + written) / 5e8, operations / 1e6];
      expect(floorMs).toBeCloseTo(Math.max(memory, arithmetic), 9);
      expect(holds).toBe(memory >= arithmetic ? "memory" : "arithmetic");
    }
  });

  it("is shown as a table, and as a page", async () => {
    const file = path.join(temporaryDirectory(), "profile.html");
    const said = await farrier("profile", llama, "--html", file, "--repeat", "3");
    expect(said).toMatchObject({ status: 0, err: "" });
    expect(said.out).toMatch(/^decode at batch 1, 63 ids in the cache on the CPU, .* µs a run/);
    expect(said.out).toMatch(
      /\nshare {2}launches +µs +floor +of it {2}held by +family +computes\n/,
    );
    expect(said.out).toMatch(/gemm +product: .*mlp\.\{gate_proj, up_proj\}/);
    expect(said.out).toContain("after it:  silu, mul");
    const page = fs.readFileSync(file, "utf8");
    expect(page).toContain("<title>farrier profile: decode at batch 1");
    expect(page).toContain("cache write");
  });
});

it("paged caches have pages of their own for each sequence", async () => {
  const paged = await bundleOf(fixture("llama", "hf"), {
    weights: { kind: "random", seed: 1 },
    dims: { batch: [1, 4], seq: [1, 64] },
    cache: { kind: "paged", pageSize: 16, tokens: 96 },
  });
  const attention = async (...argv: string[]): Promise<number> =>
    (await profiled(paged, ...argv)).launches.find(({ family }) => family === "attention")!.read;
  const [one, two] = [
    await attention("--context", "9"),
    await attention("--dim", "batch=2", "--context", "9"),
  ];
  expect(two).toBe(2 * one);
  const said = await farrier("profile", paged, "--dim", "batch=4", "--context", "40");
  expect(said.err).toMatch(/E_RT_OOM: sequence 2 needs 3 pages/);
});

it("a model is compiled for the sizes that are asked for", async () => {
  const model = fixture("llama", "hf");
  const measured = await profiled(model, "--context", "20", "--dim", "batch=2");
  expect(measured).toMatchObject({ entry: "decode", context: 20 });
});

describe("bad input", () => {
  it.each([
    [["--entry", "other"], /^farrier: E_RT_ENTRY: the bundle has no entry "other"/],
    [["--context", "64"], /E_OPTION: --context: the cache holds 64: 64 and 1 new are more/],
    [["--entry", "main", "--context", "3"], /E_OPTION: --context: entry main has no cache/],
    [["--dim", "batch=5"], /E_DIM: --dim batch: 5 is not in 1\.\.4 \(compile the model for it\)/],
    [["--dim", "rows=5"], /E_DIM: --dim rows: there is no symbol of that name \(there are batch/],
    [["--bandwidth", "0"], /E_OPTION: 0 is no rate/],
    [["--repeat", "0"], /E_OPTION: .*write an integer of at least 1/],
  ])("%j", async (argv, message) => {
    const said = await farrier("profile", llama, ...argv);
    expect(said.status).toBe(2);
    expect(said.err).toMatch(message);
  });

  it("a bundle without weights cannot run", async () => {
    const bare = await bundleOf(fixture("gpt2", "hf"), { weights: { kind: "none" } });
    const said = await farrier("profile", bare);
    expect(said.err).toMatch(/E_WEIGHTS: tensor .* has no values/);
    expect(said.status).toBe(2);
  });

  it("a report without floors, or of another plan, is none", async () => {
    const copy = path.join(temporaryDirectory(), "copy.farrier");
    fs.cpSync(llama, copy, { recursive: true });
    const file = path.join(copy, "report.json");
    const report = JSON.parse(fs.readFileSync(file, "utf8")) as {
      targets: { entries: { kernels: { floor?: unknown }[] }[] }[];
    };
    const decode = report.targets[0]!.entries.at(-1)!;
    const removed = decode.kernels.pop();
    fs.writeFileSync(file, JSON.stringify(report));
    expect((await farrier("profile", copy)).err).toMatch(/E_BUNDLE_\w+: /);
    decode.kernels.push({ ...removed, floor: undefined });
    fs.writeFileSync(file, JSON.stringify(report));
    expect((await farrier("profile", copy)).err).toMatch(/E_BUNDLE_\w+: /);
  });
});
