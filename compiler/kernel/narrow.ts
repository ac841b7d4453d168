/**
 * Element types that no target loads: floats of 8 bits and less, integers of less than 8. Kernels see
 * bytes, and integer arithmetic around them, so that no back end knows these types at all.
 */
import { dtypes, type DType } from "../ir/dtype.js";
import { bug } from "../errors.js";
import {
  add,
  binary,
  bitcast,
  cast,
  ceilDiv,
  constant,
  div,
  int,
  load,
  lt,
  max,
  min,
  mod,
  mul,
  rebuild,
  select,
} from "../scalar/build.js";
import { isOp, postorder, type Expr } from "../scalar/expr.js";
import { limits } from "../scalar/round.js";
import { decodeTiny, encodeTiny, isTinyFloat } from "../scalar/small-floats.js";

/** True if elements share bytes. */
export const isSubByte = (dtype: DType): boolean => dtypes[dtype].bits < 8;

/** True if kernels hold this type as bytes. */
export const isNarrow = (dtype: DType): boolean => isSubByte(dtype) || isTinyFloat(dtype);

const perByte = (dtype: DType): number => 8 / dtypes[dtype].bits;
const i32 = (value: number): Expr => constant(value, "i32");

/** The same computation over bytes. Values of narrow types become i32: floats their patterns. */
export function narrowed(roots: readonly Expr[]): Expr[] {
  const memo = new Map<Expr, Expr>();
  postorder(roots, (node) => {
    const args = node.args.map((arg) => memo.get(arg)!);
    const same = args.every((arg, index) => arg === node.args[index]);
    memo.set(node, converted(node, args) ?? (same ? node : rebuild(node, args)));
  });
  return roots.map((root) => memo.get(root)!);
}

/** What becomes of a node that makes or takes a narrow value; null for others. */
function converted(node: Expr, args: readonly Expr[]): Expr | null {
  if (isNarrow(node.type)) return toNarrow(node, args);
  const [from] = node.args;
  if (from === undefined || !isNarrow(from.type)) return null;
  if (isOp(node, "cast")) return cast(valueOf(args[0]!, from.type), node.type);
  if (isOp(node, "bitcast")) return bitsTo(args[0]!, from.type, node.type);
  throw bug(`${node.op} of ${from.type}: expressions only convert such values`);
}

/** An i32 that stands for a narrow value. */
function toNarrow(node: Expr, args: readonly Expr[]): Expr {
  const { type } = node;
  const [from] = node.args;
  const [a, b, c] = args as [Expr, Expr, Expr];
  if (isOp(node, "const")) return constantOf(node, type);
  if (isOp(node, "load")) return loaded(node.attr.buffer, a, type);
  if (isOp(node, "select")) return select(a, b, c);
  if (isOp(node, "bitcast")) return fromBits(a, from!.type, type);
  if (!isOp(node, "cast")) throw bug(`${node.op} of type ${type}`);
  const value = isNarrow(from!.type) ? valueOf(a, from!.type) : a;
  return isTinyFloat(type) ? encoded(value, type) : integer(value, type);
}

function constantOf(node: Expr<"const">, type: DType): Expr {
  const { value } = node.attr;
  if (!isTinyFloat(type)) return i32(Number(value));
  return encodeTiny(constant(value, "f32"), type);
}

/** The byte that holds the element, and of it the element's bits. */
function loaded(buffer: string, offset: Expr, type: DType): Expr {
  if (!isSubByte(type)) return cast(load(buffer, offset, "u8"), "i32");
  const count = int(perByte(type));
  const byte = cast(load(buffer, div(offset, count), "u8"), "i32");
  const shift = cast(mul(mod(offset, count), int(dtypes[type].bits)), "i32");
  return extended(binary("shr", byte, shift), type);
}

/** The low bits of an i32 as a value of `type`; floats keep their pattern. */
function extended(bits: Expr, type: DType): Expr {
  const { bits: width, kind } = dtypes[type];
  if (kind !== "int") return binary("and", bits, i32(2 ** width - 1));
  const shift = i32(32 - width);
  return binary("shr", binary("shl", bits, shift), shift);
}

function integer(value: Expr, type: DType): Expr {
  if (dtypes[value.type].kind !== "float") return extended(cast(value, "i32"), type);
  const [low, high] = limits(type).map(Number) as [number, number];
  return min(max(cast(value, "i32"), i32(low)), i32(high));
}

/** A pattern that was only decoded is the pattern: infinities do not saturate on the way. */
function encoded(value: Expr, type: DType): Expr {
  const pattern = patterns.get(value)?.get(type);
  if (pattern !== undefined) return pattern;
  if (isOp(value, "select")) {
    const [condition, a, b] = value.args as [Expr, Expr, Expr];
    if (isDecoded(a, type) || isDecoded(b, type))
      return select(condition, encoded(a, type), encoded(b, type));
  }
  return encodeTiny(value, type);
}

function isDecoded(value: Expr, type: DType): boolean {
  if (patterns.get(value)?.has(type) === true) return true;
  return isOp(value, "select") && value.args.slice(1).some((arm) => isDecoded(arm, type));
}

/** What the decoded values that were made are made of. */
const patterns = new WeakMap<Expr, Map<DType, Expr>>();

function valueOf(narrow: Expr, type: DType): Expr {
  if (!isTinyFloat(type)) return narrow;
  const value = decodeTiny(narrow, type);
  const known = patterns.get(value) ?? new Map<DType, Expr>();
  known.set(type, narrow);
  patterns.set(value, known);
  return value;
}

/** The pattern of a narrow value as another type of the same width. */
function bitsTo(narrow: Expr, from: DType, to: DType): Expr {
  if (dtypes[from].bits !== dtypes[to].bits) throw bug(`the bits of ${from} as ${to}`);
  return cast(narrow, to);
}

function fromBits(value: Expr, from: DType, to: DType): Expr {
  return extended(isNarrow(from) ? value : cast(value, "i32"), to);
}

/** Bytes that hold `elements` values. */
export const byteCount = (elements: Expr, type: DType): Expr =>
  ceilDiv(elements, int(perByte(type)));

/** The value that is stored where memory has `type`: a byte. */
export function storedByte(value: Expr, type: DType): Expr {
  if (!isSubByte(type)) return bitcast(cast(value, type), "u8");
  if (value.type !== "u8") throw bug(`a store of one element of ${type}, which shares its byte`);
  return value;
}

/**
 * The byte at `index` of a tensor of sub-byte elements: `element` gives the value at a flat index
 * below `count`.
 */
export function packedByte(
  index: Expr,
  count: Expr,
  type: DType,
  element: (flat: Expr) => Expr,
): Expr {
  const { bits } = dtypes[type];
  const unsigned: DType = bits === 4 ? "u4" : "u2";
  const parts = Array.from({ length: perByte(type) }, (_, i) => {
    const flat = add(mul(index, int(perByte(type))), int(i));
    const pattern = cast(bitcast(cast(element(flat), type), unsigned), "i32");
    return binary("shl", select(lt(flat, count), pattern, i32(0)), i32(i * bits));
  });
  return cast(
    parts.reduce((all, part) => binary("or", all, part)),
    "u8",
  );
}
