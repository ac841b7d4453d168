/**
 * Whole models on a GPU, with nothing but Node and the driver: `node dist/test/gpu/models.js [TEXT…]`
 * runs the checks whose name has one of the texts, or all. Each group runs in a process of its own,
 * so that one bad kernel does not end the others. Prints one line a check and closes with
 * `N passed, N failed`.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { asInput, compare, numbersOf, readTensors } from "../../compiler/cli/tensors.js";
import { compile, type CompileOptions } from "../../compiler/compile.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { map } from "../../compiler/ir/build.js";
import { matmul } from "../../compiler/ir/build-anchor.js";
import { elementwise } from "../../compiler/scalar/elementwise.js";
import { packageRoot } from "../../compiler/version.js";
import { load, type Model } from "../../runtime/node/index.js";

import { gpt2Small } from "./shapes.js";
import { evaluated, floats, modelOf, normals } from "../models/graphs.js";

const fixtures = path.join(packageRoot(), "test", "fixtures", "models");
const work = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-gpu-"));
const counts = { passed: 0, failed: 0 };

function check(what: string, ok: boolean, detail: string): void {
  counts[ok ? "passed" : "failed"]++;
  process.stdout.write(`${ok ? "ok  " : "FAIL"} ${what}: ${detail}\n`);
}

async function attempt(what: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    check(what, false, error instanceof Error ? error.message.slice(0, 1500) : String(error));
  }
}

let bundles = 0;
async function onGpu<T>(
  source: string | ImportedModel,
  options: CompileOptions,
  body: (model: Model) => Promise<T>,
): Promise<T> {
  const output = path.join(work, `bundle${bundles++}`);
  await compile(source, { target: ["sm_80"], ...options, output });
  const model = await load(output, { device: "cuda:0" });
  try {
    return await body(model);
  } finally {
    await model.close();
    fs.rmSync(output, { recursive: true, force: true });
  }
}

type DType = "f32" | "bf16" | "f16";

interface Reference {
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly rel_rms_of_transformers: Readonly<Record<DType, number>>;
}

async function step(
  model: Model,
  state: ReturnType<Model["createState"]>,
  ids: readonly number[],
  past: number,
  graph = false,
): Promise<Float64Array> {
  const entry = past === 0 ? "prefill" : "decode";
  const { logits } = await model.run(
    { input_ids: [[...ids]], lengths: [past] },
    { entry, state, graph },
  );
  return logits!.toFloat64();
}

const argmax = (row: Float64Array): number =>
  row.reduce((best, value, index) => (value > row[best]! ? index : best), 0);

async function directory(name: string, dtype: DType): Promise<void> {
  const home = path.join(fixtures, name);
  const golden = readTensors(path.join(home, "golden-hf.safetensors"));
  const reference = JSON.parse(
    fs.readFileSync(path.join(home, "reference.json"), "utf8"),
  ) as Reference;
  const ids = asInput("input_ids", golden.get("input_ids")!, "i64");
  const expected = golden.get("logits")!;
  const bound = dtype === "f32" ? 2e-6 : 2 * reference.rel_rms_of_transformers[dtype];
  await onGpu(path.join(home, "hf"), { dtype }, async (model) => {
    const first = (await model.run({ input_ids: ids }))["logits"]!;
    const error = compare(first.toFloat64(), numbersOf(expected), expected.shape);
    check(
      `${name} ${dtype}`,
      error.relRms <= bound && error.sameSpecials,
      `rel-RMS ${error.relRms.toExponential(3)}, bound ${bound.toExponential(3)}`,
    );
    let same = 0;
    for (let i = 0; i < 100; i++) {
      const again = (await model.run({ input_ids: ids }, { graph: i % 2 === 0 }))["logits"]!;
      if (Buffer.compare(Buffer.from(again.bytes), Buffer.from(first.bytes)) === 0) same++;
    }
    check(
      `${name} ${dtype} repeats`,
      same === 100,
      `${same} of 100 runs, every other one a graph, have the bits of the first`,
    );
    if (dtype === "f32") await generation(name, model, reference);
  });
}

async function generation(
  name: string,
  model: Model,
  { prompt, greedy }: Reference,
): Promise<void> {
  for (const graph of [false, true]) {
    const state = model.createState();
    const ids: number[] = [];
    let logits = await step(model, state, prompt, 0);
    while (ids.length < greedy.length) {
      ids.push(argmax(logits));
      if (ids.length < greedy.length)
        logits = await step(model, state, ids.slice(-1), prompt.length + ids.length - 1, graph);
    }
    check(`${name} generates${graph ? " by graph" : ""}`, ids.join() === greedy.join(), ids.join());
    state.close();
  }
  const whole = (await model.run({ input_ids: [[...prompt]] }))["logits"]!.toFloat64();
  const vocabulary = whole.length / prompt.length;
  const state = model.createState();
  let worst = 0;
  for (let i = 0; i < prompt.length; i++) {
    const logits = await step(model, state, [prompt[i]!], i);
    worst = Math.max(
      worst,
      compare(logits, whole.subarray(i * vocabulary, (i + 1) * vocabulary), [vocabulary]).relRms,
    );
  }
  state.close();
  check(
    `${name} step by step`,
    worst <= 2e-6,
    `largest rel-RMS against one pass ${worst.toExponential(3)}`,
  );
}

async function onnx(name: string, file: string): Promise<void> {
  const model = path.join(fixtures, name, file);
  if (!fs.existsSync(model)) return;
  const golden = readTensors(path.join(fixtures, name, "golden.safetensors"));
  const input = golden.get("input")!;
  const [batch, seq] = input.shape as [number, number];
  const dims = file.startsWith("dyn")
    ? { dims: { batch: [1, batch] as const, seq: [1, 128] as const } }
    : {};
  await onGpu(model, dims, async (loaded) => {
    const { output } = await loaded.run({ input: asInput("input", input, "i64") });
    const expected = golden.get("output")!;
    const error = compare(output!.toFloat64(), numbersOf(expected), expected.shape);
    const launches =
      loaded.description.plan.targets["sm_80"]?.entries["main"]?.[0]?.steps.length ?? 0;
    check(
      `${name}/${file}`,
      error.relRms <= 2e-6 && error.sameSpecials,
      `rel-RMS ${error.relRms.toExponential(3)} at ${batch}x${seq}, ${launches} launches`,
    );
  });
}

/** One decode step at two cache lengths: only attention may take longer. */
async function decodeCost(): Promise<void> {
  const home = path.join(work, "gpt2-small");
  fs.mkdirSync(home);
  fs.writeFileSync(path.join(home, "config.json"), JSON.stringify(gpt2Small));
  await onGpu(
    home,
    {
      dtype: "bf16",
      weights: { kind: "random", seed: 1 },
      dims: { batch: [1, 1], seq: [1, 1024] },
    },
    async (model) => {
      const times: number[] = [];
      for (const past of [10, 1000]) {
        const state = model.createState();
        const { steps } = await model.profile(
          { input_ids: [[1]], lengths: [past] },
          { entry: "decode", state, repeat: 50 },
        );
        const total = steps.reduce((sum, each) => sum + each.ms, 0);
        const attention = steps
          .filter((each) => each.family === "attention")
          .reduce((sum, each) => sum + each.ms, 0);
        times.push(total - attention);
        process.stdout.write(
          `     gpt2-small decode at ${past}: ${steps.length} launches, ${(total * 1000).toFixed(1)} us, attention ${(attention * 1000).toFixed(1)} us\n`,
        );
        state.close();
      }
      const ratio = times[1]! / times[0]!;
      check(
        "gpt2-small decode, kernels without attention at 1,000 ids over 10",
        Math.abs(ratio - 1) <= 0.05,
        ratio.toFixed(4),
      );
    },
  );
}

