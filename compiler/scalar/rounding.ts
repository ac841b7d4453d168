/** Rounding f32 to integers on targets without the instructions: branch-free, keeping zero's sign. */
import { f, type Native } from "./approximations.js";
import * as build from "./build.js";
import type { Expr } from "./expr.js";

const magic = 8388608;

/** Nearest even of |x| < 2^23 by adding and subtracting 2^23; larger floats are integers. */
export function round(native: Native, x: Expr): Expr {
  if (native.has("round")) return build.unary("round", x);
  const size = build.unary("abs", x);
  const whole = build.sub(build.add(size, f(magic)), f(magic));
  const negative = build.lt(build.bitcast(x, "i32"), build.constant(0, "i32"));
  const signed = build.select(negative, build.unary("neg", whole), whole);
  return build.select(build.lt(size, f(magic)), signed, x);
}

/** The largest integer at or below. */
export function floor(native: Native, x: Expr): Expr {
  if (native.has("floor")) return build.unary("floor", x);
  const nearest = round(native, x);
  return build.select(build.lt(x, nearest), build.sub(nearest, f(1)), nearest);
}

/** Through floor, so that ceil(-0.5) is -0. */
export function ceil(native: Native, x: Expr): Expr {
  if (native.has("ceil")) return build.unary("ceil", x);
  return build.unary("neg", floor(native, build.unary("neg", x)));
}

/** The integer part. */
export function trunc(native: Native, x: Expr): Expr {
  if (native.has("trunc")) return build.unary("trunc", x);
  return build.select(build.lt(x, f(0)), ceil(native, x), floor(native, x));
}
