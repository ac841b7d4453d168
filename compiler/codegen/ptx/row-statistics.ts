/**
 * Row statistics of a tile of rows, computed before its product: each warp takes rows in turn, the
 * results go to shared memory. Two-pass forms stay exact because every stage walks the row again,
 * from registers where the row is short.
 */
import { rawName, type Stage } from "../../kernel/desc.js";
import { param } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { rangeOf } from "../../scalar/range.js";
import { convertRegister } from "./arithmetic.js";
import type { Block, PtxBuilder, Value } from "./builder.js";
import type { Scope } from "./expr.js";
import { below, extentValue } from "./geometry.js";
import { binaryInstruction, machineType, ptx } from "./instructions.js";
import { combine, combineAll, identity, warpReduce } from "./reduction.js";

export interface StatisticsSpec {
  readonly stages: readonly Stage[];
  /** The axis of the rows and its extent. */
  readonly axis: Expr;
  readonly extent: Expr;
  /** Consecutive elements of a lane: 1, 2, 4 or 8, dividing the extent. */
  readonly lanes: number;
  /** Rows of the tile and warps of the block. */
  readonly rows: number;
  readonly warps: number;
  /** Shared address of the results: f32, stage by stage, `rows` of each. */
  readonly shared: Value;
  /** Binds the row coordinates for a row of the tile; rows beyond the matrix repeat the last. */
  readonly bindRow: (scope: Scope, local: Value) => void;
}

const mostElements = 32;

/** Bytes of shared memory that the results take. */
export const statisticsBytes = (stages: readonly Stage[], rows: number): number =>
  stages.length * rows * 4;

/** Computes the statistics into shared memory. A barrier must follow before they are read. */
export function emitRowStatistics(outer: Scope, spec: StatisticsSpec, block: Block): void {
  const { b, kernel } = outer;
  b.into(block, () => {
    const tid = kernel.special("%tid.x");
    const local = b.op("shr.u32", "s32", tid, 5);
    const lane = b.op("and.b32", "s32", tid, 31);
    const start =
      spec.lanes === 1 ? lane : b.op(binaryInstruction.mul.s32!, "s32", lane, spec.lanes);
    const [next, done] = [b.label("row"), b.label("rows_done")];
    const row = b.op(ptx.move("s32"), "s32", local);
    const ahead =
      spec.rows % spec.warps === 0 ? null : b.op(ptx.setp("lt", "s32"), "pred", row, spec.rows);
    if (ahead !== null) b.branch(done, ahead, true);
    b.place(next);
    const { inner, close } = b.block.open();
    b.into(inner, () => emitRow(outer, spec, inner, row, start, lane));
    close();
    b.line(binaryInstruction.add.s32!, row, row, spec.warps);
    b.branch(next, b.op(ptx.setp("lt", "s32"), "pred", row, spec.rows));
    b.place(done);
  });
}

function emitRow(
  outer: Scope,
  spec: StatisticsSpec,
  block: Block,
  row: Value,
  start: Value,
  lane: Value,
): void {
  const { b } = outer;
  let scope = outer.child({ block });
  spec.bindRow(scope, row);
  const chunks = Math.ceil(rangeOf(spec.extent).max / (32 * spec.lanes));
  const unrolled =
    chunks * spec.lanes <= mostElements ? unrolledChunks(scope, spec, start, chunks) : null;
  const first = b.op(ptx.setp("eq", "s32"), "pred", lane, 0);
  const address = b.op("mad.lo.s32", "s32", row, 4, spec.shared);
  spec.stages.forEach((stage, index) => {
    const type = machineType[stage.body.type]!;
    const sums = b.regs(type, spec.lanes);
    for (const sum of sums) b.line(ptx.move(type), sum, identity(stage.kind, type));
    if (unrolled === null) loopChunks(scope, spec, stage, start, sums);
    else
      for (const chunk of unrolled)
        accumulate(chunk.scope.child({ also: [scope] }), chunk.inside, stage, sums);
    const total = warpReduce(b, stage.kind, combineAll(b, stage.kind, sums));
    const raw = scope.child().bind(param(rawName(stage.name), stage.body.type), total);
    const finished = raw.value(stage.finish);
    scope = raw.child().bind(param(stage.name, stage.finish.type), finished);
    b.lineIf(
      first,
      ptx.storeShared("f32", 1),
      `[${address.text}+${index * spec.rows * 4}]`,
      b.inRegister(finished),
    );
  });
}

function unrolledChunks(
  row: Scope,
  spec: StatisticsSpec,
  start: Value,
  chunks: number,
): { scope: Scope; inside: Value | null }[] {
  const { b } = row;
  const sure = rangeOf(spec.extent).min;
  return Array.from({ length: chunks }, (_, i) => {
    const stride = 32 * spec.lanes;
    const at = i === 0 ? start : b.op(binaryInstruction.add.s32!, "s32", start, i * stride);
    const inside = (i + 1) * stride <= sure ? null : below(row.ancestry[0]!, at, spec.extent);
    const scope = row.child({ lanes: spec.lanes, guard: inside === null ? null : [inside] });
    scope.bind(spec.axis, at, { step: spec.lanes > 1 ? 1 : 0, multiple: spec.lanes });
    return { scope, inside };
  });
}

function accumulate(
  scope: Scope,
  inside: Value | null,
  stage: Stage,
  sums: readonly Value[],
): void {
  const { b } = scope;
  const type = sums[0]!.type;
  sums.forEach((sum, lane) => {
    const raw = scope.value(stage.body, lane);
    scope.inBlock(() => {
      const value = convertRegister(b, raw, type);
      const counted =
        inside === null
          ? value
          : b.op(ptx.select(type), type, value, identity(stage.kind, type), inside);
      b.assign(sum, combine(b, stage.kind, sum, counted));
    });
  });
}

function loopChunks(
  row: Scope,
  spec: StatisticsSpec,
  stage: Stage,
  start: Value,
  sums: readonly Value[],
): void {
  const b: PtxBuilder = row.b;
  const [head, tail] = [b.label("walk"), b.label("walked")];
  const at = b.op(ptx.move("s32"), "s32", start);
  const extent = extentValue(row.ancestry[0]!, spec.extent, "s32");
  // What depends on the row alone is hoisted before the loop.
  const { inner, close } = b.block.open();
  b.into(inner, () => {
    b.place(head);
    b.branch(tail, b.op(ptx.setp("ge", "s32"), "pred", at, extent));
    const scope = row.child({ block: inner, lanes: spec.lanes });
    scope.bind(spec.axis, at, { step: spec.lanes > 1 ? 1 : 0, multiple: spec.lanes });
    accumulate(scope, null, stage, sums);
    b.line(binaryInstruction.add.s32!, at, at, 32 * spec.lanes);
    b.branch(head);
  });
  close();
  b.place(tail);
}

/** Binds the statistics of a row of the tile from shared memory. */
export function bindStatistics(
  scope: Scope,
  stages: readonly Stage[],
  shared: Value,
  rows: number,
  local: Value,
): void {
  if (stages.length === 0) return;
  const { b } = scope;
  scope.inBlock(() => {
    const address = b.op("mad.lo.s32", "s32", local, 4, shared);
    stages.forEach((stage, index) => {
      const value = b.op(ptx.loadShared("f32", 1), "f32", `[${address.text}+${index * rows * 4}]`);
      scope.bind(param(stage.name, stage.finish.type), value);
    });
  });
}
