/** Paged caches on a CPU: the bits of contiguous ones, wherever a table says that the pages are. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, PageAllocator, pageLayoutOf } from "../../runtime/node/index.js";
import type { Model, State } from "../../runtime/node/index.js";
import { bundleOf, fixture, loaded } from "../support.js";

const dims = { batch: [1, 3], seq: [1, 60] } as const;
/** Positions of the pool: fewer than three sequences of the full length have. */
const tokens = 130;

const prompts = [17, 1, 8, 40, 3].map((length, at) =>
  Array.from({ length }, (_, i) => (31 * at + 7 * i) % 250),
);

interface Rows {
  readonly ids: readonly (readonly number[])[];
  readonly past: readonly number[];
  readonly counts?: readonly number[];
  readonly table?: readonly (readonly number[])[];
}

/** Logits of each row. */
async function step(
  model: Model,
  state: State,
  entry: string,
  rows: Rows,
): Promise<Float64Array[]> {
  const { ids, past, counts, table } = rows;
  const { logits } = await model.run(
    {
      input_ids: ids,
      lengths: past,
      ...(counts && { counts }),
      ...(table && { block_table: table }),
    },
    { entry, state },
  );
  const all = logits!.toFloat64();
  const width = all.length / ids.length;
  return ids.map((_, row) => all.subarray(row * width, (row + 1) * width));
}

const none = (count: number): number[] => Array<number>(count).fill(-1);

