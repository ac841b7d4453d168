/** Reductions over lanes, warps and blocks, always in one order: the same bits in every run. */
import { bug } from "../../errors.js";
import type { Stage } from "../../kernel/desc.js";
import type { BinaryOp } from "../../scalar/expr.js";
import { emitBinary } from "./arithmetic.js";
import { immediate, type PtxBuilder, type Value } from "./builder.js";
import { bitsOf, ptx, type PtxType } from "./instructions.js";

export type Fold = Stage["kind"];

const foldOp: { readonly [K in Fold]: BinaryOp } = {
  sum: "add",
  prod: "mul",
  max: "max",
  min: "min",
};

const lowest: { readonly [T in PtxType]?: number | bigint } = {
  s32: -(2 ** 31),
  u32: 0,
  s64: -(2n ** 63n),
  u64: 0,
  f32: -Infinity,
  f64: -Infinity,
};
const highest: { readonly [T in PtxType]?: number | bigint } = {
  s32: 2 ** 31 - 1,
  u32: 2 ** 32 - 1,
  s64: 2n ** 63n - 1n,
  u64: 2n ** 64n - 1n,
  f32: Infinity,
  f64: Infinity,
};

/** The value that leaves every other unchanged. */
export function identity(kind: Fold, type: PtxType): Value {
  const value =
    kind === "sum" ? 0 : kind === "prod" ? 1 : (kind === "max" ? lowest : highest)[type];
  if (value === undefined) throw bug(`no reduction of ${type}`);
  return immediate(value, type);
}

export function combine(b: PtxBuilder, kind: Fold, x: Value, y: Value): Value {
  return emitBinary(b, foldOp[kind], x, y);
}

/** One value of many, pairwise: neighbours first. */
export function combineAll(b: PtxBuilder, kind: Fold, values: readonly Value[]): Value {
  let level = [...values];
  while (level.length > 1) {
    const next: Value[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const [x, y] = [level[i]!, level[i + 1]];
      next.push(y === undefined ? x : combine(b, kind, x, y));
    }
    level = next;
  }
  return level[0]!;
}

/** The value that the lane `lane ^ distance` holds. */
export function shuffleXor(b: PtxBuilder, value: Value, distance: number): Value {
  return inHalves(b, value, (half) =>
    b.op(ptx.shuffleXor, half.type, half, distance, "0x1f", "0xffffffff"),
  );
}

/** The value of the lane `distance` below; lanes that have none below keep their own. */
export function shuffleUp(b: PtxBuilder, value: Value, distance: number): Value {
  return inHalves(b, value, (half) =>
    b.op(ptx.shuffleUp, half.type, half, distance, "0x0", "0xffffffff"),
  );
}

/** The value of the last lane. */
export function shuffleLast(b: PtxBuilder, value: Value): Value {
  return inHalves(b, value, (half) =>
    b.op(ptx.shuffleIndex, half.type, half, 31, "0x1f", "0xffffffff"),
  );
}

/** Shuffles move 32 bits. */
function inHalves(b: PtxBuilder, value: Value, shuffle: (half: Value) => Value): Value {
  if (bitsOf[value.type] !== "b64" && value.type !== "f64") return shuffle(value);
  const [low, high] = [b.reg("u32"), b.reg("u32")];
  b.raw(`mov.b64 {${low.text}, ${high.text}}, ${value.text};`);
  const [first, second] = [shuffle(low), shuffle(high)];
  const result = b.reg(value.type);
  b.raw(`mov.b64 ${result.text}, {${first.text}, ${second.text}};`);
  return result;
}

/** Reduces over groups of `width` lanes (a power of two, `stride` apart): every lane gets the result. */
export function warpReduce(b: PtxBuilder, kind: Fold, value: Value, width = 32, stride = 1): Value {
  let result = value;
  for (let distance = (width * stride) / 2; distance >= stride; distance /= 2)
    result = combine(b, kind, result, shuffleXor(b, result, distance));
  return result;
}

export interface BlockSlots {
  /** Shared-memory address of `warps` slots of 8 bytes. */
  readonly base: Value;
  readonly offset: number;
  readonly warps: number;
  readonly warp: Value;
  /** Predicate: the first lane of its warp. */
  readonly first: Value;
}

/** Combines what each warp holds, in the order of the warps: every thread gets the result. */
export function blockReduce(b: PtxBuilder, kind: Fold, value: Value, slots: BlockSlots): Value {
  const suffix = bitsOf[value.type];
  const own = b.op("mad.lo.s32", "s32", slots.warp, 8, slots.base);
  b.lineIf(
    slots.first,
    ptx.storeShared(suffix, 1),
    `[${own.text}+${slots.offset}]`,
    b.inRegister(value),
  );
  b.raw(ptx.barrier);
  const all = Array.from({ length: slots.warps }, (_, warp) =>
    b.op(ptx.loadShared(suffix, 1), value.type, `[${slots.base.text}+${slots.offset + 8 * warp}]`),
  );
  return combineAll(b, kind, all);
}
