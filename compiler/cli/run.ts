import type { AddCommand } from "./main.js";
import type { Model, Tensor } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import { writeSafetensors } from "../frontend/files/write-safetensors.js";
import type { DType } from "../ir/dtype.js";
import { existing, isBundle, withModel } from "./open.js";
import { compileOptions, count, withModelOptions, type RawCompileOptions } from "./options.js";
import { Output } from "./output.js";
import { dimsFromShapes } from "./dims-from-shapes.js";
import { asInput, readTensors, type FileTensor } from "./tensors.js";

interface Raw extends RawCompileOptions {
  readonly input?: Record<string, FileTensor>;
  readonly output?: string;
  readonly device?: string;
  readonly repeat: number;
  readonly json?: boolean;
}

/** NAME=FILE.safetensors[:TENSOR]; the tensor's name is the input's unless it is given. */
export function input(
  text: string,
  before: Record<string, FileTensor> = {},
): Record<string, FileTensor> {
  const match = /^([^=]+)=(.+?\.safetensors)(?::(.+))?$/.exec(text);
  if (match === null)
    throw new FarrierError("E_OPTION", `${JSON.stringify(text)} names no tensor`, {
      where: "--input",
      hint: "write NAME=FILE.safetensors[:TENSOR]",
    });
  const [, name, file, tensor] = match as unknown as [string, string, string, string | undefined];
  const tensors = readTensors(file);
  const found =
    tensors.get(tensor ?? name) ??
    (tensors.size === 1 && tensor === undefined ? [...tensors.values()][0] : undefined);
  if (found === undefined)
    throw new FarrierError("E_INPUT", `it has no tensor ${JSON.stringify(tensor ?? name)}`, {
      file,
      hint: `it has ${[...tensors.keys()].join(", ")}`,
    });
  return { ...before, [name]: found };
}

export const runCommand: AddCommand = (program) => {
  const command = program
    .command("run")
    .description("run a bundle or a model once, or several times")
    .argument("<bundle or model>")
    .option("--input <name=file[:tensor]>", "an input; repeat for each", input)
    .option("--output <file>", "write the outputs to a safetensors file")
    .option("--target <names>", "what a model is compiled for (default: what the device runs)")
    .option("--device <name>", "cpu or cuda:N")
    .option("--repeat <n>", "runs; the median time is shown", count(1), 1)
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(place);
    const given = raw.input ?? {};
    const options = compileOptions(raw);
    const dims =
      isBundle(place) || options.dims !== undefined
        ? {}
        : { dims: dimsFromShapes(place, new Map(Object.entries(given))) };
    await withModel(
      { place, device: raw.device, options: { ...options, ...dims }, output },
      async (model) => {
        const inputs = inputsOf(model, given);
        const times: number[] = [];
        let results: Record<string, Tensor> = {};
        for (let i = 0; i < raw.repeat; i++) {
          const start = performance.now();
          results = await model.run(inputs);
          times.push(performance.now() - start);
          output.progress("running", i + 1, raw.repeat);
        }
        report(results, times, raw.output, output);
      },
    );
  });
};

function inputsOf(
  model: Model,
  given: Readonly<Record<string, FileTensor>>,
): Parameters<Model["run"]>[0] {
  const entry = model.entry();
  return Object.fromEntries(
    Object.entries(given).map(([name, tensor]) => {
      const spec = entry.inputs.find((each) => each.name === name);
      if (spec === undefined)
        throw new FarrierError("E_RT_INPUT", `the model has no input ${JSON.stringify(name)}`, {
          hint: `it has ${entry.inputs.map((each) => each.name).join(", ")}`,
        });
      return [name, asInput(name, tensor, spec.dtype)];
    }),
  );
}

function report(
  results: Readonly<Record<string, Tensor>>,
  times: readonly number[],
  file: string | undefined,
  output: Output,
): void {
  const median = [...times].sort((a, b) => a - b)[times.length >> 1]!;
  for (const [name, tensor] of Object.entries(results))
    output.event(
      "output",
      { name, dtype: tensor.dtype, shape: tensor.shape },
      `${name}: ${tensor.dtype} [${tensor.shape.join(", ")}]`,
    );
  output.event(
    "ran",
    { runs: times.length, medianMs: median, firstMs: times[0] },
    `${times.length} run${times.length === 1 ? "" : "s"}, median ${median.toFixed(3)} ms`,
  );
  if (file === undefined) return;
  const tensors = Object.entries(results).map(
    ([name, tensor]) =>
      [
        name,
        { dtype: tensor.dtype as DType, shape: tensor.shape, chunks: () => [tensor.bytes] },
      ] as const,
  );
  writeSafetensors(file, new Map(tensors));
}
