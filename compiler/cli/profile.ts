import fs from "node:fs";
import type { AddCommand } from "./main.js";
import type { Model, Profile } from "../../runtime/node/index.js";
import type { CompileOptions } from "../compile.js";
import { FarrierError } from "../errors.js";
import type { EntryReport, OtherPlans, Report } from "../bundle/report.js";
import { profileShape } from "./bundle-shapes.js";
import { bundleJson, existing, isBundle, withModel } from "./open.js";
import {
  compileOptions,
  count,
  number,
  withModelOptions,
  type RawCompileOptions,
} from "./options.js";
import { Output } from "./output.js";
import { shapeOf, valuesFor } from "./profile/inputs.js";
import { launchesOf, type Measured } from "./profile/measured.js";
import { ratesOf } from "./profile/rates.js";
import { contextOf, dimsToCompile, pagesFor, sizesOf, type Asked } from "./profile/sizes.js";
import { tableText } from "./profile/table.js";
import { input } from "./run.js";
import type { FileTensor } from "./tensors.js";

interface Raw extends RawCompileOptions {
  readonly entry?: string;
  readonly context?: number;
  readonly input?: Record<string, FileTensor>;
  readonly repeat: number;
  readonly bandwidth?: number;
  readonly tflops?: number;
  readonly html?: string;
  readonly device?: string;
  readonly json?: boolean;
}

const positive = (text: string): number => {
  const value = number(text);
  if (value > 0) return value;
  throw new FarrierError("E_OPTION", `${text} is no rate`, { hint: "write a number above 0" });
};

export const profileCommand: AddCommand = (program) => {
  const command = program
    .command("profile")
    .description("the time of each kernel beside the least that it could take")
    .argument("<bundle or model>")
    .option("--entry <name>", "prefill, decode or main (default: decode, or what there is)")
    .option("--context <n>", "how far caches are filled (default: 512, of prefill 0)", count(0))
    .option("--input <name=file[:tensor]>", "an input; those not given are made up", input)
    .option("--repeat <n>", "runs; times are medians", count(1), 20)
    .option("--bandwidth <tb/s>", "of the device's memory (default: known or measured)", positive)
    .option("--tflops <n>", "of the device's products (default: known or measured)", positive)
    .option("--html <file>", "write a page: table, roofline, timeline, the graph fused and not")
    .option("--target <names>", "what a model is compiled for (default: what the device runs)")
    .option("--device <name>", "cpu or cuda:N")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(place);
    const options = compileOptions(raw);
    const asked: Asked = {
      entry: raw.entry,
      dims: options.dims,
      context: raw.context,
      inputs: raw.input ?? {},
    };
    const dims: CompileOptions["dims"] = isBundle(place)
      ? {}
      : dimsToCompile(place, options, asked);
    const request = { place, device: raw.device, options: { ...options, dims }, output };
    await withModel(request, async (model) => {
      const { measured, operators } = await measure(model, asked, raw, output);
      output.event("profiled", { ...measured }, tableText(measured));
      if (raw.html === undefined) return;
      // Its libraries are loaded where a page is wanted only.
      const { pageOf } = await import("./profile/page/page.js");
      fs.writeFileSync(raw.html, pageOf(measured, operators));
    });
  });
};

async function measure(
  model: Model,
  asked: Asked,
  { repeat, bandwidth, tflops }: Raw,
  output: Output,
): Promise<{ measured: Measured; operators: EntryReport["operators"] }> {
  const decodes = model.entries.some(({ name }) => name === "decode");
  const entry = model.entry(asked.entry ?? (decodes ? "decode" : undefined));
  const sizes = sizesOf(model, entry, asked);
  const ids = entry.inputs.find(({ name }) => name === "input_ids");
  const tokens = ids === undefined ? 0 : (shapeOf(ids.shape, sizes).at(-1) ?? 0);
  const context = contextOf(model, entry, asked.context, tokens);
  const pages = pagesFor(model, entry, sizes["batch"] ?? 1, (context ?? 0) + tokens);
  const { inputs, means } = valuesFor(entry, sizes, context, asked.inputs, pages);
  const report = entryReport(model, entry.name);
  output.progress("measuring", 0, 0);
  const rates = await ratesOf(model, {
    ...(bandwidth !== undefined && { bandwidth }),
    ...(tflops !== undefined && { tflops }),
  });
  const state = model.states.length > 0 ? model.createState() : undefined;
  try {
    const options = { entry: entry.name, repeat, ...(state !== undefined && { state }) };
    const profile = await model.profile(inputs, options);
    const launched = launchedBy(report, profile);
    const launches = launchesOf(profile, launched.kernels, rates, {
      ...sizes,
      ...means,
    });
    const sum = (of: (launch: (typeof launches)[number]) => number): number =>
      launches.reduce((total, launch) => total + of(launch), 0);
    const used = usedSizes(entry, sizes);
    const measured: Measured = {
      entry: entry.name,
      target: model.target,
      device: deviceText(model),
      sizes: used,
      context,
      repeat,
      rates,
      runMs: profile.runMs,
      launchesMs: sum(({ ms }) => ms),
      floorMs: sum(({ floorMs }) => floorMs),
      markMs: profile.markMs,
      launches,
    };
    return { measured, operators: launched.operators };
  } finally {
    state?.close();
  }
}

/** Those that the entry's inputs have. */
function usedSizes(
  { inputs }: ReturnType<Model["entry"]>,
  sizes: Readonly<Record<string, number>>,
): Record<string, number> {
  const text = JSON.stringify(inputs.map(({ shape }) => shape));
  return Object.fromEntries(
    Object.entries(sizes).filter(([name]) => text.includes(JSON.stringify(name))),
  );
}

const deviceText = ({ device }: Model): string =>
  device.type === "cpu"
    ? `the CPU, ${device.threads ?? 1} threads of ${device.isa ?? "portable"}`
    : device.name;

function entryReport(model: Model, name: string): EntryReport {
  const report = bundleJson(model.path, "report.json", profileShape) as Report;
  const target = report.targets.find((each) => each.target === model.target);
  const found = target?.entries.find((each) => each.name === name);
  if (found !== undefined) return found;
  throw otherReport(`it has no ${model.target} of entry ${name}`);
}

/** What the report says of the plan that ran. */
function launchedBy(entry: EntryReport, { plan, steps }: Profile): OtherPlans {
  const found = entry.others.find(({ plans }) => plans.includes(plan));
  const launched = found ?? { ...entry, plans: [plan] };
  if (launched.kernels.length === steps.length) return launched;
  throw otherReport(`it has ${launched.kernels.length} launches, the plan ${steps.length}`);
}

const otherReport = (what: string): FarrierError =>
  new FarrierError("E_BUNDLE_FORMAT", `the report is of another plan: ${what}`, {
    file: "report.json",
    hint: "compile the model again",
  });
