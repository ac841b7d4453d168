/** The templates of each language, in the order in which they are tried, and the choice among them. */
import { createHash } from "node:crypto";
import { FarrierError } from "../errors.js";
import type { Family, KernelDesc } from "../kernel/desc.js";
import { kernelNamePlaceholder, type FamilyTemplate, type KernelText } from "../kernel/family.js";
import type { Target } from "../kernel/target.js";
import { requireGoodPtx } from "../codegen/ptx/verify/kernel.js";
import { attentionCpu } from "../../templates/attention/cpu.js";
import { gemmCpu } from "../../templates/gemm/cpu.js";
import { groupCpu } from "../../templates/group/cpu.js";
import { mapCpu } from "../../templates/map/cpu.js";
import { reduceCpu } from "../../templates/reduce/cpu.js";
import { routeCpu } from "../../templates/route/cpu.js";
import { sampleCpu } from "../../templates/sample/cpu.js";
import { scanCpu } from "../../templates/scan/cpu.js";
import { scatterCpu } from "../../templates/scatter/cpu.js";
import { topKCpu } from "../../templates/topk/cpu.js";
import { sm80Sample } from "../../templates/sample/sm80.js";
import { sm80Scan } from "../../templates/scan/sm80.js";
import { sm80Scatter } from "../../templates/scatter/sm80.js";
import { sm80TopK } from "../../templates/topk/sm80.js";
import { sm80Map } from "../../templates/map/sm80.js";
import { sm80Group } from "../../templates/group/sm80.js";
import { sm80Route } from "../../templates/route/sm80.js";
import { sm80Reduce } from "../../templates/reduce/sm80.js";

import { sm80MmaAttention } from "../../templates/attention/sm80-mma.js";
import { sm80SimtAttention } from "../../templates/attention/sm80-simt.js";
import { sm80MmaGemm } from "../../templates/gemm/sm80-mma.js";
import { sm90aWgmmaGemm } from "../../templates/gemm/sm90a-wgmma.js";
import { sm80SimtGemm } from "../../templates/gemm/sm80-simt.js";

type Candidates = { readonly [F in Family]: readonly FamilyTemplate<F, never>[] };

const any = <F extends Family, C>(template: FamilyTemplate<F, C>): FamilyTemplate<F, never> =>
  template as unknown as FamilyTemplate<F, never>;

const templates: { readonly [L in Target["language"]]: Candidates } = {
  c: {
    map: [any(mapCpu)],
    reduce: [any(reduceCpu)],
    gemm: [any(gemmCpu)],
    route: [any(routeCpu)],
    group: [any(groupCpu)],
    sample: [any(sampleCpu)],
    attention: [any(attentionCpu)],
    scan: [any(scanCpu)],
    topk: [any(topKCpu)],
    scatter: [any(scatterCpu)],
  },
  ptx: {
    map: [any(sm80Map)],
    reduce: [any(sm80Reduce)],
    gemm: [any(sm90aWgmmaGemm), any(sm80MmaGemm), any(sm80SimtGemm)],
    route: [any(sm80Route)],
    group: [any(sm80Group)],
    sample: [any(sm80Sample)],
    attention: [any(sm80MmaAttention), any(sm80SimtAttention)],
    scan: [any(sm80Scan)],
    topk: [any(sm80TopK)],
    scatter: [any(sm80Scatter)],
  },
};

export interface RenderedKernel extends KernelText {
  readonly family: Family;
  /** Function name: the family and a hash of the text, so that equal texts have equal names. */
  readonly symbol: string;
  readonly config: string;
}

/** A template and its configuration for a description. */
export interface Choice {
  readonly template: FamilyTemplate<Family, never>;
  readonly config: never;
  /** Among those of the same family. */
  readonly key: string;
}

/** The best legal configuration of the first template that has one. */
export function chooseKernel(desc: KernelDesc, target: Target): Choice {
  const list = templates[target.language][desc.family] as readonly FamilyTemplate<Family, never>[];
  for (const [index, template] of list.entries()) {
    const config = template.candidates(desc, target)[0];
    if (config !== undefined) return { template, config, key: `${index}${JSON.stringify(config)}` };
  }
  throw new FarrierError(
    "E_OP_UNSUPPORTED",
    `target ${target.name} has no ${desc.family} kernel for this`,
    { where: desc.label },
  );
}

export function renderKernel(
  desc: KernelDesc,
  target: Target,
  { template, config } = chooseKernel(desc, target),
): RenderedKernel {
  const made = template.render(desc, config, target);
  const { text, ...call } = made;
  requireGoodPtx(desc, made, target);
  const hash = createHash("sha256").update(text).digest("hex").slice(0, 12);
  const symbol = `${desc.family}_${hash}`;
  return {
    family: desc.family,
    symbol,
    text: text.replaceAll(kernelNamePlaceholder, symbol),
    config: JSON.stringify(config),
    ...call,
  };
}
