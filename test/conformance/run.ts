/**
 * ONNX conformance: `npm run conformance -- DIR [--device cpu|cuda:0] [--numerics strict|fast]
 * [--filter TEXT] [--json]`.
 * Compiles every case below DIR and runs its kernels; what is not supported counts as failed.
 */
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Numerics, Verdict } from "./batch.js";
import { findCases } from "./cases.js";
import { runAll } from "./pool.js";

const batchSize = 64;

interface Options {
  readonly root: string;
  readonly device: string;
  readonly numerics: Numerics;
  readonly filter: string;
  readonly json: boolean;
}

function optionsOf(args: readonly string[]): Options | null {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      device: { type: "string", default: "cpu" },
      numerics: { type: "string", default: "strict" },
      filter: { type: "string", default: "" },
      json: { type: "boolean", default: false },
    },
  });
  const [root] = positionals;
  if (root === undefined || positionals.length > 1) return null;
  const { numerics } = values;
  return numerics === "strict" || numerics === "fast" ? { root, ...values, numerics } : null;
}

const nameOf = ({ root }: Options, directory: string): string =>
  path.relative(root, directory) || path.basename(directory);

/** What reasons have in common: without names and numbers. */
function kindOf(reason: string): string {
  const [first = ""] = reason.split("\n");
  return first
    .replace(/^(E_[A-Z_]+): (?:.*?\.onnx: )?/, "$1: ")
    .replaceAll(/"[^"]*"/g, "…")
    .replaceAll(/-?\d+(?:\.\d+)?(?:e[-+]?\d+)?/g, "#")
    .slice(0, 160);
}

function summary(options: Options, verdicts: readonly Verdict[], seconds: number): string[] {
  const failures = verdicts.filter(({ passed }) => !passed);
  const groups = new Map<string, Verdict[]>();
  for (const failure of failures) {
    const kind = kindOf(failure.reason);
    groups.set(kind, [...(groups.get(kind) ?? []), failure]);
  }
  const lines = [...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(
      ([kind, each]) => `${String(each.length).padStart(5)}  ${kind}: ${namesOf(options, each)}`,
    );
  const fixed = verdicts.filter((each) => each.fixed.length > 0).length;
  const kernels = verdicts.reduce((total, each) => total + each.kernels, 0);
  return [
    ...lines,
    `${kernels} kernels ran; ${fixed} cases with inputs that decide shapes; ${seconds.toFixed(0)} s`,
    `${verdicts.length - failures.length} passed, ${failures.length} failed`,
  ];
}

function namesOf(options: Options, verdicts: readonly Verdict[]): string {
  const shown = verdicts.slice(0, 6).map(({ directory }) => nameOf(options, directory));
  return shown.join(" ") + (verdicts.length > shown.length ? " …" : "");
}

async function main(): Promise<number> {
  const options = optionsOf(process.argv.slice(2));
  if (options === null) {
    process.stderr.write(
      "usage: conformance DIR [--device cpu|cuda:0] [--numerics strict|fast] [--filter TEXT] [--json]\n",
    );
    return 2;
  }
  const started = performance.now();
  const cases = findCases(options.root).filter((each) =>
    nameOf(options, each).includes(options.filter),
  );
  const verdicts: Verdict[] = [];
  const onVerdicts = (made: readonly Verdict[]): void => {
    verdicts.push(...made);
    for (const each of made) report(options, each);
    if (process.stderr.isTTY) process.stderr.write(`${verdicts.length} of ${cases.length}\r`);
  };
  const { device, numerics } = options;
  const processes = Math.min(device === "cpu" ? 8 : 4, availableParallelism());
  await runAll(cases, { device, numerics, processes, batch: batchSize, onVerdicts });
  const seconds = (performance.now() - started) / 1000;
  const failures = verdicts.filter(({ passed }) => !passed).length;
  if (options.json) {
    const passed = verdicts.length - failures;
    process.stdout.write(
      `${JSON.stringify({ event: "summary", passed, failed: failures, seconds })}\n`,
    );
  } else process.stdout.write(`${summary(options, verdicts, seconds).join("\n")}\n`);
  return failures > 0 || verdicts.length === 0 ? 1 : 0;
}

function report(options: Options, { directory, ...verdict }: Verdict): void {
  const name = nameOf(options, directory);
  if (options.json)
    process.stdout.write(`${JSON.stringify({ event: "case", name, ...verdict })}\n`);
  else if (!verdict.passed) process.stdout.write(`FAILED ${name}: ${verdict.reason}\n`);
}

process.exitCode = await main();
