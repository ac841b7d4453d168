/** A user's own function of numbers, made fusible: its text is lifted, its body stays the oracle. */
import { FarrierError } from "../errors.js";
import { compileExpr } from "./evaluate.js";
import { instantiate, literalsFit, type ScalarFunction } from "./function.js";
import { liftFunction } from "./lift.js";
import { builtinTree, isBuiltin } from "./table.js";
import { serialiseTree, type Lifted } from "./tree.js";

/**
 * Lifts `fn`, whose text may use its parameters, `const`, `if`/`return`, `?:`, arithmetic,
 * comparisons, Math, and farrier's exported functions (`erf`, `sigmoid`, `fma`, `gelu_tanh` …).
 *
 * @example elementwise((gate, up) => (gate / (1 + Math.exp(-gate))) * up)
 * @throws FarrierError E_SCALAR_LIFT with line and column within the function, for closures, loops,
 * assignments and whatever else has no expression tree
 */
export function elementwise(fn: (...args: number[]) => number): ScalarFunction {
  const name = fn.name === "" ? "elementwise" : fn.name;
  const resolve = (callee: string): Lifted | null =>
    isBuiltin(callee) ? builtinTree(callee) : null;
  const lifted = liftFunction(fn.toString(), { source: name, resolve });
  const { params, tree } = lifted;
  checkAgainst(fn, lifted, name);
  return Object.freeze({
    name,
    arity: params.length,
    key: `lifted:${serialiseTree(lifted)}`,
    fits: (type) => literalsFit(tree, type),
    apply: (args) => instantiate(tree, params, args),
    evaluate: (...args) => fn(...args.map(Number)),
  } satisfies ScalarFunction);
}

const samples = [0.5, -1.25, 3, -0.001, 0, -20, 7.75, 1, -1, 40];

/**
 * A text is lifted by its names, and a module may have given `sigmoid` another meaning: the tree
 * has to agree with the function itself.
 */
function checkAgainst(
  fn: (...args: number[]) => number,
  { params, tree }: Lifted,
  name: string,
): void {
  const evaluate = compileExpr([tree]);
  for (let offset = 0; offset < samples.length; offset++) {
    const values = params.map((_, i) => samples[(offset + 3 * i) % samples.length]!);
    const given = new Map(params.map((param, i) => [param, values[i]!]));
    const expected = fn(...values);
    const found = Number(evaluate({ param: (param) => given.get(param)! })[0]);
    const close = Math.abs(found - expected) <= 1e-9 * Math.max(Math.abs(expected), 1e-3);
    if (!close && !Object.is(found, expected))
      throw new FarrierError(
        "E_SCALAR_LIFT",
        `at (${values.join(", ")}) the function gives ${String(expected)} and its text ${found}`,
        { where: name, hint: "a name in it is not what farrier knows by that name: rename it" },
      );
  }
}
