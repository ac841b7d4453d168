/** Family map for sm_80: a thread computes consecutive elements of the last coordinate. */
import type { MapDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { div, int, one, rangeOf } from "../../compiler/codegen/expressions.js";
import { Scope, fits32 } from "../../compiler/codegen/ptx/expr.js";
import {
  bindBox,
  below,
  blockOffset,
  blocksOf,
  volume,
} from "../../compiler/codegen/ptx/geometry.js";
import { PtxKernel } from "../../compiler/codegen/ptx/kernel.js";
import { emitStores } from "../../compiler/codegen/ptx/memory.js";
import { widestLanes } from "../../compiler/codegen/ptx/widest.js";
import { convertRegister } from "../../compiler/codegen/ptx/arithmetic.js";

export interface Sm80MapConfig {
  readonly threads: number;
  /** Consecutive elements of the last coordinate that a thread computes. */
  readonly lanes: number;
}

/** Holes of `sm80.ptx.hbs` besides the kernel's header. */
interface MapView {
  /** Flattened index and coordinates of this thread. */
  readonly index: string[];
  /** Predicate of threads beyond the box. */
  readonly outside: string;
  readonly body: string[];
}

/** The most lanes that 16-byte accesses and the last extent allow. */
function widest(desc: MapDesc): number {
  const [last, extent] = [desc.coords.at(-1), desc.extents.at(-1)];
  if (last === undefined || extent === undefined) return 1;
  const bodies = desc.stores.flatMap((store) => [store.offset, store.value]);
  return Math.max(1, widestLanes(desc.operands, bodies, desc.stores, last, extent));
}

function candidates(desc: MapDesc, target: Target): readonly Sm80MapConfig[] {
  const elements = rangeOf(volume(desc.extents)).max;
  const all: Sm80MapConfig[] = [];
  for (let lanes = widest(desc); lanes >= 1; lanes /= 2)
    for (const threads of [256, 128]) all.push({ threads, lanes });
  // A small box is spread over the multiprocessors before it is vectorised.
  const fills = ({ threads, lanes }: Sm80MapConfig): boolean =>
    elements >= threads * lanes * (target.multiprocessors ?? 1);
  return [...all.filter(fills), ...all.filter((config) => !fills(config)).reverse()];
}

function render(desc: MapDesc, config: Sm80MapConfig, target: Target): KernelText {
  const { threads, lanes } = config;
  const kernel = new PtxKernel(desc.operands, target);
  const index = kernel.section();
  const body = kernel.section();
  const root = Scope.root(kernel);
  const scope = root.child({ block: body, lanes });
  const points = div(volume(desc.extents), int(lanes));
  const { b } = kernel;
  const outside = b.into(index, () => {
    const wide = !fits32(points) || rangeOf(points).max > 2 ** 31 - 1 - threads;
    const thread = convertRegister(b, kernel.special("%tid.x"), wide ? "s64" : "s32");
    const flat = b.op(
      wide ? "add.s64" : "add.s32",
      thread.type,
      blockOffset(root, "x", threads, wide),
      thread,
    );
    const inside = below(root, flat, points);
    bindBox(
      scope,
      flat,
      desc.coords.map((coord, i) => {
        const last = i === desc.coords.length - 1;
        return { coord, extent: desc.extents[i]!, unit: last ? lanes : 1, step: last ? 1 : 0 };
      }),
    );
    return b.op("not.pred", "pred", inside);
  });
  emitStores(scope, desc.stores);
  const view: MapView = { index: index.lines(), outside: outside.text, body: body.lines() };
  const launch = {
    kind: "gpu",
    grid: [blocksOf(points, threads), one, one],
    threads,
    sharedBytes: 0,
  } as const;
  return kernel.render("map/sm80.ptx.hbs", launch, { ...view });
}

export const sm80Map: FamilyTemplate<"map", Sm80MapConfig> = { family: "map", candidates, render };
