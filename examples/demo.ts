/**
 * `npm run demo`: compiles two small models for this machine, checks what they compute against
 * recorded results, shows what was fused, and measures what fusion gains at a realistic size.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compile, devices, load, type CompiledBundle, type Model } from "../index.js";
import type { DeviceInfo } from "../runtime/node/index.js";
import { asInput, compare, numbersOf, readTensors } from "../compiler/cli/tensors.js";
import { bytesText } from "../compiler/cli/output.js";
import { entryLines } from "../compiler/cli/explain.js";
import { packageRoot } from "../compiler/version.js";
import { greedy, median, timesOf, type Timing } from "./support.js";

const say = (text = ""): void => void process.stdout.write(`${text}\n`);
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
const fixture = (...parts: string[]): string =>
  path.join(packageRoot(), "test", "fixtures", "models", ...parts);

/** Largest ‖out − ref‖ / ‖ref‖ that f32 arithmetic may be off by. */
const bound = 2e-6;

interface Machine {
  readonly targets: readonly string[];
  /** By name, as `load` wants them. */
  readonly places: readonly string[];
}

async function findMachine(): Promise<Machine> {
  const { devices: found, cuda } = await devices();
  const gpu = found.find(({ type }) => type === "cuda");
  const cpu = found.find(({ type }) => type === "cpu");
  const cpuName = os.cpus()[0]?.model.trim() ?? "CPU";
  say(`CPU: ${cpuName}, ${cpu?.isa ?? "portable"} kernels, ${cpu?.threads ?? 1} threads`);
  say(
    gpu === undefined
      ? `GPU: none that can be used (${cuda ?? "none found"})`
      : `GPU: ${gpuText(gpu)}`,
  );
  const targets: [string, string][] = [];
  if (hasCompiler()) targets.push(["cpu", "cpu"]);
  else say("No C compiler is found (set CC to one): nothing is compiled for the CPU.");
  if (gpu !== undefined) targets.push(["sm_80", `cuda:${gpu.id}`]);
  return { targets: targets.map(([target]) => target), places: targets.map(([, place]) => place) };
}

