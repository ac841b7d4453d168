/** From a model to a bundle: import, passes, partition, weight program, kernels, directory. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { checkPlace, hashedFile, writeBundle, type FileEntry } from "./bundle/write.js";
import { machineFingerprint } from "./bundle/machine.js";
import { TargetAssembler, type AssembledTarget } from "./bundle/assemble.js";
import { SourceTable } from "./bundle/sources.js";
import {
  bundleReport,
  PassLog,
  reportText,
  type Report,
  type ReportSource,
} from "./bundle/report.js";
import { weightFiles, sourcePolicy, type WeightFiles, type WeightsMode } from "./bundle/weights.js";
import { compileC, type CompileOptions as NativeCompile } from "./codegen/c/compile.js";
import { FarrierError } from "./errors.js";
import { writeSafetensors } from "./frontend/files/write-safetensors.js";
import type { ImportedModel } from "./frontend/model.js";
import { checkText } from "./check-text.js";
import { importModel, type ImportOptions } from "./import.js";
import { constantReader } from "./constants.js";
import type { Graph, Node } from "./ir/graph.js";
import { targetNamed, type Target } from "./kernel/target.js";
import { Memory } from "./kernel/memory.js";
import type { Partition, PartitionOptions } from "./kernel/partition.js";
import { partitions } from "./kernel/partitions.js";
import { Structures } from "./kernel/structure.js";
import { WeightProgram } from "./kernel/weight-program.js";
import { runPasses } from "./passes/index.js";
import { hostExpr } from "./plan/host-expr.js";
import type { BundlePlan, EntrySpec, TargetPlans } from "./plan/plan.js";
import { version } from "./version.js";

export interface CompileOptions extends ImportOptions {
  /** Names of targets; default cpu. */
  readonly target?: readonly string[];
  /** The bundle's directory; default the model's name with `.farrier`. */
  readonly output?: string;
  readonly force?: boolean;
  readonly numerics?: "strict" | "fast";
  /** Where the range of each symbol is cut, for plans with kernels of their own; default the target's. */
  readonly buckets?: Readonly<Record<string, readonly number[]>>;
  readonly weights?: WeightsMode;
  /** Off: the plan that fusion is compared with. */
  readonly fuse?: boolean;
  /** Texts of the names of passes to leave out: the model without what they do. */
  readonly without?: readonly string[];
  /** Texts of pass names that must have changed the graph of some entry. */
  readonly requireFusion?: readonly string[];
  /** Called with the graph after each pass. */
  readonly afterPass?: (entry: string, pass: string, graph: Graph) => void;
  /** Called as work goes on: what is being done, and how much of how much. */
  readonly progress?: (what: string, done: number, total: number) => void;
}

export interface CompiledBundle {
  readonly path: string;
  readonly report: Report;
  readonly notices: readonly string[];
}

/** A model after its passes and partition: everything but text on disk. */
export interface LoweredModel extends ReportSource {
  readonly model: ImportedModel;
  readonly graphs: readonly { readonly name: string; readonly graph: Graph }[];
  readonly sources: SourceTable;
  readonly targets: readonly (AssembledTarget & {
    readonly target: Target;
    readonly partitions: readonly { name: string; partition: Partition }[];
  })[];
  readonly checks: Readonly<Record<string, string>>;
}

/**
 * Compiles an ONNX file or a Hugging Face directory, or a model that a program made, into a bundle.
 * @throws FarrierError
 */
export async function compile(
  source: string | ImportedModel,
  options: CompileOptions = {},
): Promise<CompiledBundle> {
  const output =
    options.output ?? (typeof source === "string" ? defaultOutput(source) : "model.farrier");
  checkPlace(output, options.force === true);
  const lowered = await lower(source, options);
  const built = await buildNative([lowered], options);
  try {
    return writeLowered(lowered, built, output, options.force === true);
  } finally {
    if (built !== null) fs.rmSync(built.directory, { recursive: true, force: true });
  }
}

/** Writes the bundle of a lowered model, with the library that has its kernels. */
export function writeLowered(
  lowered: LoweredModel,
  built: NativeBuild | null,
  output: string,
  force = false,
): CompiledBundle {
  const report = bundleReport(lowered);
  const plan = bundlePlan(lowered, built?.libraries ?? {});
  const weights = weightFiles(lowered.sources, lowered.model);
  const content = contentOf(lowered, plan, report, built, weights);
  const aside = writeBundle(output, content, { force, version });
  const notices = [
    ...lowered.model.notices,
    ...weights.notices(),
    ...(aside === null ? [] : [`the bundle that stood at ${output} is now ${aside}`]),
  ];
  return { path: output, report, notices };
}

