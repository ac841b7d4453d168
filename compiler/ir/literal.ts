/** Values of literal constants, for patterns and folding. */
import { constValue } from "../scalar/build.js";
import { readElements } from "../scalar/elements.js";
import type { Value } from "../scalar/round.js";
import { dtypes } from "./dtype.js";
import { isNode, type Node } from "./graph.js";

/** The bytes of a literal, or null for anything else. */
export function literalBytes(node: Node): Uint8Array | null {
  if (!isNode(node, "constant") || node.attrs.source.kind !== "literal") return null;
  return node.attrs.source.data;
}

/** The number of elements, or null where it is symbolic. */
export function staticElements(node: Node): number | null {
  let count = 1;
  for (const dim of node.shape) {
    const extent = constValue(dim);
    if (extent === null) return null;
    count *= extent;
  }
  return count;
}

/** The values of a literal, or null for anything else. */
export function literalValues(node: Node): Value[] | null {
  const bytes = literalBytes(node);
  const count = staticElements(node);
  if (bytes === null || count === null) return null;
  return Array.from<Value, Value>(readElements(node.dtype, bytes, count), (value) => value);
}

/** The one value of a literal, perhaps reshaped or repeated; null if it has more or is none. */
export function scalarLiteral(node: Node): Value | null {
  let below = node;
  while (isNode(below, "broadcast") || isNode(below, "reshape")) below = below.inputs[0]!;
  const bytes = literalBytes(below);
  if (bytes === null || staticElements(below) !== 1) return null;
  return readElements(below.dtype, bytes, 1)[0]!;
}

/** Literals that are longer are not searched for one repeated value. */
const searchedBytes = 2 ** 20;

/** Whether every element of a literal of at least 8-bit elements has the same bytes. */
export function isUniform(node: Node): boolean {
  const bytes = literalBytes(node);
  const size = dtypes[node.dtype].bits / 8;
  if (bytes === null || bytes.length > searchedBytes || size < 1) return false;
  for (let i = size; i < bytes.length; i++) if (bytes[i] !== bytes[i - size]) return false;
  return bytes.length > 0;
}
