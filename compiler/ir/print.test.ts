import { describe, expect, it } from "vitest";
import {
  add,
  cast,
  ceilDiv,
  constant,
  coord,
  div,
  int,
  le,
  load,
  mod,
  mul,
  not,
  param,
  select,
  sub,
  sym,
  unary,
} from "../scalar/build.js";
import { scalarFunction } from "../scalar/table.js";
import { graphOf } from "../../test/graphs.js";
import * as b from "./build.js";
import { attention, cacheWrite, matmul } from "./build-anchor.js";
import { GraphBuilder } from "./graph.js";
import { printExpr } from "./print-expr.js";
import { printGraph, printNode } from "./print.js";

const seq = sym({ name: "seq", space: "host", min: 1, max: 1024, divisor: 1 });
const past = sym({ name: "past", space: "device", min: 0, max: 1024, divisor: 1 });

describe("printExpr", () => {
  const x = param("x", "f32");
  const y = param("y", "f32");
  it.each([
    [add(seq, int(-1)), "seq - 1"],
    [mul(add(seq, past), int(4)), "4*past + 4*seq"],
    [sub(past, mul(seq, int(3))), "past - 3*seq"],
    [sub(seq, past), "seq - past"],
    [mul(seq, past), "past*seq"],
    [ceilDiv(seq, int(16)), "(seq + 15) / 16"],
    [mod(seq, int(2)), "seq % 2"],
    [div(x, add(x, y)), "x / (x + y)"],
    [sub(x, sub(y, x)), "x - (y - x)"],
    [mul(add(x, y), x), "(x + y) * x"],
    [unary("neg", add(x, y)), "-(x + y)"],
    [not(le(x, y)), "!(x <= y)"],
    [unary("exp", x), "exp(x)"],
    [cast(x, "bf16"), "bf16(x)"],
    [constant(1, "f32"), "1.0"],
    [load("w", coord("i", seq), "f32"), "w[i]"],
    [select(le(x, y), x, constant(-Infinity, "f32")), "x <= y ? x : -Infinity"],
    [add(select(le(x, y), x, y), y), "(x <= y ? x : y) + y"],
  ])("%#: $1", (expr, text) => {
    expect(printExpr(expr)).toBe(text);
  });

  it("cuts what sharing makes exponentially long", () => {
    let deep = x;
    for (let i = 0; i < 2000; i++) deep = add(deep, deep);
    expect(printExpr(deep).length).toBeLessThan(10_000);
  });
});

describe("printGraph", () => {
  it("reads like the computation", () => {
    const g = new GraphBuilder();
    const f = scalarFunction;
    const x = b.input(g, "x", "f32", [1, seq, 8]);
    const w = b.constant(
      g,
      { kind: "file", file: "model.safetensors", offset: 0, bytes: 256, tensor: "h.0.w" },
      "f32",
      [8, 8],
    );
    g.name(w, "h.0.w");
    const h = b.map(g, f("add"), [
      matmul(g, b.normalize(g, x, "layer", 1e-5), w),
      b.literal(g, "f32", [8], [0, 1, 0.1, -2, 3, 4, 5, 6]),
    ]);
    g.name(h, "/h.0/Add output");
    const q = b.transpose(g, b.reshape(g, h, [1, seq, 2, 4]), [0, 2, 1, 3]);
    const cache = b.state(g, "k", "f32", [1, 2, 64, 4]);
    const written = cacheWrite(g, cache, q, b.reshape(g, b.dim(g, past), [1]));
    const causal = le(param("k", "i64"), add(param("q", "i64"), past));
    const score = select(causal, param("score", "f32"), constant(-Infinity, "f32"));
    const y = attention(g, q, written, written, { scale: 0.5, score });
    const last = b.slice(g, y, { axis: 2, start: add(seq, int(-1)), end: seq });
    const out = b.map(g, f("mul"), [b.cast(g, last, "bf16"), b.constantScalar(g, "bf16", 0.3)]);
    const states = [{ name: "k", initial: cache, final: written }];
    const graph = graphOf(g, { out, max: b.reduce(g, "max", h, [1, 2]) }, states);
    expect("\n" + printGraph(graph)).toMatchInlineSnapshot(`
      "
      %x: f32[1, seq, 8] = input("x")
      %0: f32[1, seq, 8] = normalize layer(%x, epsilon=0.00001)
      %h.0.w: f32[8, 8] = constant("h.0.w", file=model.safetensors)
      %1: f32[1, 8, 8] = broadcast(%h.0.w)
      %2: f32[1, seq, 8] = matmul(%0, %1)
      %3: f32[8] = constant([0.0, 1.0, 0.1, -2.0, 3.0, 4.0, 5.0, 6.0])
      %4: f32[1, seq, 8] = broadcast(%3)
      %"/h.0/Add output": f32[1, seq, 8] = map add(%2, %4)
      %5: f32[1, seq, 2, 4] = reshape(%"/h.0/Add output")
      %6: f32[1, 2, seq, 4] = transpose(%5, perm=[0, 2, 1, 3])
      %k: f32[1, 2, 64, 4] = state("k")
      %7: i64[] = dim(past)
      %8: i64[1] = reshape(%7)
      %9: f32[1, 2, 64, 4] = cache_write(%k, %6, %8)
      %10: f32[1, 2, seq, 4] = attention(%6, %9, %9, scale=0.5, score=k <= past + q ? score : -Infinity)
      %11: f32[1, 2, 1, 4] = slice(%10, starts=[0, 0, seq - 1, 0])
      %12: bf16[1, 2, 1, 4] = cast(%11)
      %13: bf16[1, 2, 1, 4] = map mul(%12, 0.30078125:bf16)
      %14: f32[1, 1, 1] = reduce max(%"/h.0/Add output", axes=[1, 2])
      state "k": %k -> %9
      output "out": %13
      output "max": %14
      "
    `);
    expect(printNode(g, h)).toMatchInlineSnapshot(
      `"%"/h.0/Add output": f32[1, seq, 8] = map add(%#5, %#7)"`,
    );
  });

  it("tells values of one name apart, and keeps numbers off names", () => {
    const g = new GraphBuilder();
    const x = b.input(g, "x", "f32", [2]);
    const e = b.map(g, scalarFunction("exp"), [x]);
    const s = b.map(g, scalarFunction("sqrt"), [x]);
    g.name(e, "0");
    g.name(s, "0");
    const out = b.map(g, scalarFunction("add"), [e, s]);
    expect("\n" + printGraph(graphOf(g, { out }))).toMatchInlineSnapshot(`
      "
      %x: f32[2] = input("x")
      %0: f32[2] = map exp(%x)
      %0.1: f32[2] = map sqrt(%x)
      %1: f32[2] = map add(%0, %0.1)
      output "out": %1
      "
    `);
  });

  it("is the same for the same graph built in another order", () => {
    const text = (first: "exp" | "sqrt"): string => {
      const g = new GraphBuilder();
      const x = b.input(g, "x", "f32", [2]);
      b.map(g, scalarFunction(first), [x]);
      const e = b.map(g, scalarFunction("exp"), [x]);
      const out = b.map(g, scalarFunction("add"), [e, b.map(g, scalarFunction("sqrt"), [x])]);
      return printGraph(graphOf(g, { out }));
    };
    expect(text("sqrt")).toBe(text("exp"));
  });
});
