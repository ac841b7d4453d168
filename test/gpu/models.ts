/**
 * Whole models on a GPU, with nothing but Node and the driver: `node dist/test/gpu/models.js [TEXT…]`
 * runs the checks whose name has one of the texts, or all, on the target that TARGET of the
 * environment names (default sm_80). Each group runs in a process of its own,
 * so that one bad kernel does not end the others. Prints one line a check and closes with
 * `N passed, N failed`.
 */
import { fileURLToPath } from "node:url";
import fs from "node:fs";
import path from "node:path";
import { asInput, compare, numbersOf, readTensors } from "../../compiler/cli/tensors.js";
import { map } from "../../compiler/ir/build.js";
import { matmul } from "../../compiler/ir/build-anchor.js";
import { elementwise } from "../../compiler/scalar/elementwise.js";
import { evaluated, floats, modelOf, normals } from "../models/graphs.js";
import { attempt, check, counts, fixtures, onGpu, target, work } from "./checks.js";
import { directory, routing } from "./directories.js";
import { runGroups } from "./groups.js";
import { mixed } from "./mixed.js";
import { paged } from "./paged.js";
import { gpt2Small } from "./shapes.js";

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
      loaded.description.plan.targets[target]?.entries["main"]?.[0]?.steps.length ?? 0;
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
    const steps = loaded.description.plan.targets[target]?.entries["main"]?.[0]?.steps.length;
    check(
      "a function of one's own",
      error.relRms <= 1e-6 && steps === 1,
      `rel-RMS ${error.relRms.toExponential(3)}, ${steps ?? 0} launch`,
    );
  });
}

const groups = new Map<string, () => Promise<void>>();
const dense = ["gpt2", "llama", "published/gpt2", "published/llama", "qwen3", "bert"];
for (const name of [...dense, "published/bert"])
  for (const dtype of ["f32", "bf16", "f16"] as const)
    groups.set(`${name} ${dtype}`, () => directory(name, dtype, []));
const absorb = "attention(q, c·K, c·V)";
for (const name of ["mixtral", "deepseek_v2", "deepseek_v3", "published/deepseek_v3"]) {
  for (const dtype of ["f32", "bf16"] as const) {
    groups.set(`${name} ${dtype}`, () => directory(name, dtype, []));
    if (name !== "mixtral")
      groups.set(`${name} ${dtype} not absorbed`, () => directory(name, dtype, [absorb]));
  }
  groups.set(`${name} routing`, () => routing(name, "bf16"));
}
for (const name of ["gpt2", "llama"])
  for (const file of ["static.onnx", "dyn.onnx"])
    groups.set(`${name}/${file}`, () => onnx(name, file));
for (const name of ["gpt2", "llama", "deepseek_v2"])
  for (const dtype of ["f32", "bf16"] as const)
    groups.set(`${name} ${dtype} paged`, () => paged(name, dtype));
for (const name of ["gpt2", "llama", "deepseek_v2"])
  groups.set(`${name} mixed lengths`, () => mixed(name));
groups.set("own function", ownFunction);
/** Runs alone. */
const measured = "decode cost";
groups.set(measured, decodeCost);

const [flag, wanted] = process.argv.slice(2);
if (flag === "--group") await attempt(wanted!, groups.get(wanted!)!);
else {
  const texts = process.argv.slice(2);
  const asked = [...groups.keys()].filter(
    (group) => texts.length === 0 || texts.some((text) => group.includes(text)),
  );
  const program = fileURLToPath(import.meta.url);
  const isMeasured = (group: string): boolean => group === measured;
  await runGroups(
    program,
    asked.filter((group) => !isMeasured(group)),
  );
  await runGroups(program, asked.filter(isMeasured), 1);
}
fs.rmSync(work, { recursive: true, force: true });
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 ? 0 : 1;
