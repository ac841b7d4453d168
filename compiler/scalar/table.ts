/** The built-in scalar functions: `functions.ts` with the trees lifted from it. */
import type { DType } from "../ir/dtype.js";
import type { Expr } from "./expr.js";
import { instantiate, literalsFit, type ScalarFunction } from "./function.js";
import * as functions from "./functions.js";
import { lifted } from "./lifted.generated.js";
import { isPrimitive, primitive, type PrimitiveName } from "./primitives.js";
import { parseTree, type Lifted } from "./tree.js";

export type BuiltinName = keyof typeof lifted;
export const builtinNames = Object.keys(lifted) as BuiltinName[];
export const isBuiltin = (name: string): name is BuiltinName => Object.hasOwn(lifted, name);

/** Each tree's own function: a name without one does not type-check. */
const bodies: { readonly [N in BuiltinName]: (...args: number[]) => number } = functions;

const trees = new Map<BuiltinName, Lifted>();

/** The lifted tree of a built-in: f64, over `param(params[i])`. */
export function builtinTree(name: BuiltinName): Lifted {
  let known = trees.get(name);
  if (known === undefined) {
    const { params, tree } = lifted[name];
    known = { params, tree: parseTree(tree, params) };
    trees.set(name, known);
  }
  return known;
}

function make(name: BuiltinName): ScalarFunction {
  const body = bodies[name];
  return Object.freeze({
    name,
    arity: lifted[name].params.length,
    key: name,
    fits: (type: DType) => literalsFit(builtinTree(name).tree, type),
    apply(args: readonly Expr[]) {
      const { params, tree } = builtinTree(name);
      return instantiate(tree, params, args);
    },
    evaluate: (...args: (number | bigint)[]) => body(...args.map(Number)),
  });
}

const made = new Map(builtinNames.map((name) => [name, make(name)]));

/** The built-in `name`, of floating-point arguments: one object per name. */
export const builtin = (name: BuiltinName): ScalarFunction => made.get(name)!;

/** A built-in or a primitive by name. */
export function scalarFunction(name: BuiltinName | PrimitiveName): ScalarFunction {
  return isPrimitive(name) ? primitive(name) : builtin(name);
}
