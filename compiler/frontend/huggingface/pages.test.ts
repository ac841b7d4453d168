/** What an entry with paged caches computes: the evaluator's values, beside those of contiguous caches. */
import { describe, expect, it } from "vitest";
import { graphOf, random, randomTensor } from "../../../test/graphs.js";
import { FarrierError } from "../../errors.js";
import { cast, input, slice, state } from "../../ir/build.js";
import { cacheWrite } from "../../ir/build-anchor.js";
import { evaluateGraph } from "../../ir/evaluate.js";
import { GraphBuilder, type Graph } from "../../ir/graph.js";
import { tensor, type TensorValue } from "../../ir/tensor.js";
import { int } from "../../scalar/build.js";
import { blockTable, pagePool, Pages, type CacheLayout } from "./pages.js";

const [batch, heads, seq, size, capacity] = [2, 2, 3, 2, 8] as const;
const layout = { kind: "paged", pageSize: 3, tokens: 15 } as const;
const pool = pagePool(layout, { sequences: batch, capacity })!;

/** One cache of an entry, paged and contiguous, and all of its rows. */
function entry(): Graph {
  const g = new GraphBuilder();
  const value = input(g, "value", "f32", [batch, heads, seq, size]);
  const [lengths, counts] = [
    input(g, "lengths", "i32", [batch]),
    input(g, "counts", "i32", [batch]),
  ];
  const table = blockTable(g, int(batch), pool);
  const pages = new Pages(g, pool, { table, lengths, counts, batch: int(batch), seq: int(seq) });
  const paged = pages.update("paged", "f32", value);
  const initial = state(g, "whole", "f32", [batch, heads, capacity + seq, size]);
  const final = cacheWrite(g, initial, value, cast(g, lengths, "i64"));
  const whole = slice(g, final, { axis: 2, start: 0, end: capacity });
  return graphOf(g, { paged: paged.all, whole }, [paged.state, { name: "whole", initial, final }]);
}

const graph = entry();
const i32 = (shape: number[], values: number[]): TensorValue => tensor("i32", shape, values);

interface Run {
  readonly lengths: number[];
  readonly counts: number[];
  readonly table: number[];
}

function run({ lengths, counts, table }: Run, states?: ReadonlyMap<string, TensorValue>) {
  const value = randomTensor("f32", [batch, heads, seq, size], random(lengths[0]! + 1));
  const inputs = new Map([
    ["value", value],
    ["lengths", i32([batch], lengths)],
    ["counts", i32([batch], counts)],
    ["block_table", i32([batch, pool.perSequence], table)],
  ]);
  return evaluateGraph(graph, inputs, states === undefined ? {} : { states });
}

/** Values of the first `ends` positions of each sequence. */
function rowsOf(x: TensorValue, ends: readonly number[]): number[] {
  return Array.from(x.data, Number).filter((_, i) => {
    const position = Math.floor(i / size) % capacity;
    return position < ends[Math.floor(i / (heads * capacity * size))]!;
  });
}

describe("pages", () => {
  it("hold what contiguous caches hold, step after step", () => {
    const table = [4, 1, 3, 2, 0, -1];
    let { outputs, states } = run({
      lengths: [0, 0],
      counts: [3, 2],
      table: [4, -9, -1, 2, -1, -1],
    });
    expect(rowsOf(outputs.get("paged")!, [3, 2])).toEqual(rowsOf(outputs.get("whole")!, [3, 2]));
    ({ outputs, states } = run({ lengths: [3, 2], counts: [2 ** 31 - 1, 3], table }, states));
    expect(rowsOf(outputs.get("paged")!, [6, 5])).toEqual(rowsOf(outputs.get("whole")!, [6, 5]));
    ({ outputs } = run({ lengths: [6, 5], counts: [2, 1], table }, states));
    expect(rowsOf(outputs.get("paged")!, [8, 6])).toEqual(rowsOf(outputs.get("whole")!, [8, 6]));
  });

  it("are left alone by padding and by positions beyond the capacity", () => {
    const table = [0, 1, 2, 3, 4, -1];
    const before = run({ lengths: [0, 0], counts: [3, 3], table }).states;
    const after = run({ lengths: [8, 0], counts: [3, 0], table }, before).states;
    expect(after.get("paged")!.data).toEqual(before.get("paged")!.data);
  });

  it.each([5, -1, 2 ** 31 - 1, -(2 ** 31)])("refuse entry %i where a sequence needs one", (bad) => {
    const refused = (): unknown =>
      run({ lengths: [2, 0], counts: [2, 0], table: [0, bad, 0, 0, 0, 0] });
    expect(refused).toThrow(FarrierError);
    expect(refused).toThrow(/E_RT_INDEX|index/);
    run({ lengths: [2, 0], counts: [1, 0], table: [0, bad, bad, bad, bad, bad] });
  });
});

describe("a pool", () => {
  const profile = { sequences: 3, capacity: 100 };

  it("has room for each sequence's longest by default, in whole pages", () => {
    expect(pagePool({ kind: "contiguous" }, profile)).toBeNull();
    expect(pagePool({ kind: "paged" }, profile)).toEqual({
      pages: 6,
      rows: 64,
      capacity: 100,
      perSequence: 2,
    });
    expect(pagePool({ kind: "paged", pageSize: 7, tokens: 50 }, profile)).toMatchObject({
      pages: 8,
      perSequence: 15,
    });
  });

  it.each<[string, CacheLayout]>([
    ["--page-size", { kind: "paged", pageSize: 0 }],
    ["--page-size", { kind: "paged", pageSize: 2.5 }],
    ["--cache-tokens", { kind: "paged", tokens: -1 }],
    ["--cache-tokens", { kind: "paged", tokens: 2 ** 31 }],
    ["--cache-tokens", { kind: "paged", pageSize: 2 ** 31 - 1 }],
  ])("refuses a %s of no such size", (where, bad) => {
    expect(() => pagePool(bad, profile)).toThrow(
      expect.objectContaining({ code: "E_OPTION", place: { where } }),
    );
  });
});
