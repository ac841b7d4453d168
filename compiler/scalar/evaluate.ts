/**
 * The interpreter of expressions: the oracle of every printer of them. Floats are doubles, 64-bit
 * integers exact, casts bit for bit; with `round: "typed"` every float operation is rounded to its
 * type, which is what a target that prints the expression as it stands computes.
 */
import { bug } from "../errors.js";
import { dtypes, type DType } from "../ir/dtype.js";
import {
  comparisons,
  exactUnary,
  floatBinary,
  floatUnary,
  integerBinary,
  isComparison,
  narrowBits,
  type FloatBinary,
  type FloatUnary,
} from "./arithmetic.js";
import { isOp, postorder, type BinaryOp, type Expr, type UnaryOp } from "./expr.js";
import { addToOdd, fma } from "./intrinsics.js";
import { readElements, writeElements } from "./elements.js";
import { canonical, castValue, roundFloat, wrapInteger, type Value } from "./round.js";

export type { Value } from "./round.js";

/**
 * Where an expression gets its values. Booleans are 0 and 1; i64 and u64 are numbers while they are
 * safe integers, bigints beyond; a bigint is accepted everywhere. Offsets are in elements.
 */
export interface Env {
  coord?(name: string): Value;
  param?(name: string, type: DType): Value;
  sym?(name: string): Value;
  load?(buffer: string, offset: number, type: DType): Value;
  /** A failed `check`, which then has the value 0. Without it, a failed check throws. */
  fail?(site: number, index: Value, extent: Value): void;
}

export interface EvaluateOptions {
  /** "exact" (default): float operations in double precision. "typed": each rounded to its type. */
  readonly round?: "exact" | "typed";
}

type Step = (values: Value[], env: Env) => Value;

/** The values of `roots` under `env`. For many evaluations of the same roots, see `compileExpr`. */
export function evaluateExpr(
  roots: readonly Expr[],
  env: Env,
  options: EvaluateOptions = {},
): Value[] {
  return compileExpr(roots, options)(env);
}

/** Prepares `roots` for repeated evaluation. Only the taken arm of a `select` is evaluated. */
export function compileExpr(
  roots: readonly Expr[],
  options: EvaluateOptions = {},
): (env: Env) => Value[] {
  const nodes: Expr[] = [];
  const slot = new Map<Expr, number>();
  postorder(roots, (node) => {
    slot.set(node, nodes.length);
    nodes.push(node);
  });
  const slots = nodes.map((node) => node.args.map((arg) => slot.get(arg)!));
  const steps = nodes.map((node, index) => stepOf(node, slots[index]!, options.round === "typed"));
  const outputs = roots.map((root) => slot.get(root)!);
  const constants = nodes.map((node, index) => (isOp(node, "const") ? steps[index]!([], {}) : 0));
  const active = nodes.flatMap((node, index) => (isOp(node, "const") ? [] : [index]));
  const reads = nodes.some((node) => isOp(node, "load") || isOp(node, "check"));
  const demanded = reads && nodes.some((node) => isOp(node, "select"));
  return (env) => {
    const values: Value[] = constants.slice();
    if (demanded) evaluateOnDemand(nodes, slots, steps, outputs, values, env);
    else for (const index of active) values[index] = steps[index]!(values, env);
    return outputs.map((output) => values[output]!);
  };
}

/** Evaluates what the outputs need and no more. Iterative, since expressions may be deep. */
function evaluateOnDemand(
  nodes: readonly Expr[],
  slots: readonly (readonly number[])[],
  steps: readonly Step[],
  outputs: readonly number[],
  values: Value[],
  env: Env,
): void {
  const done = new Uint8Array(nodes.length);
  const stack = [...outputs];
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!;
    let missing = -1;
    if (done[top] === 0) {
      const args = slots[top]!;
      if (nodes[top]!.op === "select") {
        const arm = values[args[0]!] === 0 ? args[2]! : args[1]!;
        missing = done[args[0]!] === 0 ? args[0]! : done[arm] === 0 ? arm : -1;
      } else missing = args.find((arg) => done[arg] === 0) ?? -1;
    }
    if (missing >= 0) {
      stack.push(missing);
      continue;
    }
    stack.pop();
    if (done[top] !== 0) continue;
    values[top] = steps[top]!(values, env);
    done[top] = 1;
  }
}

function given<T>(source: T | undefined, what: string): T {
  if (source === undefined) throw bug(`an expression needs ${what}, which its evaluation lacks`);
  return source;
}

