/** Conversions between element types. */
import { cast, map } from "../../../ir/build.js";
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
  if (mode !== "up" && dtype === "e8m0") throw call.unsupported(`a cast that rounds ${mode}`);
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

/** The 8-bit formats without an infinity: what is too large becomes NaN. */
const overflows: Partial<Record<DType, Overflow>> = {
  e4m3fn: { bound: 464, holds: true },
  e4m3fnuz: { bound: 248, holds: false },
  e5m2fnuz: { bound: 61440, holds: false },
};

function unsaturated(call: Call, x: Node, dtype: DType): Node {
  const { g } = call;
  const limit = overflows[dtype];
  if (limit === undefined) {
    if (!dtype.startsWith("e")) return cast(g, x, dtype);
    throw call.unsupported(`a cast to ${dtype} that does not saturate`);
  }
  const wide = x.dtype === "f64" ? x : cast(g, x, "f32");
  const size = apply(g, "abs", wide);
  const large = apply(g, limit.holds ? "gt" : "ge", size, scalarLike(g, wide, limit.bound));
  return cast(g, apply(g, "select", large, scalarLike(g, wide, NaN), wide), dtype);
}

/** The same bits as another type of the same width. */
export function BitCast(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const to = attrs.int("to");
  if (to === undefined) throw attrs.missing("to");
  const dtype = call.constants.dtypeOf(to, call.where);
  if (dtypes[x.dtype].bits !== dtypes[dtype].bits)
    throw call.error("E_DTYPE", `the bits of ${x.dtype} as ${dtype}`);
  if (x.dtype === dtype || (isInteger(x.dtype) && isInteger(dtype))) return cast(g, x, dtype);
  if (dtypes[dtype].bits < 32) throw call.unsupported(`the bits of ${x.dtype} as ${dtype}`);
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
