import { describe, expect, it } from "vitest";
import {
  add,
  and,
  cast,
  check,
  constant,
  coord,
  div,
  int,
  load,
  lt,
  mod,
  mul,
  param,
  select,
  sub,
  sym,
  unary,
} from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import type { Operand } from "../../kernel/desc.js";
import { targetNamed } from "../../kernel/target.js";
import { Scope } from "./expr.js";
import { PtxKernel } from "./kernel.js";
import { emitStores } from "./memory.js";

const rows = sym({ name: "rows", space: "host", min: 1, max: 64, divisor: 1 });
const i = coord("i", rows);
const j = coord("j", int(64));
const operand = (
  name: string,
  dtype: Operand["dtype"],
  access: Operand["access"] = "read",
): Operand => ({
  name,
  dtype,
  access,
  elements: int(4096),
});

/** Text of a body with `j` in `lanes` lanes inside a loop over `i`'s rows. */
function emit(operands: Operand[], value: Expr, lanes = 1): { row: string; element: string } {
  const kernel = new PtxKernel([...operands, operand("y", "f32", "write")], targetNamed("sm_80"));
  const row = kernel.section();
  const element = kernel.section();
  const outer = Scope.root(kernel).child({ block: row });
  outer.bind(i, kernel.special("%ctaid.x"));
  const inner = outer.child({ block: element, lanes });
  inner.bind(j, kernel.special("%tid.x"), { step: 1, multiple: lanes });
  emitStores(inner, [{ operand: "y", offset: add(mul(i, int(64)), j), value, guard: null }]);
  return { row: row.lines().join("\n"), element: element.lines().join("\n") };
}

const count = (text: string, pattern: RegExp): number =>
  [...text.matchAll(new RegExp(pattern, "g"))].length;

describe("Scope", () => {
  it("loads what all lanes share where any of them takes the arm that reads it", () => {
    const chosen = load("chosen", add(mul(i, int(63)), j), "bool");
    const shared = load("shared", i, "f32");
    const operands = [operand("chosen", "bool"), operand("shared", "f32"), operand("x", "f32")];
    const { element } = emit(operands, select(chosen, shared, load("x", j, "f32")), 4);
    expect(count(element, /or\.pred/)).toBe(3);
    const any = /or\.pred (%p\d+), [^\n]*\n(?!.*or\.pred)/s.exec(element)?.[1];
    expect(element).toContain(`@${any} ld.global.nc.f32`);
    expect(count(element, new RegExp(`@${any} ld`))).toBe(1);
  });

  it("computes what depends on the row alone before the elements, once", () => {
    const scale = unary("sqrt", load("scale", i, "f32"));
    const { row, element } = emit(
      [operand("scale", "f32"), operand("x", "f32")],
      mul(scale, load("x", j, "f32")),
      4,
    );
    expect(row).toContain("sqrt.rn.f32");
    expect(element).not.toContain("sqrt");
    expect(count(row, /ld\.global/)).toBe(1);
  });

  it("loads and stores consecutive lanes together where they are aligned", () => {
    const x = load("x", add(mul(i, int(64)), j), "f32");
    expect(emit([operand("x", "f32")], x, 4).element).toContain("ld.global.nc.v4.f32");
    const odd = load("x", add(mul(i, int(63)), j), "f32");
    expect(count(emit([operand("x", "f32")], odd, 4).element, /ld\.global\.nc\.f32/)).toBe(4);
  });

  it("loads 16-bit lanes as words and widens bf16 by shifting", () => {
    const { element } = emit([operand("x", "bf16")], cast(load("x", j, "bf16"), "f32"), 8);
    expect(element).toContain("ld.global.nc.v4.b32");
    expect(count(element, /shl\.b32 [^;]*, 16;/)).toBe(4);
    expect(count(element, /0xffff0000/)).toBe(4);
  });

  it("loads in an arm only where the arm is taken", () => {
    const left = load("x", j, "f32");
    const right = load("x", sub(j, int(32)), "f32");
    const { element } = emit([operand("x", "f32")], select(lt(j, int(32)), left, right), 4);
    expect(count(element, /@%p\d+ ld\.global\.nc\.v4\.f32/)).toBe(2);
    expect(count(element, /^ld\.global/)).toBe(0);
  });

  it("loads once what both arms need", () => {
    const x = load("x", j, "f32");
    const { element } = emit(
      [operand("x", "f32")],
      select(lt(j, int(32)), unary("sqrt", x), unary("neg", x)),
      4,
    );
    expect(count(element, /ld\.global/)).toBe(1);
  });

  it("reports a failed check and reads element 0", () => {
    const status: Operand = { name: "status", dtype: "i64", access: "readwrite", elements: int(1) };
    const index = check(load("ids", j, "i64"), int(10), 7);
    const { element } = emit(
      [operand("ids", "i64"), operand("x", "f32"), status],
      load("x", index, "f32"),
    );
    expect(element).toMatch(/setp\.lt\.u64/);
    expect(element).toMatch(/add\.s64 %d\d+, %d\d+, 8246337208320;\n@%p\d+ st\.global\.b64/);
  });

  it("divides non-negative indices without fixing signs, and a power of two by shifting", () => {
    const flat = add(mul(i, int(64)), j);
    const { element } = emit(
      [operand("x", "f32")],
      load("x", add(mod(flat, int(48)), div(flat, int(32))), "f32"),
    );
    expect(element).toMatch(/rem\.u32|shr\.u32/);
    expect(element).not.toMatch(/xor/);
  });

  it("keeps separate what stays separate: sums are not contracted, fma is", () => {
    const a = param("a", "f32");
    const kernel = new PtxKernel([], targetNamed("sm_80"));
    const scope = Scope.root(kernel).child({ block: kernel.section() });
    scope.bind(a, kernel.b.reg("f32"));
    scope.value(add(mul(a, a), constant(1, "f32")));
    const text = scope.block.lines().join("\n");
    expect(text).toContain("mul.rn.f32");
    expect(text).toContain("add.rn.f32");
  });

  it("gives guarded stores one branch", () => {
    const kernel = new PtxKernel(
      [operand("x", "f32"), operand("y", "f32", "write")],
      targetNamed("sm_80"),
    );
    const scope = Scope.root(kernel).child({ block: kernel.section(), lanes: 4 });
    scope.bind(j, kernel.special("%tid.x"), { step: 1, multiple: 4 });
    const guard = and(lt(int(15), j), lt(j, int(32)));
    const store = { operand: "y", offset: j, value: load("x", j, "f32"), guard };
    emitStores(scope, [store, { ...store, offset: add(j, int(64)) }]);
    const text = scope.block.lines().join("\n");
    expect(count(text, /bra SKIP/)).toBe(1);
    expect(count(text, /ld\.global/)).toBe(1);
    expect(count(text, /st\.global\.v4\.f32/)).toBe(2);
  });
});
