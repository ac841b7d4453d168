import fs from "node:fs";
import path from "node:path";
import type { AddCommand } from "./main.js";
import { lower } from "../compile.js";
import { bundleReport, type Report } from "../bundle/report.js";
import { isBundle } from "./open.js";
import { compileOptions, withModelOptions, type RawCompileOptions } from "./options.js";
import { Output } from "./output.js";

interface Raw extends RawCompileOptions {
  readonly json?: boolean;
}

export const explainCommand: AddCommand = (program) => {
  const command = program
    .command("explain")
    .description("what fuses in a model or bundle, what does not, and why")
    .argument("<model or bundle>")
    .option("--target <names>", "cpu, sm_80 (comma-separated; default: cpu)")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    const report = isBundle(place)
      ? (JSON.parse(fs.readFileSync(path.join(place, "report.json"), "utf8")) as Report)
      : bundleReport(await lower(place, { ...compileOptions(raw), progress: output.progress }));
    output.event("explained", { report }, explanation(report));
  });
};

export function explanation(report: Report): string {
  const lines: string[] = [];
  for (const { target, entries } of report.targets)
    for (const entry of entries) {
      lines.push(`${target}, ${entry.name}: ${entry.launches} launches`);
      for (const kernel of entry.kernels) {
        const prologue = kernel.prologue.length > 0 ? ` after ${kernel.prologue.join(", ")} of its rows` : "";
        lines.push(`  ${kernel.family.padEnd(10)}${kernel.computes}${prologue}`);
      }
      for (const refusal of entry.refusals) lines.push(`  not fused: ${refusal.node}, ${refusal.limit}: ${refusal.found}`);
    }
  return lines.join("\n");
}
