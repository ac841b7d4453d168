/** Many cases at once: lowered one by one, their kernels compiled together, run one by one. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { defaultIsas, type Isa } from "../../compiler/codegen/c/compile.js";
import { buildNative, lower, writeLowered, type LoweredModel } from "../../compiler/compile.js";
import { FarrierError } from "../../compiler/errors.js";
import { load, Tensor } from "../../runtime/node/index.js";
import { isas } from "../fuzz/machine.js";
import { readCase, type Case } from "./cases.js";
import { difference, type Result } from "./compare.js";
import { importCase, type Imported } from "./fixed.js";

export type Numerics = "strict" | "fast";

export interface Verdict {
  readonly directory: string;
  readonly passed: boolean;
  /** Why it failed; empty where it passed. */
  readonly reason: string;
  /** Inputs whose values were given while compiling. */
  readonly fixed: readonly string[];
  /** Kernels that ran. */
  readonly kernels: number;
}

export interface BatchOptions {
  readonly device: string;
  readonly numerics: Numerics;
  /** Called before a case's kernels run: they might end the process. */
  readonly onRun?: (directory: string) => void;
}

interface Prepared {
  readonly directory: string;
  readonly each: Case;
  readonly imported: Imported;
  readonly lowered: LoweredModel;
}

const reasonOf = (error: unknown): string => {
  if (error instanceof FarrierError) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
};

const failed = (directory: string, reason: string, fixed: readonly string[] = []): Verdict => ({
  directory,
  passed: false,
  reason,
  fixed,
  kernels: 0,
});

const targetOf = (device: string): string => (device === "cpu" ? "cpu" : "sm_80");

async function prepare(
  directory: string,
  { device, numerics }: BatchOptions,
): Promise<Prepared | Verdict> {
  let fixed: readonly string[] = [];
  try {
    const each = readCase(directory);
    const imported = importCase(each);
    fixed = imported.fixed;
    const lowered = await lower(imported.model, { target: [targetOf(device)], numerics });
    return { directory, each, imported, lowered };
  } catch (error) {
    return failed(directory, reasonOf(error), fixed);
  }
}

/** The best instruction set of this machine: one is enough here, and the others take as long again. */
const native = (): readonly Isa[] => isas().slice(-1) ?? defaultIsas().slice(0, 1);

export async function runBatch(
  directories: readonly string[],
  options: BatchOptions,
): Promise<Verdict[]> {
  const prepared: (Prepared | Verdict)[] = [];
  for (const directory of directories) prepared.push(await prepare(directory, options));
  const whole = prepared.filter((each): each is Prepared => "lowered" in each);
  const models = whole.map(({ lowered }) => lowered);
  const built = await buildNative(models, { native: { isas: native(), processes: 1 } });
  const work = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-conformance-"));
  const verdicts: Verdict[] = [];
  try {
    for (const each of prepared) {
      if (!("lowered" in each)) {
        verdicts.push(each);
        continue;
      }
      options.onRun?.(each.directory);
      const bundle = path.join(work, `${verdicts.length}.farrier`);
      writeLowered(each.lowered, built, bundle);
      verdicts.push(await runCase(each, bundle, options.device));
      fs.rmSync(bundle, { recursive: true });
    }
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
    if (built !== null) fs.rmSync(built.directory, { recursive: true, force: true });
  }
  return verdicts;
}

/** What the runtime makes of a bundle, which has kernels and nothing else. */
async function execute(
  { each, imported }: Prepared,
  bundle: string,
  device: string,
): Promise<Map<string, Result>> {
  const model = await load(bundle, { device });
  try {
    const given = each.inputs.filter(({ name }) => !imported.fixed.includes(name));
    const inputs = Object.fromEntries(
      given.map(({ name, dtype, shape, bytes }) => [name, new Tensor(dtype, shape, bytes)]),
    );
    const results = await model.run(inputs);
    return new Map(
      Object.entries(results).map(([name, { dtype, shape, bytes }]) => [
        name,
        { dtype, shape, bytes },
      ]),
    );
  } finally {
    await model.close();
  }
}

/** Steps of the plan, each of which has to be a kernel; an output without one came from elsewhere. */
function kernelsOf({ lowered }: Prepared): number {
  const plans = lowered.targets.flatMap(({ plans: { entries } }) => Object.values(entries).flat());
  const steps = plans.flatMap((plan) => plan.steps);
  const foreign = steps.find((step) => step.kind !== "kernel");
  if (foreign !== undefined) throw new Error(`a step of kind ${String(foreign.kind)}`);
  const written = new Set(
    steps.flatMap((step) =>
      step.buffers.flatMap((ref) => (ref.kind === "output" ? [ref.index] : [])),
    ),
  );
  const outputs = lowered.graphs[0]!.graph.outputs.length;
  if (written.size < outputs)
    throw new Error(`kernels write ${written.size} of ${outputs} outputs`);
  return steps.length;
}

async function runCase(prepared: Prepared, bundle: string, device: string): Promise<Verdict> {
  const { directory, each, imported } = prepared;
  const { fixed } = imported;
  try {
    const kernels = kernelsOf(prepared);
    const results = await execute(prepared, bundle, device);
    const wrong = each.outputs
      .map((wanted) => difference(results.get(wanted.name), wanted))
      .find((what) => what !== null);
    if (wrong !== undefined) return failed(directory, `differs: ${wrong}`, fixed);
    return { directory, passed: true, reason: "", fixed, kernels };
  } catch (error) {
    return failed(directory, reasonOf(error), fixed);
  }
}
