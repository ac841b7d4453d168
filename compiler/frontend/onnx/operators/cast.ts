/** Conversions between element types. */
import { cast, constantScalar, map } from "../../../ir/build.js";
import { dtypes, isFloat, isInteger, type DType } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import { bitcast, cast as converted } from "../../../scalar/build.js";
import { readElements, writeElements } from "../../../scalar/elements.js";
import type { Expr } from "../../../scalar/expr.js";
import type { ScalarFunction } from "../../../scalar/function.js";
import type { Call } from "../call.js";
import { apply, scalarLike } from "./common.js";

export function Cast(call: Call): Node {
  const to = call.attrs.int("to");
  if (to === undefined) throw call.attrs.missing("to");
  return castTo(call, call.constants.dtypeOf(to, call.where));
}

export function CastLike(call: Call): Node {
  return castTo(call, call.input(1).dtype);
}

function castTo(call: Call, dtype: DType): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const saturates = attrs.flag("saturate", true);
  const mode = attrs.choice("round_mode", ["up", "down", "nearest"], "up");
  if (dtype === "e8m0") return toScale(call, x, mode, saturates);
  if (!isFloat(x.dtype)) return cast(g, x, dtype);
  // Integers of less than a byte wrap, as the wider ones do that they come from.
  if (isInteger(dtype) && dtypes[dtype].bits < 8) return cast(g, cast(g, x, "i32"), dtype);
  if (dtype === "e2m1") {
    const zero = scalarLike(g, x, 0);
    return cast(g, apply(g, "select", apply(g, "is_nan", x), zero, x), dtype);
  }
  return saturates ? cast(g, x, dtype) : unsaturated(call, x, dtype);
}

interface Overflow {
  /** Half a step above the largest value. */
  readonly bound: number;
  /** Whether the bound itself rounds down to the largest value. */
  readonly holds: boolean;
}

/** What is too large becomes an infinity, or NaN in the formats that have none. */
const overflows: Partial<Record<DType, Overflow>> = {
  e4m3fn: { bound: 464, holds: true },
  e4m3fnuz: { bound: 248, holds: false },
  e5m2: { bound: 61440, holds: false },
  e5m2fnuz: { bound: 61440, holds: false },
};

/** Rounded to a format of 8 bits, where what is too large is not kept at the largest value. */
export function unsaturated(call: Call, x: Node, dtype: DType): Node {
  const { g } = call;
  const limit = overflows[dtype];
  if (limit === undefined) return cast(g, x, dtype);
  const wide = x.dtype === "f64" ? x : cast(g, x, "f32");
  const size = apply(g, "abs", wide);
  const large = apply(g, limit.holds ? "gt" : "ge", size, scalarLike(g, wide, limit.bound));
  if (dtype !== "e5m2")
    return cast(g, apply(g, "select", large, scalarLike(g, wide, NaN), wide), dtype);
  // A cast saturates infinities, too: they are written as patterns.
  const infinity = (pattern: number): Node => bitsAs(call, constantScalar(g, "u8", pattern), dtype);
  const positive = apply(g, "lt", scalarLike(g, wide, 0), wide);
  const infinite = apply(g, "select", positive, infinity(0x7c), infinity(0xfc));
  return apply(g, "select", large, infinite, cast(g, x, dtype));
}

/** A power of two. Casts round up and saturate; what else is wanted is done before. */
function toScale(call: Call, x: Node, mode: "up" | "down" | "nearest", saturates: boolean): Node {
  const { g } = call;
  const wide = cast(g, x, "f32");
  const pattern = bitsAs(call, wide, "i32");
  const integer = (value: number): Node => constantScalar(g, "i32", value);
  // Half of the mantissa more carries into the exponent where nearest is up.
  const carried = mode === "nearest" ? apply(g, "add", pattern, integer(0x400000)) : pattern;
  const floor = bitsAs(call, apply(g, "and", carried, integer(-0x800000)), "f32");
  const finite = apply(g, "lt", apply(g, "abs", wide), scalarLike(g, wide, Infinity));
  const rounded = mode === "up" ? wide : apply(g, "select", finite, floor, wide);
  if (saturates) return cast(g, rounded, "e8m0");
  const nan = scalarLike(g, wide, NaN);
  const least = scalarLike(g, wide, 2 ** -127);
  const small = apply(
    g,
    "and",
    apply(g, "lt", rounded, least),
    apply(g, "gt", wide, scalarLike(g, wide, 0)),
  );
  const largest = scalarLike(g, wide, 2 ** 127);
  const outside = apply(g, "or", apply(g, "gt", rounded, largest), small);
  return cast(g, apply(g, "select", outside, nan, rounded), "e8m0");
}

/** The same bits as another type of the same width. */
export function BitCast(call: Call): Node {
  const { attrs } = call;
  const x = call.input(0);
  const to = attrs.int("to");
  if (to === undefined) throw attrs.missing("to");
  const dtype = call.constants.dtypeOf(to, call.where);
  if (dtypes[x.dtype].bits !== dtypes[dtype].bits)
    throw call.error("E_DTYPE", `the bits of ${x.dtype} as ${dtype}`);
  return bitsAs(call, x, dtype);
}

function bitsAs({ g }: Call, x: Node, dtype: DType): Node {
  if (x.dtype === dtype || (isInteger(x.dtype) && isInteger(dtype))) return cast(g, x, dtype);
  return map(g, reinterpretation(x.dtype, dtype), [x]);
}

const reinterpretations = new Map<string, ScalarFunction>();

function reinterpretation(from: DType, to: DType): ScalarFunction {
  const key = `bits:${from}:${to}`;
  const known = reinterpretations.get(key);
  if (known !== undefined) return known;
  const made: ScalarFunction = Object.freeze({
    name: "bit_cast",
    arity: 1,
    key,
    // Integers may come in a wider type than their own.
    apply: ([x]: readonly Expr[]) => bitcast(converted(x!, from), to),
    evaluate: (x: number | bigint) => readElements(to, writeElements(from, [x]), 1)[0]!,
  });
  reinterpretations.set(key, made);
  return made;
}
