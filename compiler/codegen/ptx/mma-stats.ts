/**
 * Row statistics before a product: a warp per row, eight elements a lane and load, partial results
 * combined in a fixed order, finished values in shared memory.
 */
import type { Stage } from "../../kernel/desc.js";
import { rawName } from "../../kernel/desc.js";
import { cast, constValue, param } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { alignmentOf } from "../affine.js";
import { address, immediate, type PtxBuilder, type Value } from "./builder.js";
import type { Guard, Scope } from "./expr.js";
import { extentValue } from "./geometry.js";
import { binaryInstruction, ptx } from "./instructions.js";
import { increase, integer } from "./mma.js";

const lanes = 8;
const perLoad = 32 * lanes;
const deepest = 8;

const neutral: { readonly [K in Stage["kind"]]: number } = {
  sum: 0,
  max: -Infinity,
  min: Infinity,
  prod: 1,
};
const operator = { sum: "add", max: "max", min: "min", prod: "mul" } as const;

export interface StatisticsOptions {
  readonly stages: readonly Stage[];
  /** Statistics are taken over this coordinate. */
  readonly k: Expr;
  readonly kExtent: Expr;
  readonly lane: Value;
}

/** How a row of `extent` elements is cut into loads of all lanes. */
interface RowPlan {
  readonly unroll: number;
  /** Rounds of `unroll` loads, null: as many as the extent asks for at run time. */
  readonly single: boolean;
  /** Some loads may be beyond the end. */
  readonly ragged: boolean;
  /** The end may fall inside a lane's eight. */
  readonly split: boolean;
}

function planRow(extent: Expr): RowPlan {
  const length = constValue(extent);
  if (length === null)
    return { unroll: 4, single: false, ragged: true, split: alignmentOf(extent, lanes) < lanes };
  const loads = Math.ceil(length / perLoad);
  const rounds = Math.ceil(loads / deepest);
  const unroll = Math.ceil(loads / rounds);
  return {
    unroll,
    single: rounds === 1,
    ragged: length !== rounds * unroll * perLoad,
    split: length % lanes !== 0,
  };
}

/**
 * Emits the stages of one row into the current block and binds their values in `row`, whose block
 * must be the current one. Returns the values, the same in all lanes.
 */
export function emitRowStatistics(row: Scope, options: StatisticsOptions): Value[] {
  return options.stages.map((stage) => {
    const raw = reduceRow(row, stage, options);
    row.bind(param(rawName(stage.name), stage.body.type), raw);
    const value = row.value(cast(stage.finish, "f32"));
    const kept = row.inBlock(() => row.b.op("mov.f32", "f32", value));
    row.bind(param(stage.name, stage.finish.type), kept);
    return kept;
  });
}

function reduceRow(row: Scope, stage: Stage, options: StatisticsOptions): Value {
  const { b } = row;
  const plan = planRow(options.kExtent);
  const combine = binaryInstruction[operator[stage.kind]].f32!;
  const start = immediate(neutral[stage.kind], "f32");
  return row.inBlock(() => {
    const partial = Array.from({ length: plan.unroll }, () => b.op("mov.f32", "f32", start));
    const extent = extentValue(row, options.kExtent, "s32");
    const k = b.op("mov.b32", "s32", integer(b, "mul", options.lane, lanes));
    const loop = b.label("row");
    // What depends on the row alone is computed before the loop, whose text is a block of its own.
    const { inner, close } = b.block.open();
    b.into(inner, () => {
      if (!plan.single) b.place(loop);
      partial.forEach((into, index) => {
        addChunk(row, inner, stage, options, {
          into,
          combine,
          start,
          plan,
          extent,
          k: integer(b, "add", k, index * perLoad),
        });
      });
      if (!plan.single) {
        increase(b, k, plan.unroll * perLoad);
        const more = b.op(
          ptx.setp("lt", "s32"),
          "pred",
          integer(b, "sub", k, integer(b, "mul", options.lane, lanes)),
          extent,
        );
        b.branch(loop, more);
      }
    });
    close();
    return overLanes(b, combine, tree(b, combine, partial));
  });
}

interface Chunk {
  readonly into: Value;
  readonly combine: string;
  readonly start: Value;
  readonly plan: RowPlan;
  readonly extent: Value;
  readonly k: Value;
}

function addChunk(
  row: Scope,
  block: Scope["block"],
  stage: Stage,
  options: StatisticsOptions,
  chunk: Chunk,
): void {
  const { b } = row;
  const guard = inside(b, chunk);
  const scope = row
    .child({ block, lanes, guard })
    .bind(options.k, chunk.k, { step: 1, multiple: lanes });
  const values = scope
    .values(stage.body)
    .map((value, lane) =>
      guard === null
        ? value
        : b.op("selp.f32", "f32", value, chunk.start, guard[lane] ?? guard[0]!),
    );
  b.line(chunk.combine, chunk.into, chunk.into, tree(b, chunk.combine, values));
}

/** Which of a lane's eight elements exist. */
function inside(b: PtxBuilder, { plan, k, extent }: Chunk): Guard {
  if (!plan.ragged) return null;
  return Array.from({ length: plan.split ? lanes : 1 }, (_, lane) =>
    b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", k, lane), extent),
  );
}

function tree(b: PtxBuilder, combine: string, values: readonly Value[]): Value {
  if (values.length === 1) return values[0]!;
  const half = values.length >> 1;
  return b.op(
    combine,
    "f32",
    tree(b, combine, values.slice(0, half)),
    tree(b, combine, values.slice(half)),
  );
}

/** Combines over the warp; every lane gets the same bits, since the operators commute exactly. */
export function overLanes(
  b: PtxBuilder,
  combine: string,
  value: Value,
  distances: readonly number[] = [16, 8, 4, 2, 1],
): Value {
  return distances.reduce((sum, distance) => {
    const bits = b.op("mov.b32", "u32", sum);
    const other = b.op(ptx.shuffleXor, "u32", bits, distance, "0x1f", "0xffffffff");
    return b.op(combine, "f32", sum, b.op("mov.b32", "f32", other));
  }, value);
}

/** Reads the finished statistics of a row from shared memory and binds them. */
export function bindStatistics(
  scope: Scope,
  stages: readonly Stage[],
  row: Value,
  rows: number,
  base: Value,
): void {
  const { b } = scope;
  if (stages.length === 0) return;
  scope.inBlock(() => {
    const place = b.op("mad.lo.s32", "s32", row, 4, base);
    stages.forEach((stage, index) => {
      const value = b.op(ptx.loadShared("f32", 1), "f32", address(place, index * rows * 4));
      scope.bind(param(stage.name, stage.finish.type), value);
    });
  });
}
