/** Every kernel case, of every family: what `make-cases.ts` writes and the kernel tests run. */
import type { KernelDesc } from "../../../compiler/kernel/desc.js";
import type { FamilyTemplate } from "../../../compiler/kernel/family.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { sm80MmaAttention } from "../../../templates/attention/sm80-mma.js";
import { sm80MmaGemm } from "../../../templates/gemm/sm80-mma.js";
import type { Fill, GpuCase } from "./case.js";
import { attentionCases } from "./mma-attention-list.js";
import type { MmaCase } from "./mma-case.js";
import { gemmCases } from "./mma-gemm-list.js";
import { sampleCases } from "./sample.js";
import { simtCases } from "./simt.js";

/** A tensor-core case as one of the common kind: what is neither given nor written must stay. */
function adapted<D extends KernelDesc, C>(
  test: MmaCase<D, C>,
  template: FamilyTemplate<D["family"], C>,
): GpuCase {
  const target = targetNamed("sm_80");
  const { desc, config, tensors, expected, tolerance, symbols } = test;
  const inputs: Record<string, Fill> = {};
  for (const { name } of desc.operands)
    inputs[name] = { kind: "values", values: tensors.get(name)! };
  return {
    name: `${desc.family} mma ${test.name}`,
    desc,
    symbols,
    inputs,
    kernel: (on = target) =>
      template.render(desc as never, config ?? template.candidates(desc as never, target)[0]!, on),
    expected: () => expected,
    tolerance: { absolute: 0, relative: 0, rms: tolerance },
  };
}

export const allCases = (): GpuCase[] => [
  ...simtCases(),
  ...sampleCases(),
  ...gemmCases().map((test) => adapted(test, sm80MmaGemm)),
  ...attentionCases().map((test) => adapted(test, sm80MmaAttention)),
];