/** A function of the user's in a product's epilogue, against the fp64 evaluator. */
async function ownFunction(): Promise<void> {
  const squash = elementwise((v) => (v > 0 ? Math.sqrt(v) : -Math.log1p(-v)) * 0.5);
  const [rows, width, columns] = [33, 48, 40];
  const model = modelOf(64, ({ g, x, weight }) =>
    map(g, squash, [
      matmul(g, x(width, "f32"), weight("f32", [width, columns], normals(1, width * columns))),
    ]),
  );
  const values = normals(2, rows * width).map(Math.fround);
  const expected = evaluated(model, floats("f32", [rows, width], values));
  await onGpu(model, {}, async (loaded) => {
    const { y } = await loaded.run({ x: { data: [...values], shape: [rows, width] } });
    const error = compare(y!.toFloat64(), expected, [rows, columns]);
    const steps = loaded.description.plan.targets["sm_80"]?.entries["main"]?.[0]?.steps.length;
    check(
      "a function of one's own",
      error.relRms <= 1e-6 && steps === 1,
      `rel-RMS ${error.relRms.toExponential(3)}, ${steps ?? 0} launch`,
    );
  });
}

const groups = new Map<string, () => Promise<void>>();
for (const name of ["gpt2", "llama", "published/gpt2", "published/llama"])
  for (const dtype of ["f32", "bf16", "f16"] as const)
    groups.set(`${name} ${dtype}`, () => directory(name, dtype));
for (const name of ["gpt2", "llama"])
  for (const file of ["static.onnx", "dyn.onnx"])
    groups.set(`${name}/${file}`, () => onnx(name, file));
groups.set("own function", ownFunction);
groups.set("decode cost", decodeCost);

/** Runs a group in a child and adds up its counts. */
function inChild(group: string): void {
  const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--group", group], {
    encoding: "utf8",
    timeout: 120_000,
  });
  const lines = child.stdout.split("\n");
  const closing = lines
    .map((line) => /^(\d+) passed, (\d+) failed$/.exec(line))
    .find((match) => match !== null);
  process.stdout.write(
    lines
      .filter((line) => line !== "" && !/^\d+ passed/.test(line))
      .map((line) => `${line}\n`)
      .join(""),
  );
  if (closing === undefined || closing === null)
    return check(group, false, `the process ended without a count: ${child.stderr.slice(-800)}`);
  counts.passed += Number(closing[1]);
  counts.failed += Number(closing[2]);
}

const [flag, wanted] = process.argv.slice(2);
if (flag === "--group") await attempt(wanted!, groups.get(wanted!)!);
else
  for (const group of groups.keys())
    if (process.argv.length === 2 || process.argv.slice(2).some((text) => group.includes(text)))
      inChild(group);
fs.rmSync(work, { recursive: true, force: true });
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 ? 0 : 1;