export function defaultOutput(modelPath: string): string {
  const base = path.basename(path.resolve(modelPath)).replace(/\.onnx$/i, "");
  return `${base}.farrier`;
}

/** Import, passes and kernels: what `explain` needs too. */
export async function lower(
  source: string | ImportedModel,
  options: CompileOptions,
): Promise<LoweredModel> {
  const targets = (options.target ?? ["cpu"]).map(targetNamed);
  const weights = options.weights ?? { kind: "embed" };
  const needWeights = weights.kind === "embed" || weights.kind === "reference";
  const model =
    typeof source === "string" ? importModel(source, { ...options, needWeights }) : source;
  const scalar = constantReader(model);
  const fired = new Set<string>();
  const strict = options.numerics === "strict";
  const live = weights.kind === "live";
  const log = new PassLog();
  const graphs = model.entries.map(({ name, graph }) => {
    let before = graph;
    const { without = [] } = options;
    const context = { strict, live, without, bytes: scalar.bytes };
    const passed = runPasses(graph, context, (pass, after, changed) => {
      if (changed) fired.add(pass);
      log.record(name, pass, before, after);
      before = after;
      options.afterPass?.(name, pass, after);
    });
    return { name, graph: passed };
  });
  requireFusions(options.requireFusion ?? [], fired);
  checkBuckets(options.buckets ?? {}, model);
  const checks = new Map<Node, number>();
  const site = (node: Node): number => {
    if (!checks.has(node)) checks.set(node, checks.size + 1);
    return checks.get(node)!;
  };
  const sources = new SourceTable(sourcePolicy(weights, model));
  const structures = new Structures();
  const fuse = options.fuse !== false;
  const shared = { strict, live, fuse, scalar: scalar.value, site, structures };
  const lowered = targets.map((target) => {
    const partitionOptions: PartitionOptions = { target, ...shared };
    const memory = new Memory();
    const splits = (name: string): readonly number[] =>
      options.buckets?.[name] ?? (options.buckets === undefined ? target.splits : []);
    const entries = graphs.map(({ name, graph }) => ({
      name,
      graph,
      boxes: partitions(graph, partitionOptions, splits, memory),
    }));
    const program = new WeightProgram(graphs[0]!.graph, partitionOptions, structures);
    const steps = [...memory.derived.values()].map((weight) => program.steps(weight));
    const assembled = new TargetAssembler({ target, entries, weights: steps }, sources, (done) =>
      options.progress?.(`kernels for ${target.name}`, done, 0),
    ).assemble();
    // Those of the largest shapes stand for all in the report.
    const largest = entries.map(({ name, boxes }) => ({
      name,
      partition: boxes.at(-1)!.partition,
    }));
    return { ...assembled, target, partitions: largest };
  });
  const messages = [...checks].map(
    ([node, number]) => [String(number), checkText(graphs[0]!.graph, node)] as const,
  );
  const reported = {
    symbols: model.symbols,
    passes: log.reports,
    options: { ...shared, site: () => 1 },
  };
  return {
    ...reported,
    model,
    graphs,
    sources,
    targets: lowered,
    checks: Object.fromEntries(messages),
  };
}

/** @throws FarrierError E_DIM */
function checkBuckets(buckets: NonNullable<CompileOptions["buckets"]>, model: ImportedModel): void {
  const names = model.symbols.map(({ name }) => name);
  for (const name of Object.keys(buckets))
    if (!names.includes(name))
      throw new FarrierError("E_DIM", `the model has no symbol of that name`, {
        where: `--buckets ${name}`,
        hint: names.length === 0 ? "it has none" : `it has ${names.join(" and ")}`,
      });
}

function requireFusions(wanted: readonly string[], fired: ReadonlySet<string>): void {
  const missing = wanted.filter((text) => ![...fired].some((pass) => pass.includes(text)));
  if (missing.length > 0)
    throw new FarrierError("E_FUSION", `${missing.join(", ")} changed nothing in this model`, {
      where: "--require-fusion",
      hint: `these did: ${[...fired].join("; ") || "none"}`,
    });
}

