/** Elementwise rewrites that change no value. */
import { broadcastTo, cast, make, reshape } from "../../ir/build.js";
import { isFloat } from "../../ir/dtype.js";
import { castsThrough } from "../../ir/exact-cast.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import { any, call, op, scalar, type Pattern } from "../../rewrite/pattern.js";
import { rule, type Rule } from "../../rewrite/rule.js";
import { isConst } from "../../scalar/build.js";

const x = any().as("x");

/** An operand of lower rank stands for all elements of the result. */
const keepX =
  () =>
  (bound: { readonly x: Node }, { builder, root }: { builder: GraphBuilder; root: Node }): Node =>
    broadcastTo(builder, bound.x, root.shape);

const isTrue = scalar((value, node) => node.dtype === "bool" && value === 1);
const isFalse = scalar((value, node) => node.dtype === "bool" && value === 0);

function keeps(name: string, pattern: Pattern<{ readonly x: Node }>): Rule {
  return rule(name, pattern, keepX());
}

/** x + 0 is +0 where x is -0: only -0 changes nothing, unless such bits do not matter. */
function zeroAdded(strict: boolean): Pattern {
  return scalar((value, { dtype }) =>
    strict ? Object.is(value, isFloat(dtype) ? -0 : 0) : value === 0,
  );
}

const neutral: readonly Rule[] = [
  keeps("x * 1 => x", call("mul", [x, scalar(1)])),
  keeps("x / 1 => x", call("div", [x, scalar(1)])),
  keeps("x - 0 => x", call("sub", [x, scalar(0)])),
  keeps("pow(x, 1) => x", call("pow", [x, scalar(1)])),
  keeps("-(-x) => x", call("neg", [call("neg", [x])])),
  keeps("!!x => x", call("not", [call("not", [x])])),
  keeps("identity(x) => x", call("identity", [x])),
  keeps("x & true => x", call("and", [x, isTrue])),
  keeps("x | false => x", call("or", [x, isFalse])),
  keeps("true ? x : y => x", call("select", [isTrue, x, any()])),
  keeps("false ? y : x => x", call("select", [isFalse, any(), x])),
  keeps("c ? x : x => x", call("select", [any(), x, x])),
];

const casts: readonly Rule[] = [
  rule("cast(x, its dtype) => x", op("cast", [x]), (bound, { root }) =>
    bound.x.dtype === root.dtype ? bound.x : null,
  ),
  rule(
    "cast(cast(x, wider)) => cast(x)",
    op("cast", [op("cast", [x]).as("via")]),
    (bound, { builder, root }) =>
      castsThrough(bound.x.dtype, bound.via.dtype, root.dtype)
        ? cast(builder, bound.x, root.dtype)
        : null,
  ),
  rule("cast(broadcast(x)) => broadcast(cast(x))", op("cast", [op("broadcast", [x])]), (bound, c) =>
    broadcastTo(c.builder, cast(c.builder, bound.x, c.root.dtype), c.root.shape),
  ),
];

const isOne = (node: Node): boolean => node.shape.every((dim) => isConst(dim, 1));

/** The one value that `node` repeats, as a tensor of rank 0; null if it repeats more, or none. */
function repeated(g: GraphBuilder, node: Node): Node | null {
  if (node.shape.length === 0) return node;
  const below = node.op === "broadcast" ? node.inputs[0]! : null;
  return below !== null && isOne(below) ? reshape(g, below, []) : null;
}

const repetition: readonly Rule[] = [
  rule("f(x, broadcast(s)) => f(x, s)", op("map"), (_, { builder, root }) => {
    if (root.shape.length === 0) return null;
    const scalars = root.inputs.map((input) => repeated(builder, input));
    if (scalars.every((each, i) => each === null || each === root.inputs[i])) return null;
    const inputs = root.inputs.map((input, i) => scalars[i] ?? input);
    return broadcastTo(builder, make(builder, "map", inputs, root.attrs), root.shape);
  }),
];

/** @param strict keeps the sign of zeros too */
export const arithmeticRules = (strict: boolean): readonly Rule[] => [
  ...neutral,
  keeps("x + 0 => x", call("add", [x, zeroAdded(strict)])),
  ...casts,
  ...repetition,
];
