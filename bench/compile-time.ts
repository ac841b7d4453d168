/**
 * What compiling takes: `npm run bench:compile [-- --deepseek CONFIG.json] [--runs N] [--commit ID]`. Each run is a
 * process of its own; rows have wall and processor time and the peak of memory. The Llama directory
 * (16 GB of seeded weights) is made below the system's temporary directory and removed at the end.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot, version } from "../compiler/version.js";
import { writeSeededDirectory } from "./seeded-directory.js";

const gpt2Small = {
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  vocab_size: 50257,
  n_positions: 1024,
  n_embd: 768,
  n_layer: 12,
  n_head: 12,
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
  bos_token_id: 50256,
  eos_token_id: 50256,
  torch_dtype: "float32",
};

const llama8B = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  vocab_size: 128256,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  rope_scaling: {
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
  tie_word_embeddings: false,
  attention_bias: false,
  bos_token_id: 128000,
  eos_token_id: 128001,
  torch_dtype: "bfloat16",
};

const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const runs = Number(option("--runs") ?? 3);
const work = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-compile-"));

interface Row {
  readonly model: string;
  readonly arguments: readonly string[];
  readonly wallSeconds: number;
  readonly processorSeconds: number;
  readonly peakBytes: number;
  readonly load: number;
  readonly kernels: Readonly<Record<string, number>>;
}

/** Runs the command line, and prints what it took as its last line. */
const measured = `
const began = performance.now();
const { main } = await import(process.argv[1]);
const status = await main(process.argv.slice(2));
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
process.stdout.write("\\n" + JSON.stringify({
  status,
  wallSeconds: (performance.now() - began) / 1000,
  processorSeconds: (userCPUTime + systemCPUTime) / 1e6,
  peakBytes: maxRSS * 1024,
}));
`;

function row(model: string, directory: string, given: readonly string[]): Row {
  const output = path.join(work, "out.farrier");
  const program = path.join(packageRoot(), "dist", "compiler", "cli", "main.js");
  const args = ["compile", directory, ...given, "-o", output];
  const child = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", measured, "--", program, ...args],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  const last = child.stdout.trimEnd().split("\n").at(-1) ?? "";
  const took = JSON.parse(last) as Pick<Row, "wallSeconds" | "processorSeconds" | "peakBytes"> & {
    status: number;
  };
  if (took.status !== 0) throw new Error(child.stderr);
  const kernels: Record<string, number> = {};
  for (const target of fs.readdirSync(path.join(output, "kernels"))) {
    const found = path.join(output, "kernels", target);
    if (fs.statSync(found).isDirectory()) kernels[target] = fs.readdirSync(found).length;
  }
  fs.rmSync(output, { recursive: true, force: true });
  const { wallSeconds, processorSeconds, peakBytes } = took;
  const load = os.loadavg()[0]!;
  return { model, arguments: given, wallSeconds, processorSeconds, peakBytes, load, kernels };
}

function configured(name: string, config: object): string {
  const directory = path.join(work, name);
  fs.mkdirSync(directory);
  fs.writeFileSync(path.join(directory, "config.json"), JSON.stringify(config));
  return directory;
}

function* models(): Generator<readonly [string, string, readonly string[]]> {
  const random = ["--weights", "random:1"];
  const gpt2 = configured("gpt2-small", gpt2Small);
  yield ["gpt2-small", gpt2, [...random, "--target", "sm_80"]];
  yield ["gpt2-small", gpt2, [...random, "--target", "cpu"]];
  const deepseek = option("--deepseek");
  if (deepseek !== undefined) {
    const config = JSON.parse(fs.readFileSync(deepseek, "utf8")) as object;
    yield [
      "deepseek-v3",
      configured("deepseek-v3", config),
      ["--target", "sm_80", "--weights", "none"],
    ];
  }
  const llama = path.join(work, "llama-3.1-8b");
  const bytes = writeSeededDirectory(llama, llama8B);
  process.stderr.write(`llama-3.1-8b: ${(bytes / 1e9).toFixed(1)} GB of seeded weights\n`);
  yield ["llama-3.1-8b", llama, ["--target", "sm_80", "--weights", "reference"]];
  fs.rmSync(llama, { recursive: true, force: true });
}

try {
  const rows: Row[] = [];
  for (const [name, directory, given] of models())
    for (let i = 0; i < runs; i++) {
      const made = row(name, directory, given);
      rows.push(made);
      const { wallSeconds, processorSeconds, peakBytes } = made;
      process.stderr.write(
        `${name} ${given.join(" ")}: ${wallSeconds.toFixed(2)} s, ${processorSeconds.toFixed(2)} s of processors, ${(peakBytes / 2 ** 20).toFixed(0)} MiB\n`,
      );
    }
  const git = spawnSync("git", ["rev-parse", "HEAD"], { cwd: packageRoot(), encoding: "utf8" });
  const commit = option("--commit") ?? (git.status === 0 ? git.stdout.trim() : "unknown");
  const [processor] = os.cpus();
  const machine = {
    processor: processor?.model ?? "",
    threads: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    node: process.version,
  };
  const about = { what: "compile time and peak memory", version, commit };
  process.stdout.write(`${JSON.stringify({ ...about, machine, rows }, null, 1)}\n`);
} finally {
  fs.rmSync(work, { recursive: true, force: true });
}