interface NativeOptions {
  readonly native?: NativeCompile;
}

/** Libraries of C kernels in a temporary directory, which is the caller's to remove. */
export interface NativeBuild {
  readonly directory: string;
  readonly libraries: Readonly<Record<string, string>>;
}

/** Compiles the C kernels of all the models into one set of libraries; null if there are none. */
export async function buildNative(
  models: readonly LoweredModel[],
  options: Pick<CompileOptions, "progress"> & NativeOptions = {},
): Promise<NativeBuild | null> {
  const files = models
    .flatMap(({ targets }) => targets)
    .filter(({ target }) => target.language === "c")
    .flatMap((made) => [...made.files]);
  if (files.length === 0) return null;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-"));
  options.progress?.("compiling C kernels", 0, files.length);
  const built = await compileC(
    files.map(([name, text]) => ({ name: path.basename(name, ".c"), text })),
    directory,
    options.native,
  );
  options.progress?.("compiling C kernels", files.length, files.length);
  return {
    directory,
    libraries: Object.fromEntries(
      built.map(({ isa, file }) => [isa, `kernels/${path.basename(file)}`]),
    ),
  };
}

/** What each target's kernels ask of a machine. */
function needsOf({ targets }: LoweredModel): Record<string, { readonly driver: string }> {
  return Object.fromEntries(
    targets.flatMap(({ target }) =>
      target.ptx === undefined ? [] : [[target.name, { driver: target.ptx.driver }]],
    ),
  );
}

function bundlePlan(
  { model, graphs, sources, targets, checks }: LoweredModel,
  libraries: Readonly<Record<string, string>>,
): BundlePlan {
  const entries = graphs.map(({ name, graph }): EntrySpec => ({
    name,
    inputs: graph.inputs.map((node) => {
      const fill = model.fills.get(node.attrs.name);
      return {
        name: node.attrs.name,
        dtype: node.dtype,
        shape: node.shape.map((dim) => hostExpr(dim)),
        ...(fill === undefined ? {} : { fill }),
      };
    }),
    outputs: graph.outputs.map(({ name: output, node }) => ({
      name: output,
      dtype: node.dtype,
      shape: node.shape.map((dim) => hostExpr(dim)),
    })),
  }));
  const byTarget = targets.map(({ target, plans }): [string, TargetPlans] => [
    target.name,
    target.language === "c" ? { ...plans, libraries } : plans,
  ]);
  return {
    format: 1,
    symbols: model.symbols.map(({ name, min, max, divisor }) => ({ name, min, max, divisor })),
    sources: sources.entries.map((entry) => entry.spec),
    states: sources.states,
    entries,
    targets: Object.fromEntries(byTarget),
    checks,
    ...(model.generation === undefined ? {} : { generation: model.generation }),
  };
}

function contentOf(
  lowered: LoweredModel,
  plan: BundlePlan,
  report: Report,
  built: NativeBuild | null,
  weights: WeightFiles,
): Parameters<typeof writeBundle>[1] {
  const texts = new Map<string, string>([["report.json", reportText(report)]]);
  for (const { files } of lowered.targets) for (const [name, text] of files) texts.set(name, text);
  return {
    plan,
    texts,
    references: weights.references,
    machine: built === null ? null : machineFingerprint(),
    needs: needsOf(lowered),
    write(directory) {
      const written = new Map<string, FileEntry>();
      if (built !== null)
        for (const name of Object.values(built.libraries)) {
          const file = path.join(directory, name);
          fs.mkdirSync(path.dirname(file), { recursive: true });
          fs.copyFileSync(path.join(built.directory, path.basename(name)), file);
          written.set(name, hashedFile(file));
        }
      for (const [name, source] of lowered.model.companions ?? []) {
        const file = path.join(directory, name);
        fs.mkdirSync(path.dirname(file), { recursive: true });
        fs.writeFileSync(file, source.readRange(0, source.size));
        written.set(name, hashedFile(file));
      }
      if (weights.embedded.size > 0) {
        const hash = writeSafetensors(
          path.join(directory, "weights.safetensors"),
          weights.embedded,
        );
        written.set("weights.safetensors", { bytes: hash.size, chunks: hash.chunks });
      }
      return written;
    },
  };
}
