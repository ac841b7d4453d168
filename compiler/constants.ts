/** Reading small constants while compiling. */
import { isNode, type Node } from "./ir/graph.js";
import { exprType } from "./ir/element.js";
import { byteSize, isInteger } from "./ir/dtype.js";
import { constant } from "./scalar/build.js";
import { readElements } from "./scalar/elements.js";
import { rangeOf } from "./scalar/range.js";
import type { Expr } from "./scalar/expr.js";
import type { ConstantSource } from "./ir/ops.js";
import type { TensorPlaces } from "./bundle/weights.js";

export interface ConstantReader {
  /** The bytes of a constant, if there are any and no more than `limit`. */
  readonly bytes: (node: Node, limit: number) => Uint8Array | null;
  /** The bytes of a constant's source; null where there are none, or more than `limit`. */
  readonly source: (source: ConstantSource, limit: number) => Uint8Array | null;
  /** The value of a constant of one element, in its expression type. */
  readonly value: (node: Node) => Expr | null;
}

export function constantReader(model: TensorPlaces): ConstantReader {
  const places = new Map(model.tensors.map((tensor) => [tensor.name, tensor.place]));
  const source = (from: ConstantSource, limit: number): Uint8Array | null => {
    if (from.kind === "literal") return from.data.length <= limit ? from.data : null;
    const place = places.get(from.tensor);
    if (from.kind === "absent" || place === null || place === undefined || place.bytes > limit)
      return null;
    return place.file.readRange(place.offset, place.bytes);
  };
  const bytes = (node: Node, limit: number): Uint8Array | null =>
    isNode(node, "constant") ? source(node.attrs.source, limit) : null;
  const value = (node: Node): Expr | null => {
    if (node.shape.some((dim) => rangeOf(dim).max !== 1)) return null;
    const data = bytes(node, byteSize("f64", 1));
    if (data === null) return null;
    const element = readElements(node.dtype, data, 1)[0]!;
    const type = exprType(node.dtype);
    return constant(isInteger(node.dtype) ? BigInt(element) : Number(element), type);
  };
  return { bytes, source, value };
}
