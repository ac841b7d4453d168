import type { AddCommand } from "./main.js";
import type { Model } from "../../runtime/node/index.js";
import { exitStatus, FarrierError } from "../errors.js";
import { dimsFromShapes } from "./dims-from-shapes.js";
import { existing, isBundle, withCompiled, withModel, type OpenRequest } from "./open.js";
import { compileOptions, number, withModelOptions, type RawCompileOptions } from "./options.js";
import { Output } from "./output.js";
import { asInput, compare, numbersOf, readTensors, type FileTensor } from "./tensors.js";
import { findingText, kernelFindings } from "./verify-kernels.js";

interface Raw extends RawCompileOptions {
  readonly golden: string;
  readonly relRms?: number;
  readonly perKernel?: boolean;
  readonly device?: string;
  readonly json?: boolean;
}

/** Bounds on rel-RMS where the command line names none. */
const defaultBound: Readonly<Record<string, number>> = {
  f64: 1e-12,
  f32: 2e-6,
  f16: 5e-3,
  bf16: 4e-2,
};

export const verifyCommand: AddCommand = (program, finish) => {
  const command = program
    .command("verify")
    .description("run a bundle or a model on golden inputs and compare its outputs")
    .argument("<bundle or model>")
    .requiredOption("--golden <file>", "safetensors file with inputs and outputs by name")
    .option(
      "--rel-rms <x>",
      "largest ‖out − ref‖ / ‖ref‖ that passes (default: 2e-6 for f32, 5e-3 for f16, 4e-2 for bf16)",
      number,
    )
    .option("--per-kernel", "compare what each kernel writes with the model's values, too")
    .option("--target <names>", "what a model is compiled for (default: what the device runs)")
    .option("--device <name>", "cpu or cuda:N")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(place);
    const golden = readTensors(raw.golden);
    const options = compileOptions(raw);
    const dims =
      isBundle(place) || options.dims !== undefined ? {} : { dims: dimsFromShapes(place, golden) };
    const request = { place, device: raw.device, options: { ...options, ...dims }, output };
    const passed =
      raw.perKernel === true
        ? await verifiedEach(request, golden, raw)
        : await withModel(request, (model) => verified(model, golden, raw, output));
    finish(passed ? exitStatus.ok : exitStatus.verificationFailed);
  });
};

const boundOf = (dtype: string, { relRms }: Raw): number => relRms ?? defaultBound[dtype] ?? 0;

/** Kernels first, then the outputs that there are to compare. */
async function verifiedEach(
  request: OpenRequest,
  golden: ReadonlyMap<string, FileTensor>,
  raw: Raw,
): Promise<boolean> {
  const { place, output } = request;
  if (isBundle(place))
    throw new FarrierError("E_UNSUPPORTED", "a bundle has no graph to compare its kernels with", {
      where: "--per-kernel",
      hint: "give the model that it was compiled from",
    });
  return withCompiled(request, async (model, compiled) => {
    const findings = await kernelFindings(model, compiled, golden);
    // A value of a finer type than the model's was computed from values of the model's.
    const least = boundOf(compiled.lowered.model.dtype, raw);
    const bounds = findings.map(({ dtype }) => Math.max(least, boundOf(dtype, raw)));
    const failed = findings.filter(
      ({ relRms, sameSpecials }, i) => relRms > bounds[i]! || !sameSpecials,
    );
    for (const [i, finding] of findings.entries()) {
      const passed = !failed.includes(finding);
      const bound = bounds[i]!;
      const text = passed ? "" : `FAILED ${findingText(finding, bound)}`;
      output.event("kernel", { ...finding, bound, passed }, text);
    }
    const launches = new Set(findings.map(({ launch }) => launch)).size;
    const summary =
      failed.length === 0
        ? `passed: each of ${findings.length} values of ${launches} kernels`
        : `${failed.length} of ${findings.length} values that ${launches} kernels write are off`;
    output.event(
      "kernels",
      { kernels: launches, values: findings.length, failed: failed.length },
      summary,
    );
    const outputs = model.entry().outputs.some(({ name }) => golden.has(name));
    const whole = outputs ? await verified(model, golden, raw, output) : true;
    return whole && failed.length === 0;
  });
}

async function verified(
  model: Model,
  golden: ReadonlyMap<string, FileTensor>,
  raw: Raw,
  output: Output,
): Promise<boolean> {
  const entry = model.entry();
  const inputs = entry.inputs.filter(({ name }) => golden.has(name));
  const outputs = entry.outputs.filter(({ name }) => golden.has(name));
  const strangers = [...golden.keys()].filter(
    (name) => ![...inputs, ...outputs].some((tensor) => tensor.name === name),
  );
  const known = [...entry.inputs, ...entry.outputs].map(({ name }) => name).join(", ");
  if (strangers.length > 0)
    throw new FarrierError(
      "E_GOLDEN",
      `the model has no tensor ${strangers.map((name) => JSON.stringify(name)).join(", ")}`,
      { file: raw.golden, hint: `it has ${known}` },
    );
  if (outputs.length === 0)
    throw new FarrierError("E_GOLDEN", "no tensor is an output: nothing to compare", {
      file: raw.golden,
      hint: `the model has ${known}`,
    });
  const results = await model.run(
    Object.fromEntries(
      inputs.map(({ name, dtype }) => [name, asInput(name, golden.get(name)!, dtype)]),
    ),
  );
  let passed = true;
  for (const { name, dtype } of outputs) {
    const result = results[name]!;
    const reference = golden.get(name)!;
    if (result.shape.join() !== reference.shape.join())
      throw new FarrierError(
        "E_GOLDEN",
        `the output has shape [${result.shape.join(", ")}], the golden tensor [${reference.shape.join(", ")}]`,
        { file: raw.golden, where: name },
      );
    const bound = boundOf(dtype, raw);
    const found = compare(result.toFloat64(), numbersOf(reference), reference.shape);
    const ok = found.relRms <= bound && found.sameSpecials;
    passed &&= ok;
    const specials = found.sameSpecials ? "" : ", NaN or infinity in other places";
    const text = `${ok ? "passed" : "FAILED"} ${name}: rel-RMS ${found.relRms.toExponential(3)} (bound ${bound.toExponential(1)}), largest error ${found.largest.toExponential(3)} at [${found.at.join(", ")}]${specials}`;
    output.event("compared", { name, dtype, bound, passed: ok, ...found }, text);
  }
  return passed;
}
