/**
 * Values that are known while compiling: literals, and integers that follow from dimensions. Shape
 * arithmetic is imported as ordinary nodes, and where an operator needs numbers they are read off it.
 */
import { FarrierError } from "../../errors.js";
import { dim, literal, reshape, concat } from "../../ir/build.js";
import { isInteger } from "../../ir/dtype.js";
import { ElementReader, NotElementwise, exprType, type ElementContext } from "../../ir/element.js";
import { isNode, type GraphBuilder, type Node } from "../../ir/graph.js";
import type { OpName } from "../../ir/ops.js";
import { staticShape } from "../../ir/shape.js";
import { countOf, stridesOf } from "../../ir/tensor.js";
import { constant, constValue, coord, int, isConst } from "../../scalar/build.js";
import { readElements } from "../../scalar/elements.js";
import { evaluateExpr } from "../../scalar/evaluate.js";
import { isOp, someExpr, type Expr } from "../../scalar/expr.js";
import { rangeOf } from "../../scalar/range.js";

/** The bytes of a constant, if it has any at hand. */
export type ConstantBytes = (node: Node<"constant">) => Uint8Array | null;

/** Constants of more bytes are weights: no shape depends on them. */
export const largestTable = 64 * 1024;

/** Values of more elements are not read one by one. */
const mostElements = 4096;
/** Of values up to this many elements, what is known replaces how it was computed. */
const replacedElements = 64;
/** The reader is recursive: longer chains are data, whatever they compute. */
const deepestChain = 1000;

/** Operators whose elements are functions of single elements of their inputs. */
const readable: ReadonlySet<OpName> = new Set([
  ...(["constant", "iota", "dim", "map", "cast", "reshape", "transpose", "broadcast"] as const),
  ...(["slice", "concat", "gather", "gather_nd", "scan"] as const),
]);

export class HostValues {
  readonly #g: GraphBuilder;
  readonly #bytes: ConstantBytes;
  readonly #tables = new Map<Node, readonly Expr[] | null>();
  /** How deep the computation of a node is; infinite where it reads data. */
  readonly #depths = new Map<Node, number>();
  readonly #exact: ElementReader;
  readonly #bounds: ElementReader;

  constructor(g: GraphBuilder, bytes: ConstantBytes) {
    this.#g = g;
    this.#bytes = bytes;
    const scalar: ElementContext["scalar"] = (node) => this.#table(node)?.[0] ?? null;
    const base = { strict: true, site: () => 0, scalar };
    this.#exact = new ElementReader({ ...base, stored: (node, at) => this.#element(node, at) });
    this.#bounds = new ElementReader({ ...base, stored: (node, at) => this.#bounded(node, at) });
  }

