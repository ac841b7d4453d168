import { expect, it } from "vitest";
import type { Operand } from "../../kernel/desc.js";
import { constant, coord, int, load, lt, select, sym, unary } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { CEmitter } from "./emitter.js";

const N = sym({ name: "n", space: "host", min: 1, max: 64, divisor: 1 });
const n = coord("n", N);
const operand = (name: string, access: Operand["access"]): Operand => ({
  name,
  dtype: "f32",
  access,
  elements: N,
});
const x = load("x", n, "f32");

/** The statements that store `value` for each n. */
function stored(value: Expr): string {
  const emitter = new CEmitter([operand("x", "read"), operand("z", "read"), operand("y", "write")]);
  const block = emitter.block(emitter.root, [[n, "n"]]);
  emitter.stores([{ operand: "y", offset: n, value, guard: null }], block);
  return block.lines.join("\n");
}

const branches = (text: string): number => text.split("if (").length - 1;
const exponentials = (text: string): number => text.split("1.4426950216293335f").length - 1;

it("computes what both arms of an approximation share once, without a branch", () => {
  const text = stored(unary("erf", x));
  expect(branches(text)).toBe(0);
  expect(exponentials(text)).toBe(1);
});

it("needs no branch for arms that read what is read in any case, however deep", () => {
  const inner = select(lt(x, constant(2, "f32")), unary("exp", x), unary("sqrt", x));
  expect(branches(stored(select(lt(x, constant(1, "f32")), inner, x)))).toBe(0);
});

it("reads in an arm what nothing else reads", () => {
  const other = load("z", n, "f32");
  const text = stored(select(lt(n, int(3)), other, unary("sqrt", x)));
  expect(branches(text)).toBe(1);
});
