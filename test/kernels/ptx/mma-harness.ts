/** Runs a case of a tensor-core kernel in the interpreter, or through ptxas. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KernelDesc } from "../../../compiler/kernel/desc.js";
import type { KernelText } from "../../../compiler/kernel/family.js";
import { readElements, writeElements } from "../../../compiler/scalar/elements.js";
import type { MmaCase } from "../../gpu/cases/mma-case.js";
import { workspaceBytes } from "../../gpu/cases/case.js";
import { sizeOf, type Tensors } from "../../gpu/cases/mma-reference.js";
import { runPtx, type RunReport } from "./mma-interpreter.js";

export interface CaseRun {
  readonly after: Tensors;
  readonly report: RunReport;
}

export function runCase<D extends KernelDesc, C>(test: MmaCase<D, C>, kernel: KernelText): CaseRun {
  const { operands } = test.desc;
  const buffers = operands.map((operand) => ({
    data: writeElements(operand.dtype, test.tensors.get(operand.name)!),
  }));
  const { launch } = kernel;
  const workspace = workspaceBytes(kernel, test.symbols);
  if (launch.kind !== "gpu") throw new Error("not a GPU kernel");
  const at = (extent: Parameters<typeof sizeOf>[0]): number => sizeOf(extent, test.symbols);
  const report = runPtx(kernel.text, {
    grid: [at(launch.grid[0]), at(launch.grid[1]), at(launch.grid[2])],
    threads: launch.threads,
    sharedBytes: launch.sharedBytes,
    buffers: [...buffers, ...Object.values(workspace ?? {}).map((data) => ({ data }))],
    scalars: kernel.scalars.map(at),
  });
  if (workspace?.tickets.some((byte) => byte !== 0) === true)
    throw new Error("a ticket is not zero after the run");
  const after: Tensors = new Map(
    operands.map((operand, index) => [
      operand.name,
      [
        ...readElements(
          operand.dtype,
          buffers[index]!.data,
          test.tensors.get(operand.name)!.length,
        ),
      ],
    ]),
  );
  return { after, report };
}

export interface Assembled {
  readonly registers: number;
  readonly spills: number;
  readonly log: string;
}

/** Null where there is no ptxas. */
export function assemble(text: string, architecture: string): Assembled | null {
  const folder = mkdtempSync(join(tmpdir(), "farrier-ptx-"));
  try {
    const file = join(folder, "kernel.ptx");
    writeFileSync(file, text);
    const run = spawnSync(
      "ptxas",
      [`-arch=${architecture}`, "-v", "-o", join(folder, "kernel.cubin"), file],
      { encoding: "utf8" },
    );
    if (run.error !== undefined) return null;
    const log = `${run.stdout}${run.stderr}`;
    if (run.status !== 0) throw new Error(log);
    const registers = Number(/Used (\d+) registers/.exec(log)?.[1] ?? NaN);
    const spills = [...log.matchAll(/(\d+) bytes spill/g)].reduce(
      (sum, match) => sum + Number(match[1]),
      0,
    );
    return { registers, spills, log };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What sm_80 text must assemble for. */
export const architectures = ["sm_80", "sm_90", "sm_120"] as const;

export const hasPtxas = (): boolean => spawnSync("ptxas", ["--version"]).error === undefined;
