/**
 * CPU speed beside ONNX Runtime, on the same threads in one run: `npm run bench:cpu -- [options]`.
 *
 *   --out FILE      where the results go
 *   --only TEXT     models whose name contains TEXT
 *   --rounds N      rounds of interleaved slices (7)
 *   --steps         farrier's time by kernel, too
 *
 * Threads: FARRIER_THREADS, or all cores. The peer is installed by `npm install --prefix bench`.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { compare } from "../../compiler/cli/tensors.js";
import { compile } from "../../compiler/compile.js";
import { packageRoot } from "../../compiler/version.js";
import { devices, load, type Model as Loaded } from "../../runtime/node/index.js";
import { geometricMean } from "../performance-page.js";
import { inputsOf, type Input, type Model } from "./model.js";
import { models } from "./models/index.js";
import { onnxRuntime, type Peer } from "./peer.js";
import { ratioOf, type Results, type Row } from "./results.js";
import { stepLines } from "./steps.js";
import { interleaved, type Plan } from "./timing.js";

/** ‖farrier − peer‖ / ‖peer‖ of every output, both in f32: beyond it nothing is timed. */
const bound = 1e-5;

const { values: options } = parseArgs({
  options: {
    out: { type: "string" },
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "7" },
    steps: { type: "boolean", default: false },
  },
});
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const plan: Plan = { rounds: Number(options.rounds), slice: 250 };
if (!Number.isInteger(plan.rounds) || plan.rounds < 1)
  throw new Error(`--rounds ${options.rounds}: give a positive whole number`);
const chosen = models.filter(({ name }) => name.includes(options.only));
if (chosen.length === 0)
  throw new Error(`--only ${options.only}: the models are ${models.map((m) => m.name).join("; ")}`);

const output = (command: string, args: readonly string[]): string => {
  try {
    return execFileSync(command, args, { cwd: packageRoot(), encoding: "utf8" }).trim();
  } catch {
    return "";
  }
};

function commit(): string {
  const changed = output("git", ["status", "--porcelain", "--untracked-files=no"]) !== "";
  return `${output("git", ["rev-parse", "--short", "HEAD"])}${changed ? " with changes" : ""}`;
}

/** Of the instruction sets that products depend on, those of this machine. */
function cpuFlags(): string[] {
  const wanted = /^(avx|fma|f16c|amx)/;
  const text = fs.existsSync("/proc/cpuinfo") ? fs.readFileSync("/proc/cpuinfo", "utf8") : "";
  const line = /^flags\s*:\s*(.*)$/m.exec(text)?.[1] ?? "";
  return line.split(" ").filter((flag) => wanted.test(flag));
}

async function errors(
  own: Awaited<ReturnType<Loaded["run"]>>,
  theirs: Readonly<
    Record<string, { readonly data: Float32Array; readonly dims: readonly number[] }>
  >,
): Promise<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(theirs).map(([name, { data, dims }]) => {
      const mine = own[name];
      if (mine?.shape.join() !== dims.join()) return [name, Infinity];
      const { relRms, sameSpecials } = compare(mine.toFloat64(), Float64Array.from(data), dims);
      return [name, sameSpecials ? relRms : Infinity];
    }),
  );
}

async function compared(
  name: string,
  own: Loaded,
  inputs: Readonly<Record<string, Input>>,
  peer: Awaited<ReturnType<Peer["open"]>>,
): Promise<Row> {
  const relRms = await errors(await own.run(inputs), await peer.run());
  const worst = Math.max(...Object.values(relRms));
  if (!(worst <= bound))
    return { name, relRms, farrier: null, peer: null, failed: `rel-RMS ${worst}` };
  const times = await interleaved({ farrier: () => own.run(inputs), peer: () => peer.run() }, plan);
  return { name, relRms, ...times };
}

async function measured(model: Model, peer: Peer, threads: number): Promise<Row> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-cpu-"));
  try {
    const file = model.write(directory);
    const inputs = inputsOf(model);
    const bundle = await compile(file, {
      output: path.join(directory, "model.farrier"),
      weights: { kind: "reference" },
    });
    const own = await load(bundle.path, { referenceDir: directory });
    const theirs = await peer.open(file, inputs, threads);
    try {
      const row = await compared(model.name, own, inputs, theirs);
      if (options.steps) for (const line of stepLines(await own.profile(inputs))) say(line);
      return row;
    } finally {
      await theirs.close();
      await own.close();
    }
  } catch (error) {
    const failed = error instanceof Error ? error.message : String(error);
    return { name: model.name, relRms: {}, farrier: null, peer: null, failed };
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

function rowLine({ name, relRms, farrier, peer, failed }: Row): string {
  if (farrier === null || peer === null) return `${name}: FAILED, ${failed ?? ""}`;
  const of = (time: "median" | "min"): string =>
    `${farrier[time].toFixed(3)} / ${peer[time].toFixed(3)} = ${(peer[time] / farrier[time]).toFixed(3)}`;
  const worst = Math.max(...Object.values(relRms)).toExponential(1);
  return `${name}: median ${of("median")}, min ${of("min")}, rel-RMS ${worst}`;
}

const peer = onnxRuntime();
const { devices: found } = await devices();
const cpu = found.find(({ type }) => type === "cpu");
const threads = cpu?.threads ?? os.availableParallelism();
const before = os.loadavg()[0]!;
say(`ms: farrier / ONNX Runtime ${peer.version} = ratio, on ${threads} threads`);
const rows: Row[] = [];
for (const model of chosen) {
  const row = await measured(model, peer, threads);
  rows.push(row);
  say(rowLine(row));
}
const ratios = rows.flatMap((row) => ratioOf(row, "median") ?? []);
say(`geometric mean of the medians' ratios: ${geometricMean(ratios).toFixed(3)}`);
if (options.out !== undefined) {
  const results: Results = {
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    cpu: os.cpus()[0]?.model.trim() ?? "",
    cores: os.cpus().length,
    threads,
    isa: cpu?.isa ?? "",
    flags: cpuFlags(),
    peer: `ONNX Runtime ${peer.version}`,
    node: process.version,
    compiler: output(process.env["CC"] || "cc", ["--version"]).split("\n")[0]!,
    load: [before, os.loadavg()[0]!],
    rows,
  };
  fs.writeFileSync(options.out, `${JSON.stringify(results, null, 1)}\n`);
}
process.exitCode = rows.some(({ failed }) => failed !== undefined) ? 1 : 0;
