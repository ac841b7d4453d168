/** Many graphs at once: one bundle, one compiler call, one process; a verdict for each. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { buildKernels, targetOf, type Backend } from "./backend.js";
import { variantName, type FuzzCase, type Variant } from "./case.js";
import { Runner, writeFuzzBundle } from "./execute.js";
import { isRefusal, lowerCase, type Hooks, type Lowered } from "./lower.js";
import { mergeMembers, type Member } from "./merge.js";
import { mismatchOf, referenceOf, type Reference, type Runs } from "./oracle.js";

export interface Trial {
  readonly found: FuzzCase;
  readonly variants: readonly Variant[];
}

export type Verdict =
  | { readonly kind: "passed" }
  /** The back end says that it cannot. */
  | { readonly kind: "refused"; readonly what: string }
  | {
      readonly kind: "failed";
      /** `throws`: the compiler did; `runs`: the runtime refused; `differs`: a wrong result. */
      readonly how: "throws" | "runs" | "differs";
      readonly variant: Variant;
      readonly what: string;
    };

export interface BatchOptions {
  readonly backend: Backend;
  readonly hooks?: Hooks;
  /** Called with the index of the trial whose kernels are about to run. */
  readonly onRun?: (index: number) => void;
  /** Called when a GPU is of no more use to this process; its verdicts are lost. */
  readonly onDead?: (why: string) => void;
}

interface Part {
  readonly trial: number;
  readonly variant: Variant;
  readonly member: Member;
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error);

const isDead = (error: unknown): boolean =>
  error instanceof Error && /E_RT_DEAD|E_RT_DEVICE|E_DEVICE_LOST/.test(error.message);

/** The first line that says what, without numbers that a reduction changes. */
const failed = (how: "throws" | "runs" | "differs", variant: Variant, what: string): Verdict => ({
  kind: "failed",
  how,
  variant,
  what: `${variantName(variant)}: ${what}`,
});

function lowerAll(
  trials: readonly Trial[],
  options: BatchOptions,
  verdicts: Map<number, Verdict>,
): Part[] {
  const target = targetOf(options.backend);
  const parts: Part[] = [];
  trials.forEach(({ found, variants }, trial) => {
    const made: Part[] = [];
    for (const [number, variant] of variants.entries()) {
      let lowered: Lowered;
      try {
        lowered = lowerCase(found, variant, target, options.hooks);
      } catch (error) {
        const refused = isRefusal(error);
        const verdict: Verdict = refused
          ? { kind: "refused", what: error.message }
          : failed("throws", variant, messageOf(error));
        if (!refused || !verdicts.has(trial)) verdicts.set(trial, verdict);
        continue;
      }
      const name = `g${trial}v${number}`;
      made.push({ trial, variant, member: { name, symbols: found.symbols, lowered } });
    }
    // What one variant refuses, the other might still get wrong: both run.
    parts.push(...made);
  });
  return parts;
}

export async function runBatch(
  trials: readonly Trial[],
  options: BatchOptions,
): Promise<Verdict[]> {
  const verdicts = new Map<number, Verdict>();
  const parts = lowerAll(trials, options, verdicts);
  if (parts.length > 0) await runParts(trials, parts, options, verdicts);
  return trials.map((_, index) => verdicts.get(index) ?? { kind: "passed" });
}

/** What one graph's kernels break, such as the C compiler, must not hide the others: halves, then. */
async function runParts(
  trials: readonly Trial[],
  parts: readonly Part[],
  options: BatchOptions,
  verdicts: Map<number, Verdict>,
): Promise<void> {
  try {
    await runTogether(trials, parts, options, verdicts);
  } catch (error) {
    const members = [...new Set(parts.map((part) => part.trial))];
    if (members.length === 1) {
      verdicts.set(members[0]!, failed("throws", parts[0]!.variant, messageOf(error)));
      return;
    }
    const first = new Set(members.slice(0, members.length >> 1));
    for (const side of [true, false])
      await runParts(
        trials,
        parts.filter((part) => first.has(part.trial) === side),
        options,
        verdicts,
      );
  }
}

async function runTogether(
  trials: readonly Trial[],
  parts: readonly Part[],
  options: BatchOptions,
  verdicts: Map<number, Verdict>,
): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-fuzz-"));
  try {
    const texts = new Map(parts.flatMap(({ member }) => [...member.lowered.texts]));
    // Apart from the compiler's script: the runtime refuses files that the manifest lacks.
    const bundle = path.join(directory, "bundle");
    const built = await buildKernels(texts, directory, bundle, options.backend);
    const members = parts.map(({ member }) => member);
    writeFuzzBundle(bundle, mergeMembers(members, built), built);
    const runner = await Runner.open(bundle, built.target);
    try {
      await judgeParts(trials, parts, runner, options, verdicts);
    } finally {
      runner.close();
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function judgeParts(
  trials: readonly Trial[],
  parts: readonly Part[],
  runner: Runner,
  { onRun, onDead }: BatchOptions,
  verdicts: Map<number, Verdict>,
): Promise<void> {
  const references = new Map<number, Reference>();
  for (const { trial, variant, member } of parts) {
    if (verdicts.get(trial)?.kind === "failed") continue;
    const { found, variants } = trials[trial]!;
    onRun?.(trial);
    let runs: Runs;
    try {
      runs = await runner.runs(member.name, found);
    } catch (error) {
      if (isDead(error)) onDead?.(messageOf(error));
      verdicts.set(trial, failed("runs", variant, messageOf(error)));
      continue;
    }
    const strict = variants.some((each) => each.strict);
    let reference = references.get(trial);
    if (reference === undefined) references.set(trial, (reference = referenceOf(found, 2, strict)));
    const what = confirmed(found, reference, runs, variant);
    if (what !== null) verdicts.set(trial, failed("differs", variant, what));
  }
}

/** A mismatch is one only if many perturbed runs leave it outside of theirs. */
function confirmed(
  found: FuzzCase,
  reference: Reference,
  runs: Runs,
  variant: Variant,
): string | null {
  if (mismatchOf(reference, runs, variant) === null) return null;
  const mismatch = mismatchOf(referenceOf(found, 14, variant.strict), runs, variant);
  return mismatch === null ? null : `${mismatch.output}, run ${mismatch.run}: ${mismatch.what}`;
}
