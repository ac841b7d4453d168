/**
 * Family gemm for sm_90a, f16 and bf16: products of warpgroups on tiles that a warpgroup of its own
 * keeps bringing, over blocks that walk tile after tile.
 */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Target } from "../../compiler/kernel/target.js";
import { int, min, mul, one } from "../../compiler/codegen/expressions.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import { blocksOf, volume } from "../../compiler/codegen/ptx/geometry.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";
import { groupRows, wgmma } from "../../compiler/codegen/ptx/wgmma.js";
import { gemmSources, type GemmSources } from "./sm80-mma-shape.js";
import { TileWalk, openBlock, type WgmmaBlock } from "./sm90a-wgmma-block.js";
import { wgmmaCandidates } from "./sm90a-wgmma-candidates.js";
import { emitFill } from "./sm90a-wgmma-fill.js";
import { GroupProduct } from "./sm90a-wgmma-product.js";
import {
  groups,
  registers,
  warpRows,
  wgmmaShape,
  type Sm90aWgmmaGemmConfig,
} from "./sm90a-wgmma-shape.js";
import { emitTileStatistics, emitTileStores, type StoringWarp } from "./sm90a-wgmma-stores.js";

/** A role: before its tiles; each tile before, in and after its loop over depth; what goes on with both. */
type Role<T, P> = {
  readonly before: T;
  readonly tile: T;
  readonly step: T;
  readonly moreSteps: P;
  readonly after: T;
  readonly moreTiles: P;
};

/** Holes of `sm90a-wgmma.ptx.hbs` besides the kernel's header. */
interface WgmmaView {
  readonly setup: string[];
  /** The predicate of the warpgroup that fills stages. */
  readonly fills: string;
  /** Registers that the roles take and give back. */
  readonly more: string;
  readonly fewer: string;
  readonly product: Role<string[], string>;
  readonly fill: Role<string[], string>;
}

const textOf = ({ before, tile, step, moreSteps, after, moreTiles }: Role<Block, Value>) => ({
  before: before.lines(),
  tile: tile.lines(),
  step: step.lines(),
  moreSteps: moreSteps.text,
  after: after.lines(),
  moreTiles: moreTiles.text,
});

const end = "END";

/** A warp's place among those that multiply. */
function storingWarp({ kernel, shape, thread, group, shared }: WgmmaBlock): StoringWarp {
  const { b } = kernel;
  // None beyond the last: what the branch on the role proves, the verifier does not know.
  const warp = integer(b, "min", integer(b, "div", thread, 32), groups * 4 - 1);
  const rows = integer(b, "mul", integer(b, "mod", warp, 4), warpRows);
  const part = integer(b, "mul", group, shape.tall * groupRows);
  const own = (offset: number, bytes: number): Value =>
    integer(b, "add", integer(b, "add", shared, offset), integer(b, "mul", warp, bytes));
  return {
    lane: integer(b, "and", thread, 31),
    row: shape.config.turns > 1 ? rows : integer(b, "add", rows, part),
    statistics: own(shape.statsOffset, shape.tall * shape.statsBytes),
    staging: own(shape.stagingOffset, shape.stagedBytes),
  };
}

/** The role that multiplies and stores. */
function emitProducts(block: WgmmaBlock): Role<Block, Value> {
  const { kernel } = block;
  const { b } = kernel;
  const [before, tile, step, after] = [
    kernel.section(),
    kernel.section(),
    kernel.section(),
    kernel.section(),
  ];
  const { walk, own, product } = b.into(before, () => {
    const warp = storingWarp(block);
    return {
      walk: new TileWalk(block, end, block.shape.config.turns),
      own: warp,
      product: new GroupProduct(block, warp.lane),
    };
  });
  const { origin, counter } = b.into(tile, () => {
    const first = walk.origin();
    emitTileStatistics(block, first, own);
    return { origin: first, counter: product.begin() };
  });
  const moreSteps = b.into(step, () => product.step(counter));
  const moreTiles = b.into(after, () => {
    product.finish();
    emitTileStores(block, origin, own, product.tiles);
    return walk.next();
  });
  return { before, tile, step, moreSteps, after, moreTiles };
}

function launchOf(
  desc: GemmDesc,
  sources: GemmSources,
  config: Sm90aWgmmaGemmConfig,
  target: Target,
): Pick<KernelText["launch"] & { kind: "gpu" }, "kind" | "grid"> {
  const tiles = mul(blocksOf(desc.mExtent, config.bm), blocksOf(sources.columns, config.bn));
  const blocks = min(tiles, int(target.multiprocessors ?? 1));
  return { kind: "gpu", grid: [blocks, one, volume(desc.batchExtents)] };
}

function render(desc: GemmDesc, config: Sm90aWgmmaGemmConfig, target: Target): KernelText {
  const sources = gemmSources(desc);
  const shape = wgmmaShape(config, desc.stages.length);
  const block = openBlock(desc, sources, shape, target);
  const { kernel, setup, fills } = block;
  const product = emitProducts(block);
  const fill = emitFill(block, end);
  const { threads, sharedBytes } = shape;
  const view: WgmmaView = {
    setup: setup.lines(),
    fills: fills.text,
    more: wgmma.registers(true, registers.multiply),
    fewer: wgmma.registers(false, registers.fill),
    product: textOf(product),
    fill: textOf(fill),
  };
  const launch = { ...launchOf(desc, sources, config, target), threads, sharedBytes };
  return kernel.render("gemm/sm90a-wgmma.ptx.hbs", launch, { ...view });
}

export const sm90aWgmmaGemm: FamilyTemplate<"gemm", Sm90aWgmmaGemmConfig> = {
  family: "gemm",
  candidates: wgmmaCandidates,
  render,
};
