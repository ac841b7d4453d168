/**
 * Tensor-core instructions of sm_80 and the registers around them: lane addresses for `ldmatrix`,
 * fragments, and products of fragments. Layouts are proved in `mma-layout.ts`.
 */
import { bug } from "../../errors.js";
import type { DType } from "../../ir/dtype.js";
import type { BinaryOp } from "../../scalar/expr.js";
import { address, vector, type PtxBuilder, type Value } from "./builder.js";
import { binaryInstruction } from "./instructions.js";
import { chunkBytes, chunkStep, type MatrixPattern, type TileLayout } from "./mma-layout.js";

export type HalfType = "f16" | "bf16";

export const isHalf = (dtype: DType): dtype is HalfType => dtype === "f16" || dtype === "bf16";

/** D = A (16 × 16, row-major) · B (16 × 8, column-major) + C, accumulating in f32. */
const multiplyInstruction: { readonly [D in HalfType]: string } = {
  f16: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
  bf16: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
};

const matrixInstruction = (count: 1 | 2 | 4, transposed: boolean): string =>
  `ldmatrix.sync.aligned.m8n8.x${count}${transposed ? ".trans" : ""}.shared.b16`;

/** 32-bit integer arithmetic; neutral operands cost nothing. */
export function integer(b: PtxBuilder, op: BinaryOp, x: Value, y: Value | number): Value {
  if (y === 0 && (op === "add" || op === "sub" || op === "shl" || op === "shr" || op === "xor"))
    return x;
  if (y === 1 && (op === "mul" || op === "div")) return x;
  if (
    typeof y === "number" &&
    (op === "mul" || op === "div" || op === "mod") &&
    y > 0 &&
    Number.isInteger(Math.log2(y))
  ) {
    if (op === "mul") return b.op(binaryInstruction.shl.s32!, "s32", x, Math.log2(y));
    if (op === "div") return b.op(binaryInstruction.shr.u32!, "s32", x, Math.log2(y));
    return b.op(binaryInstruction.and.s32!, "s32", x, y - 1);
  }
  return b.op(binaryInstruction[op].s32!, "s32", x, y);
}

/** Byte offset in a tile of the chunk in a row and column that differ from thread to thread. */
export function chunkAddress(b: PtxBuilder, layout: TileLayout, row: Value, chunk: Value): Value {
  const line = integer(b, "mul", row, layout.stride * chunkBytes);
  let column = chunk;
  if (layout.mask !== 0) {
    const key = integer(b, "and", integer(b, "shr", row, layout.shift), layout.mask);
    column = integer(b, "xor", chunk, key);
  }
  return integer(b, "add", line, integer(b, "mul", column, chunkBytes));
}

export interface ReaderOptions {
  readonly layout: TileLayout;
  readonly pattern: MatrixPattern;
  readonly transposed: boolean;
  /** Lane of the warp. */
  readonly lane: Value;
  /** First row (a multiple of 8) and chunk (of a power of two that covers all steps) of the warp's part. */
  readonly row: Value | null;
  readonly chunk: Value | null;
  /** Address of the tile, or of the first of a ring of tiles, in shared memory. */
  readonly base: Value;
}

/** Reads four 8 × 8 matrices at a time from one tile of a ring. */
export class MatrixReader {
  readonly #b: PtxBuilder;
  readonly #options: ReaderOptions;
  /** A lane's address by the XOR of its chunk. */
  readonly #variants = new Map<number, Value>();

  /** Writes the lane's addresses for steps of up to `chunks` chunks to the current block. */
  constructor(b: PtxBuilder, options: ReaderOptions, chunks: number) {
    this.#b = b;
    this.#options = options;
    const { layout, base } = options;
    const place = this.#lanePlace();
    const offset = chunkAddress(b, layout, place.row, place.chunk);
    for (let chunk = 0; chunk < chunks; chunk += 2) {
      const { xor } = chunkStep(layout, chunk);
      if (!this.#variants.has(xor))
        this.#variants.set(xor, integer(b, "add", integer(b, "xor", offset, xor), base));
    }
  }

  #lanePlace(): { row: Value; chunk: Value } {
    const b = this.#b;
    const { pattern, lane, row, chunk } = this.#options;
    const place = {
      rows: () => ({ row: integer(b, "and", lane, 15), chunk: integer(b, "shr", lane, 4) }),
      columns: () => ({
        row: integer(
          b,
          "or",
          integer(b, "and", lane, 7),
          integer(b, "shl", integer(b, "shr", lane, 4), 3),
        ),
        chunk: integer(b, "and", integer(b, "shr", lane, 3), 1),
      }),
      deep: () => ({ row: integer(b, "and", lane, 7), chunk: integer(b, "shr", lane, 3) }),
    }[pattern]();
    return {
      row: row === null ? place.row : integer(b, "add", place.row, row),
      chunk: chunk === null ? place.chunk : integer(b, "add", place.chunk, chunk),
    };
  }

  /** Addresses for the tile `offset` bytes into the ring. */
  at(offset: Value | null): (row: number, chunk: number) => Value[] {
    const b = this.#b;
    const moved = new Map<number, Value>();
    return (row, chunk) => {
      const { layout, transposed } = this.#options;
      const { xor, add } = chunkStep(layout, chunk);
      const variant = this.#variants.get(xor);
      if (variant === undefined)
        throw bug(`a fragment reads chunk ${chunk}, which its reader did not prepare`);
      const base =
        moved.get(xor) ?? (offset === null ? variant : integer(b, "add", variant, offset));
      moved.set(xor, base);
      const registers = b.regs("u32", 4);
      const place = address(base, row * layout.stride * chunkBytes + add);
      b.line(matrixInstruction(4, transposed), vector(registers), place);
      return registers;
    };
  }
}

/** accumulators += a · b, in place. */
export function multiply(
  b: PtxBuilder,
  dtype: HalfType,
  acc: readonly Value[],
  a: readonly Value[],
  x: readonly Value[],
): void {
  b.line(multiplyInstruction[dtype], vector(acc), vector(a), vector(x), vector(acc));
}

/** Registers of f32 that start at zero. */
export function zeroed(b: PtxBuilder, count: number): Value[] {
  const registers = b.regs("f32", count);
  for (const register of registers) b.line("mov.f32", register, "0f00000000");
  return registers;
}

/** Adds to a 32-bit register in place. */
export function increase(b: PtxBuilder, register: Value, by: Value | number): void {
  b.line(binaryInstruction.add.s32!, register, register, by);
}

/** Moves a ring offset on by one tile of `bytes`, from `total` back to 0. */
export function turn(b: PtxBuilder, offset: Value, bytes: number, total: number): void {
  increase(b, offset, bytes);
  const end = b.op("setp.eq.s32", "pred", offset, total);
  b.line(`@${end.text} mov.b32`, offset, 0);
}