describe.each([
  ["gpt2", 7],
  ["llama", 16],
  ["deepseek_v2", 12],
] as const)("%s in pages of %i", (name, pageSize) => {
  let [whole, paged]: Model[] = [];
  beforeAll(async () => {
    const options = { dtype: "f32", dims } as const;
    const cache = { kind: "paged", pageSize, tokens } as const;
    whole = await loaded(await bundleOf(fixture(name, "hf"), options));
    paged = await loaded(await bundleOf(fixture(name, "hf"), { ...options, cache }));
  }, 240_000);
  afterAll(async () => {
    await whole?.close();
    await paged?.close();
  });

  /** Logits of one prompt and the steps after it, in a state of its own. */
  async function alone(prompt: readonly number[], next: readonly number[]) {
    const state = whole!.createState();
    let [row] = await step(whole!, state, "prefill", { ids: [prompt], past: [0] });
    const rows = [row!];
    for (const [i, id] of next.entries()) {
      [row] = await step(whole!, state, "decode", { ids: [[id]], past: [prompt.length + i] });
      rows.push(row!);
    }
    state.close();
    return rows;
  }

  it("has a pool of whole pages, and a table wide enough for any sequence", () => {
    expect(pageLayoutOf(whole!)).toBeNull();
    const perSequence = Math.ceil(60 / pageSize);
    const pages = Math.ceil(tokens / pageSize);
    expect(pageLayoutOf(paged!)).toEqual({ pages, pageSize, perSequence });
    const inputs = paged!.entry("decode").inputs;
    expect(inputs.find((each) => each.name === "block_table")).toMatchObject({
      dtype: "i32",
      shape: ["batch", perSequence],
    });
  });

  it("generates what contiguous caches do, for prompts of different lengths", async () => {
    const options = { maxNewTokens: 20, stop: [] };
    const expected = await generate(whole!, prompts, options);
    expect(await generate(paged!, prompts, options)).toEqual(expected);
  });

  it("gives the bits of each prompt alone: pages in any order, rows without a sequence, pages used again", async () => {
    const { pages, perSequence } = pageLayoutOf(paged!)!;
    const shuffled = Array.from({ length: pages }, (_, i) => (i * 5 + 3) % pages);
    expect(new Set(shuffled).size).toBe(pages);
    const state = paged!.createState();
    const take = (count: number): number[] => shuffled.splice(0, count);
    const row = (own: readonly number[]): number[] => [...own, ...none(perSequence - own.length)];
    const [first, second, next] = [prompts[0]!, prompts[1]!, [9, 8, 7]];
    const expected = await Promise.all([alone(first, next), alone(second, next)]);
    const own = [take(Math.ceil(20 / pageSize)), take(1)];
    const table = [row(own[0]!), none(perSequence), row(own[1]!)];
    const ids = [first, [], second].map((each) => [
      ...each,
      ...Array<number>(17 - each.length).fill(0),
    ]);
    let rows = await step(paged!, state, "prefill", {
      ids,
      past: [0, 0, 0],
      counts: [17, 0, 1],
      table,
    });
    expect([rows[0], rows[2]]).toEqual([expected[0][0], expected[1][0]]);
    for (const [i, id] of next.entries()) {
      const past = [17 + i, 0, 1 + i];
      rows = await step(paged!, state, "decode", {
        ids: [[id], [0], [id]],
        past,
        counts: [1, 0, 1],
        table,
      });
      expect([rows[0], rows[2]]).toEqual([expected[0][i + 1], expected[1][i + 1]]);
    }
    // The first sequence ends: its pages go to another, last to first.
    const third = prompts[2]!;
    const reused = row([...own[0]!].reverse());
    const after = { ids: [third], past: [0], table: [reused] };
    expect(await step(paged!, state, "prefill", after)).toEqual([(await alone(third, []))[0]]);
    state.close();
  });

  it("lets sequences share the pages of a common beginning", async () => {
    const { perSequence } = pageLayoutOf(paged!)!;
    const state = paged!.createState();
    const common = prompts[3]!.slice(0, pageSize);
    const table = [0, 1].map((at) => [0, at + 1, ...none(perSequence - 2)]);
    await step(paged!, state, "prefill", { ids: [common], past: [0], table: [table[0]!] });
    const ends = [
      [1, 2, 3],
      [4, 5, 6],
    ];
    const past = [pageSize, pageSize];
    const rows = await step(paged!, state, "prefill", { ids: ends, past, table });
    const expected = await Promise.all(ends.map((end) => alone([...common, ...end], [])));
    for (const [i, row] of rows.entries())
      expect(row.indexOf(Math.max(...row))).toBe(
        expected[i]![0]!.indexOf(Math.max(...expected[i]![0]!)),
      );
    state.close();
  });

  it.each([
    ["beyond the pool", (pages: number): number => pages],
    ["far beyond", (): number => 2 ** 31 - 1],
    ["of no page", (): number => -1],
  ])("refuses an entry %s that a sequence needs", async (_, entry) => {
    const { pages, perSequence } = pageLayoutOf(paged!)!;
    const state = paged!.createState();
    const table = [[entry(pages), ...none(perSequence - 1)]];
    await expect(
      step(paged!, state, "prefill", { ids: [[1, 2]], past: [0], table }),
    ).rejects.toThrow(/^E_RT_INDEX/);
    // Beyond the last id nothing is looked at.
    const good = [[0, ...Array<number>(perSequence - 1).fill(entry(pages))]];
    await step(paged!, state, "prefill", { ids: [[1, 2]], past: [0], table: good });
    state.close();
  });
});

describe("pages of sequences", () => {
  const layout = { pages: 5, pageSize: 4, perSequence: 3 };

  it("are taken as sequences grow and given back when they end", () => {
    const pages = new PageAllocator(layout);
    pages.grow(0, 1);
    pages.grow(7, 9);
    pages.grow(0, 4);
    expect(pages.table([0, 1, 7])).toEqual([
      [0, -1, -1],
      [-1, -1, -1],
      [1, 2, 3],
    ]);
    pages.grow(0, 5);
    expect(pages.free).toBe(0);
    pages.release(7);
    pages.release(7);
    expect(pages.free).toBe(3);
    pages.grow(1, 12);
    expect(pages.table([1])).toEqual([[1, 2, 3]]);
  });

  it("are refused, and none taken, where too few are free", () => {
    const pages = new PageAllocator(layout);
    pages.grow(0, 12);
    expect(() => pages.grow(1, 9)).toThrow(/^E_RT_OOM: sequence 1 needs 3 pages .* 2 are free/);
    expect(pages.free).toBe(2);
    expect(() => pages.grow(0, 13)).toThrow(/^E_RT_INDEX: sequence 0 has 13 positions/);
  });
});
