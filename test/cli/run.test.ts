/** Commands that run a bundle, over one bundle of the Llama fixture for the CPU. */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  writeSafetensors,
  type TensorToWrite,
} from "../../compiler/frontend/files/write-safetensors.js";
import { bundleOf, fixture, golden, numbersOf, temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

const goldenFile = fixture("llama", "golden-hf.safetensors");
/** Positions of the bundle's cache. */
const positions = 64;
let bundle: string;
let dataDirectory: string;

beforeAll(async () => {
  dataDirectory = temporaryDirectory();
  const dims = { batch: [1, 4], seq: [1, positions] } as const;
  bundle = await bundleOf(fixture("llama", "hf"), { dtype: "f32", dims });
}, 240_000);

function saved(name: string, tensors: Readonly<Record<string, TensorToWrite>>): string {
  const file = path.join(dataDirectory, `${name}.safetensors`);
  writeSafetensors(file, new Map(Object.entries(tensors)));
  return file;
}

function idsTensor(shape: readonly number[], value: (i: number) => number): TensorToWrite {
  const count = shape.reduce((x, y) => x * y, 1);
  const data = BigInt64Array.from({ length: count }, (_, i) => BigInt(value(i)));
  return { dtype: "i64", shape, chunks: () => [new Uint8Array(data.buffer)] };
}

function goldenWith(changes: Readonly<Record<string, TensorToWrite | null>>): string {
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, { dtype, shape, bytes }] of golden(goldenFile))
    tensors[name] = { dtype, shape, chunks: () => [bytes] };
  for (const [name, tensor] of Object.entries(changes))
    if (tensor === null) delete tensors[name];
    else tensors[name] = tensor;
  return saved(`golden-${Object.keys(changes).join("-")}`, tensors);
}

/** The golden logits, all a hundredth larger. */
function wrongLogits(): TensorToWrite {
  const logits = golden(goldenFile).get("logits")!;
  const wrong = numbersOf(logits).map((value) => value * 1.01);
  return { dtype: "f64", shape: logits.shape, chunks: () => [new Uint8Array(wrong.buffer)] };
}

