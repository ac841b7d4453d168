/** Every kernel case, of every family: what `make-cases.ts` writes and the kernel tests run. */
import type { KernelDesc } from "../../../compiler/kernel/desc.js";
import type { FamilyTemplate } from "../../../compiler/kernel/family.js";
import { targetNamed, type Target } from "../../../compiler/kernel/target.js";
import { sm80MmaAttention } from "../../../templates/attention/sm80-mma.js";
import { sm80MmaGemm } from "../../../templates/gemm/sm80-mma.js";
import { sm90aWgmmaGemm } from "../../../templates/gemm/sm90a-wgmma.js";
import type { Fill, GpuCase } from "./case.js";
import { attentionCases } from "./mma-attention-list.js";
import type { MmaCase } from "./mma-case.js";
import { gemmCases } from "./mma-gemm-list.js";
import { sampleCases } from "./sample.js";
import { simtCases } from "./simt.js";
import { wgmmaGemmCases } from "./wgmma-gemm-list.js";

/** A tensor-core case as one of the common kind: what is neither given nor written must stay. */
function adapted<D extends KernelDesc, C>(
  test: MmaCase<D, C>,
  template: FamilyTemplate<D["family"], C>,
  name = "mma",
  target = targetNamed("sm_80"),
): GpuCase {
  const { desc, config, tensors, expected, tolerance, symbols } = test;
  const inputs: Record<string, Fill> = {};
  for (const { name } of desc.operands)
    inputs[name] = { kind: "values", values: tensors.get(name)! };
  return {
    name: `${desc.family} ${name} ${test.name}`,
    desc,
    symbols,
    inputs,
    kernel: (on = target) =>
      template.render(desc as never, config ?? template.candidates(desc as never, target)[0]!, on),
    expected: () => expected,
    tolerance: { absolute: 0, relative: 0, rms: tolerance },
  };
}

/** Those of every NVIDIA target. */
export const allCases = (): GpuCase[] => [
  ...simtCases(),
  ...sampleCases(),
  ...gemmCases().map((test) => adapted(test, sm80MmaGemm)),
  ...attentionCases().map((test) => adapted(test, sm80MmaAttention)),
];

/** Those of `sm_90a` alone, on so few multiprocessors that blocks walk several tiles. */
export const hopperCases = (): GpuCase[] =>
  wgmmaGemmCases().map((test) => adapted(test, sm90aWgmmaGemm, "wgmma", fewBlocks));

export const fewBlocks: Target = { ...targetNamed("sm_90a"), multiprocessors: 3 };

/** All that a target has; `on` is what to render them for. */
export const casesOf = (target: Target): { readonly test: GpuCase; readonly on: Target }[] => [
  ...allCases().map((test) => ({ test, on: target })),
  ...(target.name === fewBlocks.name ? hopperCases() : []).map((test) => ({ test, on: fewBlocks })),
];