function stepOf(node: Expr, args: readonly number[], typed: boolean): Step {
  const [a, b, c] = args as [number, number, number];
  const type = node.type;
  const bring = (value: Value): Value =>
    dtypes[type].kind === "float" ? Number(value) : canonical(value);
  if (isOp(node, "const")) {
    const literal = bring(node.attr.value);
    return () => literal;
  }
  if (isOp(node, "sym")) {
    const { name } = node.attr;
    return (_, env) => bring(given(env.sym?.(name), `symbol ${name}`));
  }
  if (isOp(node, "coord")) {
    const { name } = node.attr;
    return (_, env) => bring(given(env.coord?.(name), `coordinate ${name}`));
  }
  if (isOp(node, "param")) {
    const { name } = node.attr;
    return (_, env) => bring(given(env.param?.(name, type), `parameter ${name}`));
  }
  if (isOp(node, "load")) {
    const { buffer } = node.attr;
    return (v, env) => bring(given(env.load?.(buffer, Number(v[a]), type), `buffer ${buffer}`));
  }
  if (isOp(node, "check")) return checkStep(node, a, b);
  if (isOp(node, "cast")) {
    const from = node.args[0]!.type;
    return (v) => castValue(v[a]!, from, type);
  }
  if (isOp(node, "bitcast")) {
    return bitcastStep(node.args[0]!.type, type, a);
  }
  if (isOp(node, "select")) return (v) => (v[a] === 0 ? v[c]! : v[b]!);
  if (isOp(node, "fma")) return fmaStep(type, args, typed);
  return args.length === 1
    ? unaryStep(node.op as UnaryOp, type, a, typed)
    : binaryStep(node.op as BinaryOp, node, a, b, typed);
}

function bitcastStep(from: DType, to: DType, a: number): Step {
  const scratch = new DataView(new ArrayBuffer(4));
  if (from === "f32" && to === "i32")
    return (v) => {
      scratch.setFloat32(0, v[a] as number);
      return scratch.getInt32(0);
    };
  if (from === "i32" && to === "f32")
    return (v) => {
      scratch.setInt32(0, v[a] as number);
      return scratch.getFloat32(0);
    };
  const isBig = dtypes[to].bits === 64 && dtypes[to].kind !== "float";
  return (v) => {
    const value = readElements(to, writeElements(from, [v[a]!]), 1)[0]!;
    return isBig ? canonical(value) : Number(value);
  };
}

function checkStep(node: Expr<"check">, index: number, extent: number): Step {
  const { site } = node.attr;
  return (v, env) => {
    const [value, limit] = [v[index]!, v[extent]!];
    if (value >= 0 && value < limit) return value;
    if (env.fail === undefined)
      throw bug(`index ${value} is outside [0, ${limit}) at site ${site}`);
    env.fail(site, value, limit);
    return 0;
  };
}

function fmaStep(type: DType, args: readonly number[], typed: boolean): Step {
  const [a, b, c] = args as [number, number, number];
  if (dtypes[type].kind !== "float")
    return (v) =>
      wrapInteger(integerBinary("add", integerBinary("mul", v[a]!, v[b]!), v[c]!), type);
  if (type === "f64" || !typed) return (v) => fma(Number(v[a]), Number(v[b]), Number(v[c]));
  // The product of two floats of 24 bits is exact; the sum rounded to odd rounds right again.
  return (v) => roundFloat(addToOdd(Number(v[a]) * Number(v[b]), Number(v[c])), type);
}

function unaryStep(op: UnaryOp, type: DType, a: number, typed: boolean): Step {
  const { kind } = dtypes[type];
  if (kind === "float") {
    if (op === "not") throw bug(`not of ${type}`);
    const compute = floatUnary[op satisfies FloatUnary];
    if (!typed || type === "f64") return (v) => compute(v[a] as number);
    if (type === "f32") return (v) => Math.fround(compute(v[a] as number));
    return (v) => roundFloat(compute(v[a] as number), type);
  }
  if (kind === "bool") {
    if (op !== "not") throw bug(`${op} of bool`);
    return (v) => (v[a] === 0 ? 1 : 0);
  }
  const compute = exactUnary[op];
  if (compute === undefined) throw bug(`${op} of ${type}`);
  return (v) => wrapInteger(canonical(compute(BigInt(v[a]!))), type);
}

function binaryStep(op: BinaryOp, node: Expr, a: number, b: number, typed: boolean): Step {
  const { type } = node;
  if (isComparison(op)) {
    const compare = comparisons[op];
    return (v) => (compare(v[a]!, v[b]!) ? 1 : 0);
  }
  if (dtypes[type].kind === "float") {
    if (!(op in floatBinary)) throw bug(`${op} of ${type}`);
    const compute = floatBinary[op as FloatBinary];
    if (!typed || type === "f64") return (v) => compute(v[a] as number, v[b] as number);
    if (type === "f32") return (v) => Math.fround(compute(v[a] as number, v[b] as number));
    return (v) => roundFloat(compute(v[a] as number, v[b] as number), type);
  }
  const narrow = dtypes[type].bits <= 32 ? narrowBits[op] : undefined;
  if (narrow !== undefined) return (v) => wrapInteger(narrow(v[a] as number, v[b] as number), type);
  return (v) => wrapInteger(integerBinary(op, v[a]!, v[b]!), type);
}
