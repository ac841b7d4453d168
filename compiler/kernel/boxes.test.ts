import { describe, expect, it } from "vitest";
import { input } from "../ir/build.js";
import { GraphBuilder } from "../ir/graph.js";
import { add, coord, int, load, mul, sym } from "../scalar/build.js";
import { rangeOf } from "../scalar/range.js";
import { boxesOf, joinedBoxes, narrowedDesc, narrowing, symbolsOf, type Box } from "./boxes.js";
import type { MapDesc } from "./desc.js";

const symbol = (name: string, min: number, max: number): ReturnType<typeof sym> =>
  sym({ name, space: "host", min, max, divisor: 1 });
const [b, s] = [symbol("b", 1, 8), symbol("s", 1, 100)];
const g = new GraphBuilder();
const x = input(g, "x", "f32", [b, mul(int(2), s), 3]);
const graph = { builder: g, inputs: [x], outputs: [{ name: "y", node: x }], states: [] };
const symbols = symbolsOf(graph);
const splits = (): readonly number[] => [1, 16, 128];

const inside = (box: Box, values: Readonly<Record<string, number>>): boolean =>
  Object.entries(box).every(([name, [min, max]]) => min <= values[name]! && values[name]! <= max);

describe("boxes", () => {
  it("are cut where the splits say, and hold every value once", () => {
    const boxes = boxesOf(symbols, splits);
    expect(boxes.map((box) => [box["b"], box["s"]])).toEqual(
      [[1, 1] as const, [2, 8] as const].flatMap((each) =>
        [[1, 1] as const, [2, 16] as const, [17, 100] as const].map((other) => [each, other]),
      ),
    );
    for (let i = 1; i <= 8; i++)
      for (let j = 1; j <= 100; j++)
        expect(boxes.filter((box) => inside(box, { b: i, s: j })).length).toBe(1);
  });

  it("are joined where neighbours are of a kind", () => {
    const boxes = boxesOf(symbols, splits);
    const joined = (kind: (box: Box) => string): Box[] =>
      joinedBoxes(symbols, boxes, kind).map(({ box }) => box);
    expect(joined(() => "all")).toEqual([{ b: [1, 8], s: [1, 100] }]);
    expect(joined((box) => String(box["s"]![1] > 16))).toEqual([
      { b: [1, 8], s: [1, 16] },
      { b: [1, 8], s: [17, 100] },
    ]);
    // The same kind on both sides of another.
    const [first, second, third] = joined((box) => String(box["s"]![0] === 2));
    expect([first, second, third].map((box) => box!["s"])).toEqual([
      [1, 1],
      [2, 16],
      [17, 100],
    ]);
    const { like } = joinedBoxes(symbols, boxes, () => "all")[0]!;
    expect(like).toEqual({ b: [2, 8], s: [17, 100] });
  });

  it("narrow descriptions", () => {
    const [i, extent] = [coord("i", mul(b, s)), mul(b, s)];
    const desc: MapDesc = {
      family: "map",
      label: "m",
      operands: [{ name: "x", dtype: "f32", access: "read", elements: extent }],
      coords: [i],
      extents: [extent],
      stores: [{ operand: "x", offset: add(i, s), value: load("x", i, "f32"), guard: null }],
    };
    const narrow = narrowing(symbols, { b: [2, 8], s: [17, 100] });
    const made = narrowedDesc(desc, narrow.symbols);
    expect(rangeOf(made.extents[0]!)).toEqual({ min: 34, max: 800 });
    expect(rangeOf(made.stores[0]!.offset)).toEqual({ min: 17, max: 899 });
    expect(made.stores[0]!.guard).toBeNull();
    expect(narrowedDesc(desc, new Map())).toEqual(desc);
  });
});
