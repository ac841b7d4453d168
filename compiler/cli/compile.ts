import type { AddCommand } from "./main.js";
import { compile } from "../compile.js";
import { printGraph } from "../ir/print.js";
import { passes } from "../passes/index.js";
import { FarrierError } from "../errors.js";
import { existing } from "./open.js";
import { compileOptions, withModelOptions, type RawCompileOptions } from "./options.js";
import { bytesText, Output } from "./output.js";

interface Raw extends RawCompileOptions {
  readonly output?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly requireFusion?: readonly string[];
}

export const compileCommand: AddCommand = (program) => {
  const command = program
    .command("compile")
    .description("compile MODEL (an ONNX file, or a Hugging Face directory) into a bundle")
    .argument("<model>")
    .option("--target <names>", "cpu, sm_80, sm_90, sm_90a (comma-separated; default: cpu)")
    .option("-o, --output <dir>", "the bundle (default: the model's name with .farrier)")
    .option("--force", "move an existing bundle aside")
    .option(
      "--print-after <pass>",
      "print the graph after the pass whose name has this text, or `all`",
    )
    .option(
      "--require-fusion <name>",
      "fail unless a pass whose name has this text changed the model (repeat)",
      (text: string, before: string[] = []) => [...before, text],
    )
    .option("--json", "one event a line");
  withModelOptions(command).action(async (model: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(model);
    const bundle = await compile(model, {
      ...compileOptions(raw),
      ...(raw.output === undefined ? {} : { output: raw.output }),
      force: raw.force === true,
      progress: output.progress,
      ...(raw.printAfter === undefined ? {} : { afterPass: printer(raw.printAfter, output) }),
      ...(raw.requireFusion === undefined ? {} : { requireFusion: raw.requireFusion }),
    });
    for (const notice of bundle.notices) output.notice(notice);
    const lines = bundle.report.targets.flatMap(({ target, entries }) =>
      entries.map(({ name, launches, launchesBefore, arenaBytes }) => {
        const was = launchesBefore === null ? "" : ` (${launchesBefore} without fusion)`;
        return `  ${target} ${name}: ${launches} launches${was}, ${bytesText(arenaBytes)} of workspace`;
      }),
    );
    output.event(
      "compiled",
      { path: bundle.path, report: bundle.report },
      [`${bundle.path}`, ...lines].join("\n"),
    );
  });
};

function printer(
  wanted: string,
  output: Output,
): (entry: string, pass: string, graph: Parameters<typeof printGraph>[0]) => void {
  const chosen = passes.filter(
    (pass) => wanted === "all" || pass.name.includes(wanted) || pass.name === wanted,
  );
  if (chosen.length === 0)
    throw new FarrierError("E_OPTION", `no pass is called ${JSON.stringify(wanted)}`, {
      where: "--print-after",
      hint: `the passes are: ${passes.map((pass) => pass.name).join("; ")}`,
    });
  return (entry, pass, graph) => {
    if (!chosen.some(({ name }) => name === pass)) return;
    const text = printGraph(graph);
    output.event("graph", { entry, pass, text }, `# ${entry}, after ${pass}\n${text}`);
  };
}