describe("verify", () => {
  it("passes on the golden file and prints the error", async () => {
    const { status, out } = await farrier("verify", bundle, "--golden", goldenFile);
    expect(status).toBe(0);
    expect(out).toMatch(
      /^passed logits: rel-RMS \d\.\d+e-7 \(bound 2\.0e-6\), largest error .* at \[/,
    );
  });

  it("tells as events", async () => {
    const { status, events } = await farrier("verify", bundle, "--golden", goldenFile, "--json");
    expect(status).toBe(0);
    const compared = events.find(({ event }) => event === "compared");
    expect(compared).toMatchObject({
      name: "logits",
      passed: true,
      bound: 2e-6,
      sameSpecials: true,
    });
  });

  it("fails with status 1 beyond the bound", async () => {
    const tight = await farrier("verify", bundle, "--golden", goldenFile, "--rel-rms", "1e-9");
    expect(tight.status).toBe(1);
    expect(tight.out).toMatch(/^FAILED logits/);
    const wrong = await farrier(
      "verify",
      bundle,
      "--golden",
      goldenWith({ logits: wrongLogits() }),
    );
    expect(wrong.status).toBe(1);
  });

  it.each([
    [
      "a name that the model does not have",
      { logit: wrongLogits() },
      ["E_GOLDEN", "logit", "input_ids, logits"],
    ],
    ["nothing to compare", { logits: null }, ["E_GOLDEN", "nothing to compare"]],
    [
      "more rows than the profile",
      { input_ids: idsTensor([5, 4], () => 1) },
      ["E_RT_PROFILE", "batch"],
    ],
    ["an id beyond the vocabulary", { input_ids: idsTensor([2, 17], () => 1e6) }, ["E_RT_INDEX"]],
    [
      "another shape of the output",
      { input_ids: idsTensor([1, 3], () => 1) },
      ["E_GOLDEN", "shape"],
    ],
  ])("refuses %s", async (_what, changes, says) => {
    const { status, err } = await farrier("verify", bundle, "--golden", goldenWith(changes));
    expect({ status, err }).toMatchObject({ status: 2 });
    for (const text of says) expect(err).toContain(text);
  });

  it.each([
    [["--golden", "/no/such.safetensors"], "/no/such.safetensors"],
    [["--golden", fixture("llama", "reference.json")], "E_ST_"],
    [[], "--golden"],
  ])("refuses %j", async (argv, says) => {
    const { status, err } = await farrier("verify", bundle, ...argv);
    expect({ status, err }).toMatchObject({ status: 2 });
    expect(err).toContain(says);
  });
});

describe("run", () => {
  it("runs, repeats, times, and writes the outputs", async () => {
    const file = saved("ids", { input_ids: idsTensor([2, 5], (i) => i) });
    const output = path.join(dataDirectory, "out.safetensors");
    const argv = ["--input", `input_ids=${file}`, "--output", output, "--repeat", "3"];
    const { status, out } = await farrier("run", bundle, ...argv);
    expect(status).toBe(0);
    expect(out).toMatch(/^logits: f32 \[2, 5, 256\]\n3 runs, median \d+\.\d+ ms\n$/);
    expect(golden(output).get("logits")).toMatchObject({ dtype: "f32", shape: [2, 5, 256] });
  });

  it("takes a tensor by its name in the file", async () => {
    const file = saved("many", { a: idsTensor([1, 2], () => 3), b: idsTensor([1, 4], () => 3) });
    const { events } = await farrier("run", bundle, "--input", `input_ids=${file}:b`, "--json");
    expect(events.find(({ event }) => event === "output")).toMatchObject({ shape: [1, 4, 256] });
    expect(events.at(-1)).toMatchObject({ event: "ran", runs: 1 });
  });

  it.each<[string, () => string[], number, string[]]>([
    ["no inputs", () => [], 2, ["E_RT_INPUT", "input_ids"]],
    [
      "an unknown input",
      () => ["--input", `x=${saved("x", { x: idsTensor([1, 1], () => 0) })}`],
      2,
      ["E_RT_INPUT", "it has input_ids"],
    ],
    [
      "an absent tensor",
      () => [
        "--input",
        `input_ids=${saved("two", { a: idsTensor([1], () => 0), b: idsTensor([1], () => 0) })}`,
      ],
      2,
      ["E_INPUT", "it has a, b"],
    ],
    ["text that names no file", () => ["--input", "input_ids"], 2, ["E_OPTION", "NAME=FILE"]],
    [
      "a longer sequence than the profile",
      () => [
        "--input",
        `input_ids=${saved("long", { input_ids: idsTensor([1, positions + 1], () => 0) })}`,
      ],
      2,
      ["E_RT_PROFILE", "seq", String(positions)],
    ],
    ["a device that is none", () => ["--device", "tpu:0"], 2, ["E_DEVICE_NAME", "cuda:N"]],
    ["no repeats", () => ["--repeat", "0"], 2, ["at least 1"]],
    [
      "an output that cannot be written",
      () => [
        "--input",
        `input_ids=${saved("ok", { input_ids: idsTensor([1, 1], () => 0) })}`,
        "--output",
        "/no/such/out.safetensors",
      ],
      5,
      ["E_IO", "/no/such"],
    ],
  ])("refuses %s", async (_what, argv, status, says) => {
    const said = await farrier("run", bundle, ...argv());
    expect({ status: said.status, err: said.err }).toMatchObject({ status });
    for (const text of says) expect(said.err).toContain(text);
  });

  it("refuses a place where nothing is", async () => {
    const { status, err } = await farrier("run", "/no/such.farrier");
    expect({ status, err }).toMatchObject({ status: 2 });
    expect(err).toContain("E_NOT_FOUND");
  });
});

describe("inspect and explain of a bundle", () => {
  it("inspect lists entries, states and files", async () => {
    const { status, out } = await farrier("inspect", bundle);
    expect(status).toBe(0);
    expect(out).toContain("symbol batch: 1..4");
    expect(out).toContain("entry decode\n  in   input_ids: i64 [batch, 1]");
    expect(out).toMatch(/cpu: \d+ kernels, \d+ weights from \d+ tensors/);
  });

  it("explain reads the report that compiling wrote", async () => {
    const report = JSON.parse(fs.readFileSync(path.join(bundle, "report.json"), "utf8")) as unknown;
    const { status, events } = await farrier("explain", bundle, "--json");
    expect(status).toBe(0);
    expect(events.at(-1)).toEqual({ event: "explained", report });
    expect((await farrier("explain", bundle, "--target", "sm_80")).status).toBe(3);
  });

  it.each(["inspect", "explain"])(
    "%s refuses a bundle whose files are not what they were",
    async (command) => {
      const directory = temporaryDirectory();
      fs.writeFileSync(path.join(directory, "manifest.json"), "{");
      fs.writeFileSync(path.join(directory, "report.json"), '{"targets": 7}');
      const { status, err } = await farrier(command, directory);
      expect({ status, err }).toMatchObject({ status: 2 });
      expect(err).toContain("E_BUNDLE_FORMAT");
    },
  );

  it("inspect refuses what is no bundle", async () => {
    const { status, err } = await farrier("inspect", fixture("llama", "hf"));
    expect({ status, err }).toMatchObject({ status: 2 });
    expect(err).toContain("E_BUNDLE_FORMAT");
  });
});
