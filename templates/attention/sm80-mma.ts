/**
 * Family attention for sm_80, f16 and bf16: a block takes rows of one key head (queries times the
 * heads that share it) and walks the keys with an online softmax; scores never leave registers.
 */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { blocksOf } from "../../compiler/codegen/ptx/geometry.js";
import { AttentionBlock } from "./sm80-mma-block.js";
import { emitFinish } from "./sm80-mma-finish.js";
import {
  attentionCandidates,
  attentionShape,
  attentionSources,
  residentBlocks,
  type Sm80MmaAttentionConfig,
} from "./sm80-mma-shape.js";
import { partsOf } from "./sm80-mma-parts.js";
import { AttentionSteps } from "./sm80-mma-steps.js";

/** Holes of `sm80-mma.ptx.hbs` besides the kernel's header. */
interface AttentionView {
  /** Blocks that a multiprocessor should hold: bounds the registers of a thread. */
  readonly resident: number;
  readonly entry: string[];
  /** Places of the block, the warp and the lane; the range of keys. */
  readonly setup: string[];
  readonly first: string[];
  readonly before: string[];
  /** Predicates that there is no key at all, and that another step follows. */
  readonly none: string;
  readonly step: string[];
  readonly more: string;
  readonly publish: string[];
  readonly scale: string[];
  readonly split: boolean;
  readonly join: string[];
  readonly columns: string[];
  readonly rows: string[];
}

function render(desc: AttentionDesc, config: Sm80MmaAttentionConfig, target: Target): KernelText {
  const shape = attentionShape(desc, config);
  const block = new AttentionBlock(desc, shape, attentionSources(desc), target);
  const { kernel, setup } = block;
  const steps = kernel.b.into(setup, () => new AttentionSteps(block));
  const [first, before, step] = [kernel.section(), kernel.section(), kernel.section()];
  steps.first(first);
  const { more, none } = steps.loop(before, step);
  const finish = emitFinish(steps);
  const view: AttentionView = {
    resident: residentBlocks(shape),
    entry: kernel.entry.lines(),
    setup: setup.lines(),
    first: first.lines(),
    before: before.lines(),
    none: none.text,
    step: step.lines(),
    more: more.text,
    publish: finish.publish.lines(),
    scale: finish.scale.lines(),
    split: finish.join !== null,
    join: finish.join?.lines() ?? [],
    columns: finish.before.lines(),
    rows: finish.rows.lines(),
  };
  const launch = {
    kind: "gpu",
    grid: [
      config.split ? partsOf(desc) : blocksOf(block.rowExtent, shape.bm),
      desc.extents.g,
      desc.extents.b,
    ],
    threads: shape.threads,
    sharedBytes: shape.sharedBytes,
  } as const;
  return kernel.render("attention/sm80-mma.ptx.hbs", launch, { ...view });
}

export const sm80MmaAttention: FamilyTemplate<"attention", Sm80MmaAttentionConfig> = {
  family: "attention",
  candidates: attentionCandidates,
  render,
};
