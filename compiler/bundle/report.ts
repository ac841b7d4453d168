/** `report.json`: what fused into what, and what did not and why. */
import type { Partition } from "../kernel/partition.js";
import type { KernelDesc } from "../kernel/desc.js";
import type { AssembledTarget } from "./assemble.js";
import type { Target } from "../kernel/target.js";

export interface Report {
  readonly targets: readonly TargetReport[];
}

export interface TargetReport {
  readonly target: string;
  readonly entries: readonly {
    readonly name: string;
    readonly launches: number;
    readonly arenaBytes: number;
    readonly kernels: readonly { readonly family: string; readonly symbol: string; readonly computes: string; readonly prologue: readonly string[] }[];
    readonly refusals: Partition["refusals"];
  }[];
}

export function bundleReport(lowered: {
  readonly targets: readonly (AssembledTarget & { readonly target: Target; readonly partitions: readonly { name: string; partition: Partition }[] })[];
}): Report {
  return {
    targets: lowered.targets.map(({ target, plans, partitions }) => ({
      target: target.name,
      entries: partitions.map(({ name, partition }) => {
        const plan = plans.entries[name]![0]!;
        return {
          name,
          launches: plan.steps.length,
          arenaBytes: plan.arenaBytes,
          kernels: partition.kernels.map((kernel, index) => ({
            family: kernel.desc.family,
            symbol: plans.kernels[plan.steps[index]!.kernel]!.symbol,
            computes: kernel.desc.label,
            prologue: prologueOf(kernel.desc),
          })),
          refusals: partition.refusals,
        };
      }),
    })),
  };
}

function prologueOf(desc: KernelDesc): string[] {
  return desc.family === "gemm" || desc.family === "reduce" ? desc.stages.map((stage) => stage.name) : [];
}
