/**
 * The emitter table of C: one spelling per operation, total over `ExprOp`. Arguments are names or
 * literals, so nothing here needs to know about precedence of its operands.
 */
import { bug } from "../../errors.js";
import { dtypes, isFloat, type DType } from "../../ir/dtype.js";
import { failureWord } from "../../kernel/desc.js";
import type { Expr, ExprOp } from "../../scalar/expr.js";
import { rangeOf } from "../../scalar/range.js";
import { constValue } from "../../scalar/build.js";
import { cType, convert, literal } from "./types.js";

type Spell = (args: readonly string[], node: Expr) => string;

/** The suffix of C's math functions. */
const suffix = (type: DType): string => (type === "f64" ? "" : "f");
const floatName = (type: DType): string => (type === "f64" ? "f64" : "f32");

const infix =
  (operator: string): Spell =>
  ([a, b]) =>
    `${a} ${operator} ${b}`;

/** A function of floats, which leaves integers as they are. */
const math =
  (name: string): Spell =>
  ([a], { type }) =>
    isFloat(type) ? `__builtin_${name}${suffix(type)}(${a})` : a!;

const extremum =
  (name: "min" | "max", operator: "<" | ">"): Spell =>
  ([a, b], { type }) =>
    isFloat(type)
      ? `farrier_${name}_${floatName(type)}(${a}, ${b})`
      : `${a} ${operator} ${b} ? ${a} : ${b}`;

/** Division and remainder of integers; plain C where the signs are known to agree. */
const floored =
  (name: "div" | "mod", operator: "/" | "%"): Spell =>
  ([a, b], node) => {
    const unsigned = dtypes[node.type].kind === "uint" || node.type === "bool";
    if (unsigned) return `farrier_${name}_u64(${a}, ${b})`;
    const [dividend, divisor] = node.args as [Expr, Expr];
    if (node.type !== "i64") return `farrier_${name}_i64(${a}, ${b})`;
    const value = constValue(divisor);
    // Shifts and masks round towards minus infinity whatever the sign.
    if (value !== null && value > 0 && Number.isInteger(Math.log2(value)) && value < 2 ** 31)
      return name === "div" ? `${a} >> ${Math.log2(value)}` : `${a} & ${value - 1}`;
    if (rangeOf(dividend).min < 0 || rangeOf(divisor).min < 1)
      return `farrier_${name}_i64(${a}, ${b})`;
    const narrow = rangeOf(dividend).max < 2 ** 32 && rangeOf(divisor).max < 2 ** 32;
    return narrow
      ? `(int64_t)((uint32_t)${a} ${operator} (uint32_t)${b})`
      : `${a} ${operator} ${b}`;
  };

/** A count outside the type shifts every bit out. */
const shift =
  (operator: "<<" | ">>"): Spell =>
  ([a, b], { type, args }) => {
    const { bits, kind } = dtypes[type];
    const count = constValue(args[1]!);
    if (count !== null && count >= 0 && count < bits) return `${a} ${operator} ${count}`;
    const inside = `(uint64_t)${b} < ${bits}u`;
    const emptied = operator === "<<" || kind !== "int" ? "0" : `${a} >> ${bits - 1}`;
    return `${inside} ? ${a} ${operator} (${b} & ${bits - 1}) : ${emptied}`;
  };

const bitNames: { readonly [D in DType]?: string } = { f32: "f32", f64: "f64" };

function bitcast(value: string, from: DType, to: DType): string {
  const cast = to === from ? value : `(${cType(to).value})`;
  if (bitNames[from] !== undefined) return `${cast}farrier_bits_${bitNames[from]}(${value})`;
  if (bitNames[to] !== undefined) return `farrier_${bitNames[to]}_bits(${value})`;
  // 16-bit floats are held as f32, so their bits are those of the stored form.
  const stored = from === "f16" || from === "bf16" ? `farrier_f32_to_${from}(${value})` : value;
  if (to === "f16" || to === "bf16") return `farrier_${to}_to_f32((uint16_t)${stored})`;
  return `${cast}${stored}`;
}

const leaf: Spell = (_, node) => {
  throw bug(`${node.op} of type ${node.type} is no operation of the C emitter's table`);
};

/** Leaves and control (`const` … `check`, `select` with loads) are the emitter's own. */
export const spellings: { readonly [O in ExprOp]: Spell } = {
  const: (_, node) => literal(node.type, (node as Expr<"const">).attr.value),
  sym: leaf,
  coord: leaf,
  param: leaf,
  load: leaf,
  check: ([index, extent], node) =>
    `farrier_check(${index}, ${extent}, ${failureWord((node as Expr<"check">).attr.site)}, status)`,
  cast: ([a], node) => convert(a!, node.args[0]!.type, node.type),
  bitcast: ([a], node) => bitcast(a!, node.args[0]!.type, node.type),
  select: ([condition, a, b]) => `${condition} ? ${a} : ${b}`,
  fma: ([a, b, c], { type }) =>
    isFloat(type) ? `farrier_fma_${floatName(type)}(${a}, ${b}, ${c})` : `${a} * ${b} + ${c}`,
  neg: ([a]) => `-${a}`,
  abs: ([a], { type }) =>
    isFloat(type) ? `__builtin_fabs${suffix(type)}(${a})` : `${a} < 0 ? -${a} : ${a}`,
  not: ([a], { type }) => (type === "bool" ? `!${a}` : `~${a}`),
  floor: math("floor"),
  ceil: math("ceil"),
  // The rounding mode is always to nearest even; rint, unlike nearbyint, is one instruction.
  round: math("rint"),
  trunc: math("trunc"),
  sqrt: math("sqrt"),
  rsqrt: ([a], { type }) => `${literal(type, 1)} / __builtin_sqrt${suffix(type)}(${a})`,
  exp: math("exp"),
  exp2: math("exp2"),
  log: math("log"),
  log2: math("log2"),
  sin: math("sin"),
  cos: math("cos"),
  tanh: math("tanh"),
  erf: math("erf"),
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: (args, node) =>
    isFloat(node.type) ? infix("/")(args, node) : floored("div", "/")(args, node),
  mod: ([a, b], node) =>
    isFloat(node.type)
      ? `__builtin_fmod${suffix(node.type)}(${a}, ${b})`
      : floored("mod", "%")([a!, b!], node),
  min: extremum("min", "<"),
  max: extremum("max", ">"),
  pow: ([a, b], { type }) =>
    isFloat(type) ? `__builtin_pow${suffix(type)}(${a}, ${b})` : `farrier_pow_int(${a}, ${b})`,
  and: infix("&"),
  or: infix("|"),
  xor: infix("^"),
  shl: shift("<<"),
  shr: shift(">>"),
  lt: infix("<"),
  le: infix("<="),
  eq: infix("=="),
  ne: infix("!="),
};

/** a · b + c of f32 where either rounding will do. */
export const fusedIfFast = ([a, b, c]: readonly string[]): string =>
  `farrier_mad_f32(${a}, ${b}, ${c})`;

/** The C expression of `node`, wrapped to its type where C's promotions would leave it wider. */
export function spell(node: Expr, args: readonly string[]): string {
  const text = spellings[node.op](args, node);
  const { bits, kind } = dtypes[node.type];
  if (kind === "float" || kind === "bool" || bits >= 32) return text;
  return bits < 8 ? convert(`(${text})`, "i32", node.type) : `(${cType(node.type).value})(${text})`;
}
