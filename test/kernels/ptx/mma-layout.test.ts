import { describe, expect, test } from "vitest";
import {
  aElement,
  accumulatorElement,
  bElement,
  chunkOffset,
  chunkStep,
  copyPlan,
  matrixLane,
  stagedStride,
  tileBytes,
  tileLayout,
} from "../../../compiler/codegen/ptx/mma-layout.js";

const chunkCounts = [1, 2, 4, 5, 6, 8, 9, 10, 12, 16, 24, 32];
const lanes = Array.from({ length: 32 }, (_, lane) => lane);

/** What ldmatrix defines: lane l of matrix i gets elements (l / 4, 2 (l % 4) + half), or with `.trans` the mirror. */
function ldmatrixElement(
  lane: number,
  half: number,
  trans: boolean,
): { row: number; column: number } {
  const [slow, fast] = [lane >> 2, (lane & 3) * 2 + half];
  return trans ? { row: fast, column: slow } : { row: slow, column: fast };
}

describe("shared-memory layout of tiles", () => {
  test.each(chunkCounts)("rows of %i chunks: every chunk has its own place", (chunks) => {
    const layout = tileLayout(40, chunks);
    const places = new Set<number>();
    for (let row = 0; row < 40; row++)
      for (let c = 0; c < chunks; c++) places.add(chunkOffset(layout, row, c));
    expect(places.size).toBe(40 * chunks);
    expect(Math.max(...places)).toBeLessThan(tileBytes(layout));
  });

  test.each(chunkCounts)(
    "rows of %i chunks: eight rows of one chunk column meet eight bank groups",
    (chunks) => {
      const layout = tileLayout(32, chunks);
      for (let first = 0; first < 32; first += 8)
        for (let c = 0; c < chunks; c++) {
          const groups = new Set(
            lanes.slice(0, 8).map((row) => (chunkOffset(layout, first + row, c) >> 4) & 7),
          );
          expect(groups.size).toBe(8);
        }
    },
  );

  test.each(chunkCounts)(
    "rows of %i chunks: a lane steps along its row by XOR and addition",
    (chunks) => {
      const layout = tileLayout(32, chunks);
      for (const lane of lanes)
        for (let chunk = 0; chunk + 1 < chunks; chunk += 2) {
          const { row, chunk: first } = matrixLane("rows", lane);
          const { xor, add } = chunkStep(layout, chunk);
          expect((chunkOffset(layout, row, first) ^ xor) + add).toBe(
            chunkOffset(layout, row, first + chunk),
          );
        }
    },
  );

  test.each([64, 128, 256, 512])("%i threads copy every chunk of a tile once", (threads) => {
    for (const chunks of chunkCounts)
      for (const rows of [8, 16, 48, 128]) {
        const plan = copyPlan(tileLayout(rows, chunks), threads);
        expect(plan.rowsPerPass % 8).toBe(0);
        const seen = new Set<string>();
        for (let t = 0; t < threads; t++)
          for (let pass = 0; pass < plan.passes; pass++)
            for (let step = 0; step < plan.steps; step++) {
              const row = Math.floor(t / plan.perRow) + pass * plan.rowsPerPass;
              if (row < rows) seen.add(`${row},${(t % plan.perRow) + step * plan.perRow}`);
            }
        expect(seen.size).toBe(rows * chunks);
      }
  });
});

describe("fragments", () => {
  test("`rows` gives the A fragment, and with .trans two B fragments of [k][n]", () => {
    for (const lane of lanes)
      for (let matrix = 0; matrix < 4; matrix++)
        for (const half of [0, 1]) {
          const plain = ldmatrixElement(lane, half, false);
          const source = matrixLane("rows", matrix * 8 + plain.row);
          expect({ row: source.row, k: source.chunk * 8 + plain.column }).toEqual(
            aElement(lane, matrix, half),
          );
          const mirror = ldmatrixElement(lane, half, true);
          const from = matrixLane("rows", matrix * 8 + mirror.row);
          const want = bElement(lane, matrix & 1, half);
          expect({ k: from.row, column: from.chunk * 8 + mirror.column }).toEqual({
            k: want.k,
            column: want.column + (matrix >> 1) * 8,
          });
        }
  });

  test("`columns` gives two B fragments of [n][k], `deep` two k16 steps of one", () => {
    for (const lane of lanes)
      for (let matrix = 0; matrix < 4; matrix++)
        for (const half of [0, 1]) {
          const { row, column } = ldmatrixElement(lane, half, false);
          const want = bElement(lane, matrix & 1, half);
          const wide = matrixLane("columns", matrix * 8 + row);
          expect({ k: wide.chunk * 8 + column, column: wide.row }).toEqual({
            k: want.k,
            column: want.column + (matrix >> 1) * 8,
          });
          const deep = matrixLane("deep", matrix * 8 + row);
          expect({ k: deep.chunk * 8 + column, column: deep.row }).toEqual({
            k: want.k + (matrix >> 1) * 16,
            column: want.column,
          });
        }
  });

  test("accumulators of two neighbouring 16×8 tiles are the A fragment of a 16×16 one", () => {
    for (const lane of lanes)
      for (let index = 0; index < 4; index++)
        for (const half of [0, 1]) {
          const { row, column } = accumulatorElement(lane, (index & 1) * 2 + half);
          expect({ row, k: column + (index >> 1) * 8 }).toEqual(aElement(lane, index, half));
        }
  });

  test("staging accumulators: a half warp's 64-bit stores meet 32 different banks", () => {
    for (let columns = 8; columns <= 256; columns += 8)
      for (const first of [0, 16]) {
        const stride = stagedStride(columns);
        expect(stride).toBeGreaterThanOrEqual(columns);
        const banks = lanes.slice(first, first + 16).map((lane) => {
          const { row, column } = accumulatorElement(lane, 0);
          return (row * stride + column) % 32;
        });
        expect(new Set(banks).size).toBe(16);
      }
  });
});
