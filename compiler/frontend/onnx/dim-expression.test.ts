import { describe, expect, test } from "vitest";
import { printExpr } from "../../ir/print-expr.js";
import { sym } from "../../scalar/build.js";
import { dimExpression, isDimExpression } from "./dim-expression.js";
import { imported } from "./import.testing.js";
import { attr, node } from "./wire/encode.testing.js";

const symbol = (name: string) => sym({ name, space: "host", min: 1, max: 99, divisor: 1 });
const read = (text: string): string => printExpr(dimExpression(text, symbol, "here"));

describe("expressions of dimensions", () => {
  test.each(["past_length + length", "2*s0", "(a + b) // 2", "a.b - 1"])("%s is one", (text) => {
    expect(isDimExpression(text)).toBe(true);
  });

  test.each(["batch", "unk__12", "past, length", "12", "1+2", "a=b"])("%s is none", (text) => {
    expect(isDimExpression(text)).toBe(false);
  });

  test("binds as arithmetic does", () => {
    expect(read("a + 2*b")).toBe(read("(b * 2) + a"));
    expect(read("a - b - c")).toBe(read("a - (b + c)"));
    expect(read("(a + 1) / 2")).toBe(read("(1+a)//2"));
  });

  test.each(["a +", "(a", "a b", "+", ""])('"%s" is refused', (text) => {
    expect(() => read(text)).toThrow("E_DIM: here: ");
  });
});

describe("dimensions that follow from others", () => {
  const model = (total: string) => ({
    opset: 17,
    graph: {
      inputs: [
        { name: "past", type: "f32" as const, shape: ["p"] },
        { name: "fresh", type: "f32" as const, shape: ["s"] },
        { name: "mask", type: "f32" as const, shape: [total] },
      ],
      outputs: [{ name: "y", type: "f32" as const }],
      nodes: [
        node("Concat", ["past", "fresh"], ["whole"], { axis: attr.int(0) }),
        node("Add", ["whole", "mask"], ["y"]),
      ],
    },
  });
  const spans = { p: [0, 9], s: [1, 9] } as const;

  test("are read off their names", () => {
    const { entries, symbols } = imported(model("p + s"), { dims: spans });
    expect(symbols.map(({ name }) => name)).toEqual(["p", "s"]);
    expect(printExpr(entries[0]!.graph.outputs[0]!.node.shape[0]!)).toBe("p + s");
  });

  test("may be given", () => {
    const { symbols } = imported(model("total"), { dims: { ...spans, total: "s + p" } });
    expect(symbols.map(({ name }) => name)).toEqual(["p", "s"]);
  });

  test("say so where they differ", () => {
    const dims = { ...spans, total: [1, 18] as const };
    expect(() => imported(model("total"), { dims })).toThrow("E_BROADCAST");
  });

  test("name only dimensions with a range", () => {
    expect(() => imported(model("p + t"), { dims: spans })).toThrow(
      'E_DIM: dimension "p + t": "t": dimensions with a range are "p", "s"',
    );
  });
});
