/**
 * Keys of a row divided among blocks, where rows and heads are too few to fill a GPU ("flash
 * decoding"): each block has a part of the keys, the last to arrive merges the parts' results, each
 * weighed by its share of the softmax's sum, in the order of the keys.
 */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { Workspace } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { div, int, max, min, mul, rangeOf } from "../../compiler/codegen/expressions.js";
import { emitArrival, partialAddress } from "../../compiler/codegen/ptx/arrival.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import {
  address,
  immediate,
  vector,
  type Block,
  type Value,
} from "../../compiler/codegen/ptx/builder.js";
import { binaryInstruction, ptx } from "../../compiler/codegen/ptx/instructions.js";
import { increase, integer } from "../../compiler/codegen/ptx/mma.js";
import { publishedRow, reciprocal } from "./sm80-mma-finish.js";
import type { AttentionBlock } from "./sm80-mma-block.js";
import type { AttentionShape } from "./sm80-mma-shape.js";
import type { AttentionSteps } from "./sm80-mma-steps.js";

/** Blocks that an H200 has work for: two on each multiprocessor. */
const wanted = 264;
const mostParts = 32;
/** Keys below which a part is not worth its merging. */
export const keysOfPart = 128;

const heads = ({ extents }: AttentionDesc): Expr => mul(extents.b, extents.g);

/** Whether some shapes leave multiprocessors idle: all rows of a head are in one block, and heads are few. */
export const fewBlocks = (desc: AttentionDesc): boolean =>
  rangeOf(heads(desc)).min < wanted && rangeOf(desc.extents.k).max > keysOfPart;

/** Parts of the keys: what the host launches. How many of them have keys only the device knows. */
export const partsOf = (desc: AttentionDesc): Expr =>
  max(int(1), min(int(mostParts), div(int(wanted), heads(desc))));

/** Bytes to the rows' maxima; f32 elements that one part leaves: results, then a maximum and a sum for each row. */
const rowsOffset = ({ bm, width }: AttentionShape): number => bm * width * 4;
const partialSize = ({ bm, width }: AttentionShape): number => bm * (width + 2);

export const workspaceOf = (desc: AttentionDesc, shape: AttentionShape): Workspace => ({
  // parts · heads is at most `wanted` where there are parts at all.
  partials: mul(max(int(wanted), heads(desc)), int(partialSize(shape))),
  tickets: heads(desc),
});

export interface KeyPart {
  readonly start: Value;
  readonly end: Value;
  /** This block's number, and how many blocks have keys. */
  readonly part: Value;
  readonly active: Value;
}

/** This block's part of the keys from `start` on; blocks without keys end. */
export function keyPart(block: AttentionBlock, start: Value, end: Value): KeyPart {
  const { kernel, shape } = block;
  const { b } = kernel;
  const { bn } = shape.config;
  const part = kernel.special("%ctaid.x");
  const parts = kernel.special("%nctaid.x");
  const least = Math.max(1, keysOfPart / bn);
  const keys = integer(b, "max", integer(b, "sub", end, start), 1);
  const steps = integer(b, "div", integer(b, "add", keys, bn - 1), bn);
  const quotient = (x: Value, y: Value): Value =>
    b.op("div.u32", "s32", integer(b, "sub", integer(b, "add", x, y), 1), y);
  const each = integer(b, "max", quotient(steps, parts), least);
  const active = quotient(steps, each);
  const none = b.op(ptx.setp("ge", "s32"), "pred", part, active);
  b.raw(`@${none.text} ret;`);
  const length = integer(b, "mul", each, bn);
  const first = b.op("mad.lo.s32", "s32", part, length, start);
  return {
    start: first,
    end: integer(b, "min", end, integer(b, "add", first, length)),
    part,
    active,
  };
}

/** Loads of partial results that are under way at a time. */
const atOnce = 8;
const lanes = 4;

interface Row {
  readonly top: Value;
  readonly sum: Value;
}

/** From parts staged in shared memory to whole rows in its first slice, in the last block only. */
export function emitJoin(steps: AttentionSteps, { part, active }: KeyPart): Block {
  const { block } = steps;
  const { kernel, shape, thread, shared } = block;
  const { b } = kernel;
  const into = kernel.section();
  b.into(into, () => {
    const [whole, joined] = [b.label("whole"), b.label("joined")];
    const head = integer(
      b,
      "add",
      integer(
        b,
        "mul",
        kernel.special("%ctaid.z"),
        b.inRegister(extentValue(block.root, block.desc.extents.g, "s32")),
      ),
      kernel.special("%ctaid.y"),
    );
    const first = integer(b, "mul", head, kernel.special("%nctaid.x"));
    b.branch(whole, b.op(ptx.setp("eq", "s32"), "pred", active, 1));
    const own = partialAddress(kernel, integer(b, "add", first, part), partialSize(shape));
    leave(steps, own);
    emitArrival(kernel, {
      thread,
      ticket: head,
      count: active,
      flag: integer(b, "add", shared, shape.flagOffset),
    });
    merge(steps, partialAddress(kernel, first, partialSize(shape)), active);
    b.branch(joined);
    b.place(whole);
    if (shape.config.warpsK > 1)
      eachChunk(block, ({ staged }) => {
        store(block, staged, sumOfSlices(block, staged));
      });
    b.place(joined);
    b.raw(ptx.barrier);
  });
  return into;
}

interface Chunk {
  readonly row: Value;
  /** Address of the chunk in the first slice. */
  readonly staged: Value;
  /** Bytes from the first element of a part to the chunk. */
  readonly offset: Value;
}

