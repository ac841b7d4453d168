/** Arithmetic, comparison and logic, element by element. */
import { cast, constantScalar } from "../../../ir/build.js";
import { isFloat, isInteger } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import type { Call, Operator } from "../call.js";
import { apply, elementwise, scalarLike, type FunctionName } from "./common.js";

export const Abs = elementwise("abs");
export const Neg = elementwise("neg");
export const Sign = elementwise("sign");
export const Ceil = elementwise("ceil");
export const Floor = elementwise("floor");
export const Round = elementwise("round");
export const Sqrt = elementwise("sqrt");
export const Reciprocal = elementwise("reciprocal");
export const Exp = elementwise("exp");
export const Log = elementwise("log");
export const Sin = elementwise("sin");
export const Cos = elementwise("cos");
export const Tan = elementwise("tan");
export const Sinh = elementwise("sinh");
export const Cosh = elementwise("cosh");
export const Asin = elementwise("asin");
export const Acos = elementwise("acos");
export const Atan = elementwise("atan");
export const Asinh = elementwise("asinh");
export const Acosh = elementwise("acosh");
export const Atanh = elementwise("atanh");
export const Erf = elementwise("erf");
export const IsNaN = elementwise("is_nan");
export const Not = elementwise("not");
export const BitwiseNot = elementwise("not");

export const Add = elementwise("add", 2);
export const Sub = elementwise("sub", 2);
export const Mul = elementwise("mul", 2);
export const And = elementwise("and", 2);
export const Or = elementwise("or", 2);
export const Xor = elementwise("xor", 2);
export const BitwiseAnd = elementwise("and", 2);
export const BitwiseOr = elementwise("or", 2);
export const BitwiseXor = elementwise("xor", 2);
export const Equal = elementwise("eq", 2);
export const Less = elementwise("lt", 2);
export const LessOrEqual = elementwise("le", 2);
export const Greater = elementwise("gt", 2);
export const GreaterOrEqual = elementwise("ge", 2);
export const Where = elementwise("select", 3);

/** Of integers, truncated towards zero. */
export function Div(call: Call): Node {
  const [a, b] = [call.input(0), call.input(1)];
  refuseZero(call, b);
  return apply(call.g, "div", a, b);
}

export function Mod(call: Call): Node {
  const [a, b] = [call.input(0), call.input(1)];
  const truncates = call.attrs.flag("fmod");
  refuseZero(call, b);
  return apply(call.g, truncates ? "fmod" : "mod", a, b);
}

function refuseZero(call: Call, divisor: Node): void {
  if (!isInteger(divisor.dtype) || divisor.op !== "constant") return;
  if (call.host.numbers(divisor)?.includes(0) === true)
    throw call.error("E_DIV_ZERO", "an integer divided by zero");
}

/** The result has the base's type; a float exponent of an integer is a float power. */
export function Pow(call: Call): Node {
  const { g } = call;
  const [base, exponent] = [call.input(0), call.input(1)];
  if (isFloat(exponent.dtype) && isInteger(base.dtype)) {
    const power = apply(g, "pow", cast(g, base, "f64"), cast(g, exponent, "f64"));
    return cast(g, power, base.dtype);
  }
  return apply(g, "pow", base, cast(g, exponent, base.dtype));
}

export function IsInf(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const above = attrs.flag("detect_positive", true);
  const below = attrs.flag("detect_negative", true);
  if (above && below) return apply(g, "is_inf", x);
  // Neither: nothing is less than itself.
  if (!above && !below) return apply(g, "lt", x, x);
  return apply(g, "eq", x, scalarLike(g, x, above ? Infinity : -Infinity));
}

export function BitShift(call: Call): Node {
  const direction = call.attrs.string("direction");
  const names: Readonly<Record<string, FunctionName>> = { LEFT: "shl", RIGHT: "shr" };
  const name = direction === undefined ? undefined : names[direction];
  if (name === undefined) throw call.attrs.invalid("direction", "expected LEFT or RIGHT");
  return apply(call.g, name, call.input(0), call.input(1));
}

const variadic =
  (name: FunctionName): Operator =>
  (call) =>
    call.all().reduce((a, b) => apply(call.g, name, a, b));

export const Min = variadic("min");
export const Max = variadic("max");
export const Sum = variadic("add");

export function Mean(call: Call): Node {
  const inputs = call.all();
  const total = inputs.reduce((a, b) => apply(call.g, "add", a, b));
  return apply(call.g, "div", total, scalarLike(call.g, total, inputs.length));
}

/** Bounds are attributes before opset 11; the upper one wins where they cross. */
export function Clip(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const bound = (name: string, index: number): Node | undefined => {
    if (call.version >= 11) return call.optional(index);
    const value = attrs.float(name);
    return value === undefined ? undefined : constantScalar(g, x.dtype, value);
  };
  const [low, high] = [bound("min", 1), bound("max", 2)];
  const above = low === undefined ? x : apply(g, "max", x, low);
  return high === undefined ? above : apply(g, "min", above, high);
}

export const Identity: Operator = (call) => call.input(0);
