/** What both walks of a row compute of an element, as expressions: the same on every target. */
import type { SampleDesc } from "../../compiler/kernel/desc.js";
import {
  add,
  binary,
  bitcast,
  constant,
  le,
  ne,
  param,
  select,
  sub,
  unary,
} from "../../compiler/codegen/expressions.js";
import type { Expr } from "../../compiler/scalar/expr.js";

export interface SampleBodies {
  /** f32; minus infinity for NaN. */
  readonly value: Expr;
  /** u32, ordered as the values are; NaN is that of minus infinity. */
  readonly key: Expr;
  /** u32, ordered as value + noise. */
  readonly score: Expr;
  /** f32: the element's part of the softmax, times a factor of the row. */
  readonly weight: Expr;
}

/** The largest value of the row, which the weights are taken from. */
export const top = param("top", "f32");

const lowest = constant(-Infinity, "f32");
const sign = constant(2 ** 31, "u32");

const known = (x: Expr): Expr => select(ne(x, x), lowest, x);

/** Unsigned integers that order as floats do, zeros of either sign alike. */
function ordered(x: Expr): Expr {
  const bits = bitcast(add(x, constant(0, "f32")), "u32");
  return select(le(sign, bits), unary("not", bits), binary("or", bits, sign));
}

export function sampleBodies({ value, noise }: SampleDesc): SampleBodies {
  const clean = known(value);
  return {
    value: clean,
    key: ordered(clean),
    score: ordered(known(add(clean, noise))),
    weight: unary("exp", sub(clean, top)),
  };
}
