/**
 * Renders every row's kernels for a GPU machine without Node: `npx tsx bench/gpu/make-rows.ts DIR
 * [FILTER]` writes DIR with `rows.json` and the PTX of each kernel; there,
 * `python3 bench/gpu/rows.py DIR` checks and times them beside their peers.
 *
 * Of each kernel the choice for `sm_90a` is rendered, others from its list (so that a run shows what
 * the cost model misses), and the choice for `sm_80`, whose text every later GPU runs.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { KernelDesc } from "../../compiler/kernel/desc.js";
import {
  kernelNamePlaceholder,
  type FamilyTemplate,
  type KernelText,
} from "../../compiler/kernel/family.js";
import { targetNamed, type Target } from "../../compiler/kernel/target.js";
import { renderKernel } from "../../compiler/bundle/select.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { evaluateExpr } from "../../compiler/scalar/evaluate.js";
import { sm80MmaAttention } from "../../templates/attention/sm80-mma.js";
import { sm80MmaGemm } from "../../templates/gemm/sm80-mma.js";
import { sm90aWgmmaGemm } from "../../templates/gemm/sm90a-wgmma.js";
import { attentionOf, blockOf, gemmOf, type Norm } from "./descs.js";
import { nameOf, rows, workOf, type RowSizes } from "./shapes.js";

const [folder = "build/gpu-rows", filter = ""] = process.argv.slice(2);
const target = targetNamed("sm_90a");
const oldest = targetNamed("sm_80");

interface Step {
  readonly file: string;
  readonly entry: string;
  readonly config: string;
  readonly grid: readonly number[];
  readonly threads: number;
  readonly sharedBytes: number;
  readonly operands: readonly string[];
  /** Bytes of each part of the workspace: passed after the operands, zero at first. */
  readonly workspace: readonly number[];
}

interface Variant {
  readonly label: string;
  readonly steps: readonly Step[];
}

function step(desc: KernelDesc, kernel: KernelText, config: string): Step {
  if (kernel.launch.kind !== "gpu" || kernel.scalars.length > 0)
    throw new Error(`${desc.label}: a GPU kernel of literal sizes has no scalars`);
  const file = `${createHash("sha256").update(kernel.text).digest("hex").slice(0, 16)}.ptx.gz`;
  writeFileSync(join(folder, file), gzipSync(kernel.text));
  const { grid, threads, sharedBytes } = kernel.launch;
  const number = (extent: Expr): number => Number(evaluateExpr([extent], {})[0]);
  const { partials, tickets } = kernel.workspace ?? {};
  return {
    file,
    entry: /\.entry (\w+)/.exec(kernel.text)?.[1] ?? kernelNamePlaceholder,
    config,
    grid: grid.map(number),
    threads,
    sharedBytes,
    operands: desc.operands.map(({ name }) => name),
    workspace: [partials, tickets].flatMap((extent) =>
      extent === undefined ? [] : [4 * number(extent)],
    ),
  };
}

/** A kernel under one configuration. */
interface Choice {
  readonly label: string;
  readonly step: Step;
}

/** How many tiles other than the model's first choice a row is timed with. */
const otherTiles = 14;

/** The model's choice first; then the best of other tiles. */
function choicesOf<F extends KernelDesc["family"], C extends object>(
  template: FamilyTemplate<F, C>,
  desc: Extract<KernelDesc, { family: F }>,
  tileOf: (config: C) => string,
): Choice[] {
  const made = (label: string, config: C): Choice => ({
    label,
    step: step(desc, template.render(desc, config, target), JSON.stringify(config)),
  });
  const list = template.candidates(desc, target);
  const tiles = new Map<string, number>();
  list.forEach((config, rank) => {
    if (!tiles.has(tileOf(config))) tiles.set(tileOf(config), rank);
  });
  const others = [...tiles.values()].filter((rank) => rank > 1).slice(0, otherTiles - 1);
  return [
    made("model", list[0]!),
    ...[1, ...others]
      .filter((rank) => rank < list.length)
      .map((rank) => made(`rank ${rank}`, list[rank]!)),
  ];
}

function chosen(label: string, desc: KernelDesc, from: Target): Choice {
  const kernel = renderKernel(desc, from);
  return { label, step: step(desc, kernel, kernel.config) };
}

function choices(desc: KernelDesc): Choice[] {
  if (desc.family === "gemm")
    return [
      ...(sm90aWgmmaGemm.candidates(desc, target).length > 0
        ? choicesOf(sm90aWgmmaGemm, desc, ({ bm, bn }) => `${bm}x${bn}`)
        : choicesOf(sm80MmaGemm, desc, ({ bm, bn, warpsK }) => `${bm}x${bn}x${warpsK}`)),
      chosen("sm_80", desc, oldest),
    ];
  if (desc.family === "attention")
    return [
      ...choicesOf(
        sm80MmaAttention,
        desc,
        ({ tilesM, warpsM, warpsK, bn, stages }) => `${tilesM}x${warpsM}x${warpsK}x${bn}x${stages}`,
      ),
      chosen("sm_80", desc, oldest),
    ];
  return [chosen("model", desc, target)];
}

/** The model's choice for every kernel, and for each kernel in turn the others. */
function variantsOf(descs: readonly KernelDesc[], label = "", count = Infinity): Variant[] {
  const each = descs.map(choices);
  const best = each.map(([first]) => first!.step);
  const others = each.flatMap((list, index) =>
    list.slice(1, 1 + count).map((choice) => ({
      label: `${label}${descs.length === 1 ? "" : `${descs[index]!.label}: `}${choice.label}`,
      steps: best.map((given, i) => (i === index ? choice.step : given)),
    })),
  );
  return [{ label: `${label}model`, steps: best }, ...others];
}

function variants(sizes: RowSizes): Variant[] {
  switch (sizes.kind) {
    case "gemm":
      return variantsOf([gemmOf(sizes)]);
    case "attention":
      return variantsOf([attentionOf(sizes)]);
    case "gelu":
    case "swiglu":
      return (["prologue", "deferred", "separate"] as const).flatMap((norm: Norm) =>
        variantsOf(blockOf(sizes, norm), `${norm}, `, norm === "prologue" ? 3 : 0),
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
