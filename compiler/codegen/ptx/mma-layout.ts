/**
 * Where 16-byte chunks of a tile stand in shared memory, and which lane holds which element of a
 * fragment of `mma.sync.m16n8k16` and of `ldmatrix`. Pure arithmetic: the emitters turn it into
 * instructions, the tests prove it against the instructions' definition.
 */

/** Elements of a 16-bit type in a chunk: what one `cp.async` and one row of `ldmatrix` move. */
export const chunkElements = 8;
export const chunkBytes = 16;

/** A tile of `rows` rows of `chunks` chunks; chunk c of row r stands at `c ^ ((r >> shift) & mask)`. */
export interface TileLayout {
  readonly rows: number;
  readonly chunks: number;
  /** Chunks from one row to the next. */
  readonly stride: number;
  readonly shift: number;
  readonly mask: number;
}

/**
 * A layout in which eight consecutive rows of one chunk column fall into eight different bank
 * groups: by XOR where rows are a power of two or whole 128-byte lines, by an odd stride elsewhere.
 */
export function tileLayout(rows: number, chunks: number): TileLayout {
  if (chunks % 8 === 0) return { rows, chunks, stride: chunks, shift: 0, mask: 7 };
  if (chunks === 4) return { rows, chunks, stride: 4, shift: 1, mask: 3 };
  if (chunks === 2) return { rows, chunks, stride: 2, shift: 2, mask: 1 };
  return { rows, chunks, stride: chunks | 1, shift: 0, mask: 0 };
}

/** Bytes of the tile, rounded up so that the next tile keeps bits 0..6 of its addresses zero. */
export const tileBytes = (layout: TileLayout): number =>
  Math.ceil((layout.rows * layout.stride * chunkBytes) / 128) * 128;

export function chunkOffset(layout: TileLayout, row: number, chunk: number): number {
  return (row * layout.stride + (chunk ^ ((row >> layout.shift) & layout.mask))) * chunkBytes;
}

/** How the threads of a block copy a tile: each takes chunks `step * perRow` apart in rows `pass * rows` apart. */
export interface CopyPlan {
  /** Neighbouring threads that share a row. */
  readonly perRow: number;
  /** Rows between two passes: a multiple of 8, so that the swizzle of a thread never changes. */
  readonly rowsPerPass: number;
  readonly passes: number;
  /** Chunks that a thread takes in each row. */
  readonly steps: number;
}

export function copyPlan(layout: TileLayout, threads: number): CopyPlan {
  let perRow = 1;
  while (perRow < 8 && layout.chunks % (perRow * 2) === 0) perRow *= 2;
  const rowsPerPass = threads / perRow;
  return {
    perRow,
    rowsPerPass,
    passes: Math.ceil(layout.rows / rowsPerPass),
    steps: layout.chunks / perRow,
  };
}

/**
 * The row and chunk (of the 16 × 16, 8 × 32 or 16-row patch) whose address each lane gives to
 * `ldmatrix.x4`. `rows`: A as [m][k], and B as [k][n] with `.trans`; result registers are
 * a0 … a3, or (with `.trans`) b0 b1 of columns 0..7 and b0 b1 of columns 8..15. `columns`: B as
 * [n][k]; registers are b0 b1 of columns 0..7, b0 b1 of columns 8..15. `deep`: B as [n][k] of only 8
 * columns; registers are b0 b1 of the first k16 step, b0 b1 of the second.
 */
export type MatrixPattern = "rows" | "columns" | "deep";

export interface LaneChunk {
  readonly row: number;
  readonly chunk: number;
}

export function matrixLane(pattern: MatrixPattern, lane: number): LaneChunk {
  switch (pattern) {
    case "rows":
      return { row: lane & 15, chunk: lane >> 4 };
    case "columns":
      return { row: (lane & 7) | ((lane >> 4) << 3), chunk: (lane >> 3) & 1 };
    case "deep":
      return { row: lane & 7, chunk: lane >> 3 };
  }
}

/** (row, column) of accumulator `index` of lane `lane` in the 16 × 8 tile. */
export function accumulatorElement(lane: number, index: number): { row: number; column: number } {
  return { row: (lane >> 2) + (index >> 1) * 8, column: (lane & 3) * 2 + (index & 1) };
}

/** (row, k) of half `half` of register `index` of A (16 × 16) in lane `lane`. */
export function aElement(lane: number, index: number, half: number): { row: number; k: number } {
  return { row: (lane >> 2) + (index & 1) * 8, k: (lane & 3) * 2 + (index >> 1) * 8 + half };
}

/** (k, column) of half `half` of register `index` of B (16 × 8) in lane `lane`. */
export function bElement(lane: number, index: number, half: number): { k: number; column: number } {
  return { k: (lane & 3) * 2 + index * 8 + half, column: lane >> 2 };
}

/**
 * Moving `chunk` chunks (an even number) along a row from a lane's first address: XOR on the low
 * bits, which may be done once a tile, and a plain addition that fits an instruction's immediate.
 */
export function chunkStep(layout: TileLayout, chunk: number): { xor: number; add: number } {
  if (layout.mask === 0) return { xor: 0, add: chunk * chunkBytes };
  const low = chunk & layout.mask;
  return { xor: low * chunkBytes, add: (chunk - low) * chunkBytes };
}

/**
 * Words of a staged row of f32 accumulators (`columns` is a multiple of 8): 8 or 24 modulo 32, so
 * that the 64-bit stores of a fragment meet no bank twice.
 */
export const stagedStride = (columns: number): number =>
  columns % 16 === 0 ? columns + 8 : columns;
