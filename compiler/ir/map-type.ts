/** The dtype of an elementwise result, read off the function's own tree. */
import { FarrierError } from "../errors.js";
import { param } from "../scalar/build.js";
import { isOp, postorder, type Expr } from "../scalar/expr.js";
import { computeType, type ScalarFunction } from "../scalar/function.js";
import { isFloat, type DType } from "./dtype.js";

const cache = new WeakMap<ScalarFunction, Map<string, DType>>();

/**
 * The result's dtype: the inputs' own where the tree computes in their compute type (bf16 in, f32
 * inside, bf16 out), otherwise the tree's (a comparison gives bool).
 */
export function mapType(fn: ScalarFunction, inputs: readonly DType[], where: string): DType {
  let known = cache.get(fn);
  if (known === undefined) cache.set(fn, (known = new Map<string, DType>()));
  const key = inputs.join();
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = infer(fn, inputs, where);
  known.set(key, made);
  return made;
}

function infer(fn: ScalarFunction, inputs: readonly DType[], where: string): DType {
  const fail = (what: string): FarrierError => new FarrierError("E_DTYPE", what, { where });
  const values = new Set(inputs.filter((dtype) => dtype !== "bool"));
  if (values.size > 1) throw fail(`${fn.name} of unequal types ${inputs.join(", ")}`);
  const [dtype = "bool"] = values;
  const undefinedOn = (): FarrierError => fail(`${fn.name} is not defined on ${inputs.join(", ")}`);
  if (inputs[0] !== undefined && fn.fits?.(computeType(inputs[0])) === false) throw undefinedOn();
  const body = fn.apply(inputs.map((input, i) => param(`x${i}`, computeType(input))));
  postorder([body], (expr) => {
    if (!wellTyped(expr)) throw undefinedOn();
  });
  return body.type === computeType(dtype) ? dtype : body.type;
}

const floatOnly = new Set<string>([
  ...["floor", "ceil", "round", "trunc", "sqrt", "rsqrt", "exp", "exp2", "log", "log2"],
  ...["sin", "cos", "tanh", "erf"],
]);
const logical = new Set<string>(["and", "or", "xor", "not"]);
const arithmetic = new Set<string>([
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "neg",
  "abs",
  "shl",
  "shr",
  "min",
  "max",
]);

function wellTyped(expr: Expr): boolean {
  const [a, b, c] = expr.args;
  if (a === undefined || isOp(expr, "load") || isOp(expr, "cast") || isOp(expr, "bitcast"))
    return true;
  if (isOp(expr, "select")) return a.type === "bool" && b!.type === c!.type;
  if (expr.args.some((arg) => arg.type !== a.type)) return false;
  if (floatOnly.has(expr.op)) return isFloat(a.type);
  if (logical.has(expr.op)) return !isFloat(a.type);
  return !(arithmetic.has(expr.op) && a.type === "bool");
}
