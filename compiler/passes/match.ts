/** What passes that raise exporters' spellings ask of nodes. */
import { isNode, type Node } from "../ir/graph.js";
import { isConst } from "../scalar/build.js";
import { rangeOf } from "../scalar/range.js";
import { readElements } from "../scalar/elements.js";
import type { PassContext } from "./pass.js";

/** Below broadcasts: the value that is repeated. */
export function unbroadcast(node: Node): Node {
  let inner = node;
  while (inner.op === "broadcast") inner = inner.inputs[0]!;
  return inner;
}

/** The operands of an elementwise `name`, below broadcasts; null for any other node. */
export function operandsOf(node: Node, name: string): readonly Node[] | null {
  return isNode(node, "map") && node.attrs.fn.name === name ? node.inputs.map(unbroadcast) : null;
}

/** The number that a one-element constant holds, below casts and reshapes; null if it is none. */
export function numberOf(node: Node, context: PassContext): number | null {
  let inner = unbroadcast(node);
  while (inner.op === "cast" || inner.op === "reshape" || inner.op === "broadcast")
    inner = inner.inputs[0]!;
  if (!inner.shape.every((dim) => isConst(dim, 1))) return null;
  const bytes = context.bytes(inner, 16);
  return bytes === null ? null : Number(readElements(inner.dtype, bytes, 1)[0]);
}

/** All values of a small constant, or null. */
export function numbersOf(node: Node, context: PassContext, limit = 1 << 20): Float64Array | null {
  const count = node.shape.reduce((product, dim) => product * rangeOf(dim).max, 1);
  const bytes = Number.isSafeInteger(count) ? context.bytes(node, limit) : null;
  return bytes === null
    ? null
    : Float64Array.from(
        readElements(node.dtype, bytes, count) as ArrayLike<number | bigint>,
        Number,
      );
}

/** For a commutative operator: whichever operand `pick` accepts, with the other. */
export function eitherOf<T>(
  operands: readonly Node[] | null,
  pick: (operand: Node, other: Node) => T | null,
): T | null {
  if (operands?.length !== 2) return null;
  const [a, b] = operands as [Node, Node];
  return pick(a, b) ?? pick(b, a);
}