/** `body` for each run of `lanes` columns of each row that exists, divided among threads. */
function eachChunk(block: AttentionBlock, body: (chunk: Chunk) => void): void {
  const { kernel, shape, thread, shared, rows } = block;
  const { b } = kernel;
  const perRow = shape.width / lanes;
  const chunk = b.op("mov.b32", "s32", thread);
  const count = integer(b, "mul", rows, perRow);
  const [loop, done] = [b.label("chunks"), b.label("chunks_done")];
  b.branch(done, b.op(ptx.setp("ge", "s32"), "pred", chunk, count));
  b.place(loop);
  const row = integer(b, "div", chunk, perRow);
  const column = integer(b, "mul", integer(b, "mod", chunk, perRow), lanes);
  const word = integer(b, "add", integer(b, "mul", row, shape.stagedStride), column);
  body({
    row,
    staged: integer(b, "add", integer(b, "mul", word, 4), shared),
    offset: integer(b, "mul", chunk, lanes * 4),
  });
  increase(b, chunk, shape.threads);
  b.branch(loop, b.op(ptx.setp("lt", "s32"), "pred", chunk, count));
  b.place(done);
}

function sumOfSlices(block: AttentionBlock, staged: Value): Value[] {
  const { shape, kernel } = block;
  const { b } = kernel;
  const slice = shape.bm * shape.stagedStride * 4;
  return Array.from({ length: shape.config.warpsK }, (_, index) => {
    const registers = b.regs("f32", lanes);
    b.line(ptx.loadShared("f32", lanes), vector(registers), address(staged, index * slice));
    return registers;
  }).reduce((sums, more) =>
    sums.map((sum, i) => b.op(binaryInstruction.add.f32!, "f32", sum, more[i]!)),
  );
}

function store({ kernel: { b } }: AttentionBlock, staged: Value, values: readonly Value[]): void {
  b.line(ptx.storeShared("f32", lanes), address(staged), vector(values));
}

const wide = (block: AttentionBlock, base: Value, bytes: Value): Value => {
  const { b } = block.kernel;
  return b.op("add.s64", "u64", base, b.op("cvt.u64.u32", "u64", bytes));
};

/** This part's rows, each with the maximum and the sum that its softmax had. */
function leave(steps: AttentionSteps, own: Value): void {
  const { block } = steps;
  const { kernel, shape, thread, rows } = block;
  const { b } = kernel;
  eachChunk(block, ({ staged, offset }) => {
    const values = sumOfSlices(block, staged);
    b.line(ptx.storeGlobal("f32", lanes), address(wide(block, own, offset)), vector(values));
  });
  const skip = b.label("left");
  b.branch(skip, b.op(ptx.setp("ge", "s32"), "pred", thread, rows));
  const { top, sum } = publishedRow(steps, integer(b, "min", thread, shape.bm - 1));
  const at = wide(block, own, integer(b, "mul", thread, 8));
  b.line(ptx.storeGlobal("f32", 2), address(at, rowsOffset(shape)), vector([top, sum]));
  b.place(skip);
}

/** Rows of all parts, in order: the sum of results, each weighed by sum · exp2(maximum), over that of the weights. */
function merge(steps: AttentionSteps, parts: Value, active: Value): void {
  const { block } = steps;
  const { kernel, shape } = block;
  const { b } = kernel;
  const size = partialSize(shape) * 4;
  eachChunk(block, ({ row, staged, offset }) => {
    const results = wide(block, parts, offset);
    const rows = wide(block, parts, integer(b, "mul", row, 8));
    const total = { top: b.op("mov.f32", "f32", immediate(-Infinity, "f32")), sum: zero(block) };
    const values = Array.from({ length: lanes }, () => zero(block));
    const part = b.op("mov.b32", "s32", 0);
    const loop = b.label("parts");
    b.place(loop);
    const loaded = Array.from({ length: atOnce }, (_, index) => {
      const exists = b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", part, index), active);
      const own: Row = {
        top: b.op("mov.f32", "f32", immediate(-Infinity, "f32")),
        sum: zero(block),
      };
      const result = Array.from({ length: lanes }, () => zero(block));
      const at = index * size;
      b.lineIf(exists, load(lanes), vector(result), address(results, at));
      b.lineIf(exists, load(2), vector([own.top, own.sum]), address(rows, at + rowsOffset(shape)));
      return { own, result };
    });
    for (const { own, result } of loaded) add(steps, total, values, own, result);
    for (const base of [results, rows]) b.line("add.s64", base, base, atOnce * size);
    increase(b, part, atOnce);
    b.branch(loop, b.op(ptx.setp("lt", "s32"), "pred", part, active));
    const factor = reciprocal(steps, total.sum);
    for (const value of values) b.line(binaryInstruction.mul.f32!, value, value, factor);
    store(block, staged, values);
  });
}

const load = (width: number): string => ptx.loadGlobal("f32", width, false);
const zero = ({ kernel: { b } }: AttentionBlock): Value =>
  b.op("mov.f32", "f32", immediate(0, "f32"));

/** One more part into the running rows. */
function add(
  steps: AttentionSteps,
  total: Row,
  values: readonly Value[],
  own: Row,
  result: readonly Value[],
): void {
  const { b } = steps.block.kernel;
  const top = b.op(binaryInstruction.max.f32!, "f32", total.top, own.top);
  const shift = steps.shift(top);
  const [again, weight] = [total.top, own.top].map((x) => steps.weight(x, shift));
  const share = b.op(binaryInstruction.mul.f32!, "f32", own.sum, weight!);
  values.forEach((value, i) => {
    const kept = b.op(binaryInstruction.mul.f32!, "f32", value, again!);
    b.line(ptx.fma.f32!, value, result[i]!, share, kept);
  });
  b.line(ptx.fma.f32!, total.sum, total.sum, again!, share);
  b.line("mov.f32", total.top, top);
}