function hasCompiler(): boolean {
  const [command = "cc"] = (process.env["CC"] || "cc").split(/\s+/);
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

const gpuText = ({ name, capability, driver }: DeviceInfo): string =>
  `${name}, compute capability ${capability ?? "?"}, driver ${driver ?? "?"}`;

async function compiled(
  title: string,
  model: string,
  options: Parameters<typeof compile>[1],
): Promise<CompiledBundle> {
  const since = performance.now();
  const bundle = await compile(model, { dtype: "f32", ...options });
  const kernels = bundle.report.targets.map(
    ({ target, kernels: count, entries }) =>
      `${target}: ${count} kernels, ${entries.map(({ name, launches }) => `${name} ${launches}`).join(", ")} launches`,
  );
  say(`${title}: compiled in ${seconds(since)}`);
  for (const line of kernels) say(`  ${line}`);
  return bundle;
}

/** Logits against transformers' in float64, and its greedy ids. */
async function verified(name: string, bundle: string, place: string): Promise<boolean> {
  const golden = readTensors(fixture(name, "golden-hf.safetensors"));
  const { prompt, greedy: expected } = JSON.parse(
    fs.readFileSync(fixture(name, "reference.json"), "utf8"),
  ) as { prompt: number[]; greedy: number[] };
  const model = await load(bundle, { device: place });
  try {
    const ids = asInput("input_ids", golden.get("input_ids")!, "i64");
    const { logits } = await model.run({ input_ids: ids });
    const reference = golden.get("logits")!;
    const error = compare(logits!.toFloat64(), numbersOf(reference), reference.shape);
    const close = error.relRms <= bound && error.sameSpecials;
    say(
      `  ${place}: logits differ from transformers' by ${error.relRms.toExponential(1)} (rel-RMS, float64 reference; at most ${bound.toExponential(0)}): ${close ? "good" : "WRONG"}`,
    );
    const made = await greedy(model, prompt, expected.length);
    const same = made.join() === expected.join();
    say(
      `  ${place}: ${prompt.length} ids continued with ${made.slice(0, 8).join(",")},…: ${same ? `all ${expected.length} as transformers` : `WRONG, expected ${expected.join(",")}`}`,
    );
    return close && same;
  } finally {
    await model.close();
  }
}

function showFusion({ report }: CompiledBundle): void {
  const entry = report.targets[0]!.entries.find(({ name }) => name === "main")!;
  say();
  say("What became one kernel, and what passes between kernels (Llama, entry main):");
  for (const line of entryLines(entry)) say(`  ${line}`);
  say(
    "  Fusion ends where one product or attention feeds the next: their results pass through memory.",
  );
}

/** GPT-2 small's shape, with fewer layers where memory is short. */
function realisticModel(directory: string): { model: string; layers: number } {
  const layers = os.freemem() > 4 * 2 ** 30 ? 12 : 4;
  const config = {
    ...{ model_type: "gpt2", architectures: ["GPT2LMHeadModel"], vocab_size: 50257 },
    ...{ n_positions: 1024, n_embd: 768, n_layer: layers, n_head: 12 },
    ...{ activation_function: "gelu_new", layer_norm_epsilon: 1e-5, eos_token_id: 50256 },
  };
  const model = path.join(directory, "gpt2-small");
  fs.mkdirSync(model);
  fs.writeFileSync(path.join(model, "config.json"), JSON.stringify(config));
  return { model, layers };
}

async function measure(directory: string, machine: Machine): Promise<void> {
  const { model, layers } = realisticModel(directory);
  say();
  say(
    `What fusion gains: GPT-2 small's shape, ${layers} layers of 768, 50257 ids, random weights, f32`,
  );
  const common = {
    weights: { kind: "random", seed: 1 },
    dims: { batch: [1, 2], seq: [1, 128] },
    target: machine.targets,
  } as const;
  const output = (name: string): string => path.join(directory, name);
  const fused = await compiled("with fusion", model, {
    ...common,
    output: output("fused.farrier"),
  });
  const plain = await compiled("without fusion", model, {
    ...{ ...common, output: output("plain.farrier") },
    fuse: false,
  });
  for (const place of machine.places) await comparison(place, fused, plain);
}

async function comparison(
  place: string,
  fused: CompiledBundle,
  plain: CompiledBundle,
): Promise<void> {
  const [a, b] = [
    await load(fused.path, { device: place }),
    await load(plain.path, { device: place }),
  ];
  const rows: [string, Timing, Timing][] = [
    ["prefill of 64 ids", ...(await pair(a, b, "prefill"))],
    ["one decode step", ...(await pair(a, b, "decode"))],
  ];
  say(`  ${place}, median of ${rows[0]![1].times.length} runs, taken in turns:`);
  for (const [title, one, other] of rows) {
    const [x, y] = [median(one.times), median(other.times)];
    say(
      `    ${title.padEnd(18)} ${x.toFixed(1)} ms in ${one.launches} launches; without fusion ${y.toFixed(1)} ms in ${other.launches} (${(y / x).toFixed(2)} ×)`,
    );
  }
  const bytes = (bundle: CompiledBundle): string =>
    bytesText(
      bundle.report.targets[0]!.entries.find((e) => e.name === "prefill")!.intermediates.bytes,
    );
  say(
    `    ${"intermediates".padEnd(18)} ${bytes(fused)}; without fusion ${bytes(plain)} (prefill, largest shapes)`,
  );
  await Promise.all([a.close(), b.close()]);
}

const pair = async (a: Model, b: Model, entry: "prefill" | "decode"): Promise<[Timing, Timing]> =>
  timesOf([a, b], entry, 9) as Promise<[Timing, Timing]>;

async function main(): Promise<number> {
  const began = performance.now();
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-demo-"));
  const clean = (): void => fs.rmSync(directory, { recursive: true, force: true });
  process.once("SIGINT", () => {
    clean();
    process.exit(130);
  });
  try {
    const machine = await findMachine();
    if (machine.targets.length === 0) return 3;
    say();
    let good = true;
    let shown: CompiledBundle | undefined;
    for (const name of ["gpt2", "llama"]) {
      const output = path.join(directory, `${name}.farrier`);
      shown = await compiled(name, fixture(name, "hf"), { target: machine.targets, output });
      for (const place of machine.places) good = (await verified(name, output, place)) && good;
    }
    showFusion(shown!);
    await measure(directory, machine);
    say();
    say(`Done in ${seconds(began)}. Your own model, from a Hugging Face directory:`);
    say(`  npx farrier compile path/to/model --target ${machine.targets.join(",")} -o my.farrier`);
    say("  npx farrier generate my.farrier --prompt 'Once upon a time'");
    return good ? 0 : 1;
  } finally {
    clean();
  }
}

process.exitCode = await main();
