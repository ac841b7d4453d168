import type { AddCommand } from "./main.js";
import { lower } from "../compile.js";
import { bundleReport, type EntryReport, type PassReport, type Report } from "../bundle/report.js";
import { FarrierError } from "../errors.js";
import { reportShape } from "./bundle-shapes.js";
import { bundleJson, existing, isBundle } from "./open.js";
import { compileOptions, withModelOptions, type RawCompileOptions } from "./options.js";
import { bytesText, Output } from "./output.js";

interface Raw extends RawCompileOptions {
  readonly html?: string;
  readonly json?: boolean;
}

export const explainCommand: AddCommand = (program) => {
  const command = program
    .command("explain")
    .description("what fuses in a model or bundle, what does not, and why")
    .argument("<model or bundle>")
    .option(
      "--target <names>",
      "cpu, sm_80, sm_90, sm_90a (comma-separated; default: cpu, of a bundle all)",
    )
    .option("--html <file>", "the same as a page (later)")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    if (raw.html !== undefined)
      throw new FarrierError("E_UNSUPPORTED", "pages are not written yet", {
        where: "--html",
        hint: "leave it out for text, or take --json",
      });
    existing(place);
    const report = isBundle(place)
      ? onlyTargets(readReport(place), raw.target)
      : bundleReport(await lower(place, { ...compileOptions(raw), progress: output.progress }));
    output.event("explained", { report }, explanation(report));
  });
};

function readReport(bundle: string): Report {
  return bundleJson(bundle, "report.json", reportShape) as Report;
}

function onlyTargets(report: Report, wanted: string | undefined): Report {
  if (wanted === undefined) return report;
  const names = wanted.split(",").map((name) => name.trim());
  const found = report.targets.map(({ target }) => target);
  const missing = names.filter((name) => !found.includes(name));
  if (missing.length > 0)
    throw new FarrierError("E_TARGET", `the bundle has no target ${missing.join(", ")}`, {
      where: "--target",
      hint: `it has ${found.join(", ")}`,
    });
  return { ...report, targets: report.targets.filter(({ target }) => names.includes(target)) };
}

export function explanation(report: Report): string {
  const lines = [...profileLines(report), ...passLines(report.passes)];
  for (const { target, kernels, weights, entries } of report.targets) {
    lines.push(
      "",
      `${target}: ${kernels} kernels, ${weights.count} weights (${weights.stored} as stored), ${bytesText(weights.bytes)}`,
    );
    for (const entry of entries) lines.push(...entryLines(entry));
  }
  return lines.join("\n");
}

function profileLines({ symbols, numerics, fusion }: Report): string[] {
  const ranges = symbols.map(({ name, min, max }) =>
    min === max ? `${name} = ${min}` : `${name} = ${min}..${max}`,
  );
  const shapes = ranges.length === 0 ? "fixed shapes" : ranges.join(", ");
  return [`${shapes}; numerics ${numerics}${fusion ? "" : "; fusion is off"}`];
}

/** What each pass did to the first entry, or to the first that it changed: mostly they get the same. */
function passLines(passes: readonly PassReport[]): string[] {
  const [first] = passes;
  const names = [...new Set(passes.map(({ pass }) => pass))];
  const changed = names.flatMap((name) => {
    const found = passes.find(({ pass, changed: fired }) => pass === name && fired);
    return found === undefined ? [] : [found];
  });
  const idle = names.filter((name) => !changed.some(({ pass }) => pass === name));
  return [
    "passes:",
    ...changed.map(({ entry, pass, before, after, operators }) => {
      const changes = Object.entries(operators).map(
        ([op, by]) => `${by > 0 ? "+" : ""}${by} ${op}`,
      );
      const place = entry === first?.entry ? "" : `, in ${entry}`;
      return `  ${pass}${place}: ${before} → ${after} operators (${changes.join(", ") || "same kinds"})`;
    }),
    ...(idle.length === 0 ? [] : [`  nothing to do: ${idle.join("; ")}`]),
  ];
}

export function entryLines(entry: EntryReport): string[] {
  const { bytes, before, least } = entry.intermediates;
  const was = entry.launchesBefore === null ? "" : ` (${entry.launchesBefore} without fusion)`;
  const wasBytes = before === null ? "" : `, ${bytesText(before)} without fusion`;
  const ratio = least > 0 ? `, ${(bytes / least).toFixed(2)} × the least` : "";
  const lines = [
    `${entry.name}: ${entry.launches} launches${was}`,
    `  ${bytesText(bytes)} of intermediates${wasBytes}${ratio}; ${bytesText(entry.arenaBytes)} of workspace`,
  ];
  entry.kernels.forEach(({ family, computes, prologue, epilogue }, number) => {
    lines.push(`  ${String(number).padStart(3)} ${family.padEnd(10)}${computes}`);
    if (prologue.length > 0) lines.push(`${" ".repeat(16)}before it: ${prologue.join(", ")}`);
    if (family !== "map" && epilogue.length > 0)
      lines.push(`${" ".repeat(16)}after it:  ${epilogue.join(", ")}`);
  });
  lines.push(...unfusedLines(entry));
  return lines;
}

const listed = 6;

function unfusedLines({ values, refusals, kernels }: EntryReport): string[] {
  const groups = new Map<string, { count: number; bytes: number; example: string }>();
  for (const { writer, readers, why, refusal, bytes } of values) {
    const told = refusal === null ? why : `${why}: ${refusal.text}`;
    const example = `${writer} → ${readers.join(", ")}`;
    const group = groups.get(told) ?? { count: 0, bytes: 0, example };
    groups.set(told, { ...group, count: group.count + 1, bytes: group.bytes + bytes });
  }
  const lines = [...groups].map(
    ([told, { count, bytes, example }]) =>
      `    ${count} value${count === 1 ? "" : "s"}, ${bytesText(bytes)} (as ${example}): ${told}`,
  );
  for (const { part, text, nodes } of refusals) {
    const some = nodes.slice(0, listed).join(", ");
    const more = nodes.length > listed ? ` and ${nodes.length - listed} more` : "";
    lines.push(`    tried: no ${part} could take ${some}${more}: ${text}`);
  }
  return lines.length === 0 || kernels.length < 2
    ? []
    : ["  in memory between launches:", ...lines];
}
