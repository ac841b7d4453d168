/**
 * Renders every row's kernels for a GPU machine without Node: `npx tsx bench/gpu/make-rows.ts DIR
 * [FILTER]` writes DIR with `rows.json` and one PTX file per kernel; there,
 * `python3 bench/gpu/rows.py DIR` checks and times them beside their peers.
 *
 * Of each kernel the cost model's first choice is rendered, others from its list (so that a run shows
 * what the model misses), and what it would choose on 132 multiprocessors, with and without the
 * limit on shared memory that makes `sm_80` text run on every later GPU.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KernelDesc } from "../../compiler/kernel/desc.js";
import {
  kernelNamePlaceholder,
  type FamilyTemplate,
  type KernelText,
} from "../../compiler/kernel/family.js";
import { targetNamed, type Target } from "../../compiler/kernel/target.js";
import { renderKernel } from "../../compiler/codegen/select.js";
import { evaluateExpr } from "../../compiler/scalar/evaluate.js";
import { sm80MmaAttention } from "../../templates/attention/sm80-mma.js";
import { sm80MmaGemm } from "../../templates/gemm/sm80-mma.js";
import { attentionOf, blockOf, gemmOf, type Norm } from "./descs.js";
import { nameOf, rows, workOf, type RowSizes } from "./shapes.js";

const [folder = "build/gpu-rows", filter = ""] = process.argv.slice(2);
const target = targetNamed("sm_80");
const hopper: Target = { ...target, multiprocessors: 132 };
const roomy: Target = { ...hopper, sharedBytes: 163 * 1024 };

interface Step {
  readonly file: string;
  readonly entry: string;
  readonly config: string;
  readonly grid: readonly number[];
  readonly threads: number;
  readonly sharedBytes: number;
  readonly operands: readonly string[];
}

interface Variant {
  readonly label: string;
  readonly steps: readonly Step[];
}

function step(desc: KernelDesc, kernel: KernelText, config: string): Step {
  if (kernel.launch.kind !== "gpu" || kernel.scalars.length > 0)
    throw new Error(`${desc.label}: a GPU kernel of literal sizes has no scalars`);
  const file = `${createHash("sha256").update(kernel.text).digest("hex").slice(0, 16)}.ptx`;
  writeFileSync(join(folder, file), kernel.text);
  const { grid, threads, sharedBytes } = kernel.launch;
  return {
    file,
    entry: /\.entry (\w+)/.exec(kernel.text)?.[1] ?? kernelNamePlaceholder,
    config,
    grid: grid.map((extent) => Number(evaluateExpr([extent], {})[0])),
    threads,
    sharedBytes,
    operands: desc.operands.map(({ name }) => name),
  };
}

/** A choice of configuration: of the model's list for a target, the one at `rank`. */
interface Choice {
  readonly label: string;
  readonly rank: number;
  readonly target: Target;
}

const first: Choice = { label: "model", rank: 0, target };
const choices: readonly Choice[] = [
  first,
  { label: "132 SMs", rank: 0, target: hopper },
  { label: "163 KiB", rank: 0, target: roomy },
  ...[1, 2, 4, 8, 16].map((rank) => ({ label: `rank ${rank}`, rank, target })),
];

function withTemplate<F extends KernelDesc["family"], C>(
  template: FamilyTemplate<F, C>,
  desc: Extract<KernelDesc, { family: F }>,
  choice: Choice,
): Step | null {
  const config = template.candidates(desc as never, choice.target)[choice.rank];
  if (config === undefined) return null;
  const kernel = template.render(desc as never, config, choice.target);
  return step(desc, kernel, JSON.stringify(config));
}

function chosen(desc: KernelDesc, choice: Choice): Step | null {
  if (desc.family === "gemm") return withTemplate(sm80MmaGemm, desc, choice);
  if (desc.family === "attention") return withTemplate(sm80MmaAttention, desc, choice);
  if (choice !== first) return null;
  const kernel = renderKernel(desc, target);
  return step(desc, kernel, kernel.config);
}

/** The model's choice for every kernel, and for each kernel in turn the others. */
function variantsOf(
  descs: readonly KernelDesc[],
  label: string,
  others: readonly Choice[],
): Variant[] {
  const best = descs.map((desc) => chosen(desc, first)!);
  const list: Variant[] = [{ label: `${label}model`, steps: best }];
  descs.forEach((desc, index) => {
    for (const choice of others) {
      const made = chosen(desc, choice);
      if (made === null) continue;
      const place = descs.length === 1 ? "" : `${desc.label}: `;
      list.push({
        label: `${label}${place}${choice.label}`,
        steps: best.map((other, i) => (i === index ? made : other)),
      });
    }
  });
  return list;
}

function variants(sizes: RowSizes): Variant[] {
  const others = choices.slice(1);
  switch (sizes.kind) {
    case "gemm":
      return variantsOf([gemmOf(sizes)], "", others);
    case "attention":
      return variantsOf([attentionOf(sizes)], "", others);
    case "gelu":
    case "swiglu":
      return (["prologue", "deferred", "separate"] as readonly Norm[]).flatMap((norm) =>
        variantsOf(
          blockOf(sizes, norm),
          `${norm}, `,
          norm === "prologue" ? others.filter(({ rank }) => rank <= 2) : [],
        ),
      );
  }
}

/** Equal kernels under several labels are timed once. */
function distinct(list: readonly Variant[]): Variant[] {
  const seen = new Map<string, Variant>();
  for (const variant of list) {
    const key = JSON.stringify(variant.steps.map(({ file, grid }) => [file, grid]));
    const known = seen.get(key);
    seen.set(
      key,
      known === undefined ? variant : { ...known, label: `${known.label} = ${variant.label}` },
    );
  }
  return [...seen.values()];
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const described = rows
  .filter((sizes) => `${sizes.row} ${nameOf(sizes)}`.includes(filter))
  .map((sizes) => ({
    name: nameOf(sizes),
    ...sizes,
    ...workOf(sizes),
    variants: distinct(variants(sizes)),
  }));
writeFileSync(join(folder, "rows.json"), JSON.stringify({ target: target.name, rows: described }));
const count = described.reduce((sum, row) => sum + row.variants.length, 0);
process.stdout.write(`${described.length} rows, ${count} variants in ${folder}\n`);