  /** The elements in row-major order, or null if they depend on data or are too many. */
  elements(node: Node): readonly Expr[] | null {
    const shape = staticShape(node.shape);
    if (shape === null || !(countOf(shape) <= mostElements)) return null;
    if (isNode(node, "constant")) return this.#table(node);
    if (countOf(shape) === 0) return [];
    if (this.#depth(node) > deepestChain) return null;
    const strides = stridesOf(shape);
    const values: Expr[] = [];
    for (let i = 0; i < countOf(shape); i++) {
      const at = shape.map((extent, axis) => int(Math.floor(i / strides[axis]!) % extent));
      const value = this.#read(node, at);
      if (value === null) return null;
      values.push(value);
    }
    return values;
  }

  /** Elements that are all literals, as numbers; integers beyond 2^53 lose bits. */
  numbers(node: Node): number[] | null {
    const values = this.elements(node);
    if (values?.every((value) => isConst(value)) !== true) return null;
    return values.map((value) => Number((value as Expr<"const">).attr.value));
  }

  /**
   * The node itself, or a simpler one of the same value where that follows from dimensions alone.
   * Integers and booleans only: what floats become is for the passes to say.
   */
  simplified(node: Node): Node {
    const { dtype, shape } = node;
    if (!isInteger(dtype) && dtype !== "bool") return node;
    if (isNode(node, "constant") || isNode(node, "dim") || shape.length > 1) return node;
    const count = constValue(shape[0] ?? int(1));
    if (count === null || count > replacedElements) return node;
    const values = this.elements(node);
    if (values === null) return node;
    if (values.every((value) => isConst(value))) {
      const literals = values.map((value) => (value as Expr<"const">).attr.value);
      return literal(
        this.#g,
        dtype,
        shape.map((each) => constValue(each)!),
        literals,
      );
    }
    return dtype === "i64" ? dimensions(this.#g, values, shape.length) : node;
  }

  /** Whether no element is below zero. */
  nonNegative(node: Node): boolean {
    if (this.#depth(node) > deepestChain) return false;
    const at = node.shape.map((extent, axis) => coord(`i${axis}`, extent));
    try {
      return rangeOf(this.#bounds.at(node, at)).min >= 0;
    } catch (error) {
      if (error instanceof NotElementwise) return false;
      throw error;
    }
  }

  #read(node: Node, at: readonly Expr[]): Expr | null {
    try {
      return settled(this.#exact.at(node, at));
    } catch (error) {
      if (error instanceof NotElementwise) return null;
      throw error;
    }
  }

  /** Elements of a constant of at most `largestTable` bytes. */
  #table(node: Node<"constant">): readonly Expr[] | null {
    const known = this.#tables.get(node);
    if (known !== undefined) return known;
    const bytes = this.#bytes(node);
    const count = countOf(staticShape(node.shape)!);
    const type = exprType(node.dtype);
    const table =
      bytes === null || bytes.length > largestTable
        ? null
        : Array.from<number | bigint, Expr>(readElements(node.dtype, bytes, count), (value) =>
            constant(value, type),
          );
    this.#tables.set(node, table);
    return table;
  }

  #element(node: Node, at: readonly Expr[]): Expr | null {
    if (!isNode(node, "constant")) return null;
    const offsets = at.map(constValue);
    if (offsets.includes(null)) return null;
    const strides = stridesOf(staticShape(node.shape)!);
    const index = offsets.reduce<number>((sum, each, axis) => sum + each! * strides[axis]!, 0);
    return this.#table(node)?.[index] ?? null;
  }

  /** An unknown element of a table of indices: some number from 0 to its largest. */
  #bounded(node: Node, at: readonly Expr[]): Expr | null {
    const exact = this.#element(node, at);
    if (exact !== null || !isNode(node, "constant") || !isInteger(node.dtype)) return exact;
    const values = this.#table(node)?.map((each) => rangeOf(each).max) ?? [-1];
    const largest = values.reduce((max, value) => Math.max(max, value), 0);
    const sound = values.every((value) => value >= 0) && Number.isSafeInteger(largest);
    return sound ? coord(`table${node.id}`, int(largest + 1)) : null;
  }

  #depth(root: Node): number {
    const stack = [root];
    while (stack.length > 0) {
      const node = stack[stack.length - 1]!;
      if (this.#depths.has(node)) {
        stack.pop();
        continue;
      }
      const depths = node.inputs.map((input) => this.#depths.get(input));
      if (depths.includes(undefined)) {
        stack.push(...node.inputs.filter((input) => !this.#depths.has(input)));
        continue;
      }
      stack.pop();
      const below = depths.reduce<number>((max, depth) => Math.max(max, depth!), 0);
      this.#depths.set(node, readable.has(node.op) ? below + 1 : Infinity);
    }
    return this.#depths.get(root)!;
  }
}

/** The value as a literal or as an expression over symbols, or null. */
function settled(value: Expr): Expr | null {
  if (isConst(value)) return value;
  const open = (each: Expr): boolean =>
    isOp(each, "load") || isOp(each, "param") || isOp(each, "coord");
  if (someExpr(value, open)) return null;
  if (someExpr(value, (each) => isOp(each, "sym")))
    return someExpr(value, (each) => isOp(each, "check")) ? null : value;
  const fail = (_: number, index: number | bigint, extent: number | bigint): never => {
    throw new FarrierError("E_INDEX", `index ${index} of an axis of ${extent}`);
  };
  return constant(evaluateExpr([value], { fail }, { round: "typed" })[0]!, value.type);
}

/** i64 values as a node: what `Shape` gives. */
export function dimensions(g: GraphBuilder, values: readonly Expr[], rank = 1): Node {
  if (values.every((value) => isConst(value))) {
    const literals = values.map((value) => (value as Expr<"const">).attr.value);
    return literal(g, "i64", rank === 0 ? [] : [values.length], literals);
  }
  if (rank === 0) return dim(g, values[0]!);
  return concat(
    g,
    values.map((value) => reshape(g, dim(g, value), [1])),
    0,
  );
}
