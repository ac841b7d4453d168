/**
 * The value of a node at symbolic coordinates: index maps instead of copies. Movement operators only
 * change coordinates, elementwise operators apply their function, and the walk ends at nodes that
 * the caller says are in memory. Shape arithmetic, mask proofs, prologues, weight programs and map
 * kernels are all this one walk.
 */
import {
  add,
  and,
  cast,
  check,
  constValue,
  constant,
  div,
  eq,
  int,
  isConst,
  le,
  lt,
  max,
  min,
  mod,
  mul,
  one,
  select,
  sub,
  unary,
  zero,
} from "../scalar/build.js";
import { rangeOf } from "../scalar/range.js";
import type { Expr } from "../scalar/expr.js";
import { computeType } from "../scalar/function.js";
import { isTinyFloat } from "../scalar/small-floats.js";
import { FarrierError } from "../errors.js";
import { dtypes, isFloat, isInteger, type DType } from "./dtype.js";
import { isNode, type Node, type Shape } from "./graph.js";
import type { OpName } from "./ops.js";
import { opTraits } from "./traits.js";

export interface ElementContext {
  /** The element of a node that is in memory, in its own dtype; null if it is to be computed. */
  stored(node: Node, coords: readonly Expr[]): Expr | null;
  /** Keeps every rounding of the graph (`strict`), or only those of memory. */
  readonly strict: boolean;
  /** Registers a run-time index check and returns its site; 0 where nobody would hear of it. */
  site(node: Node): number;
  /** The bytes of a constant of one element, if they may be read; null keeps it in memory. */
  scalar(node: Node<"constant">): Expr | null;
}

/** A node has no value at a coordinate: it is an anchor that must be in memory. */
export class NotElementwise extends FarrierError {
  constructor(readonly node: Node) {
    super("E_INTERNAL", `${node.op} is not a function of one element`);
  }
}

/** The type in which expressions hold values of a dtype: i64 for every integer. */
export function exprType(dtype: DType): DType {
  return isInteger(dtype) ? "i64" : computeType(dtype);
}

/** `value` as memory of `dtype` would give it back. */
export function throughMemory(value: Expr, dtype: DType): Expr {
  const type = exprType(dtype);
  if (isInteger(dtype)) return wrap(value, dtype);
  return type === dtype || dtype === "bool" ? value : cast(cast(value, dtype), type);
}

/** Two's complement at the width of `dtype`, unless the value provably fits. */
function wrap(value: Expr, dtype: DType): Expr {
  const { bits, kind } = dtypes[dtype];
  if (dtype === "i64" || value.type !== "i64") return value;
  const range = rangeOf(value);
  const [lo, hi] = kind === "uint" ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  return range.min >= lo && range.max <= hi ? value : cast(cast(value, dtype), "i64");
}

export class ElementReader {
  readonly #memo = new Map<string, Expr>();

  constructor(readonly context: ElementContext) {}

  /**
   * The element of `node` at `coords` (one per axis), of type `exprType(node.dtype)`.
   * @throws NotElementwise if the walk meets an anchor that is not in memory
   */
  at(node: Node, coords: readonly Expr[]): Expr {
    const key = `${node.id}:${coords.map((c) => c.id).join(",")}`;
    const known = this.#memo.get(key);
    if (known !== undefined) return known;
    const stored = this.context.stored(node, coords);
    const value =
      stored === null ? this.computed(node, coords) : cast(stored, exprType(node.dtype));
    this.#memo.set(key, value);
    return value;
  }

  /** Like `at`, but computes `node` itself even if it is in memory. */
  computed(node: Node, coords: readonly Expr[]): Expr {
    const rule = rules[node.op] as Rule;
    return rule(this, node, coords);
  }

  /** What an elementwise node makes of its inputs' values, with the roundings that are kept. */
  combine(node: Node<"map"> | Node<"cast">, args: readonly Expr[]): Expr {
    const value = isNode(node, "map")
      ? mapValue(node, args)
      : castValue(args[0]!, node.inputs[0]!.dtype, node.dtype);
    // A cast to a quantised format is meant: its rounding is no accident of a dtype.
    if (isNode(node, "cast") && isTinyFloat(node.dtype)) return throughMemory(value, node.dtype);
    return this.round(value, node.dtype);
  }

  /** The rounding that a value of `dtype` has between fused operators. */
  round(value: Expr, dtype: DType): Expr {
    return this.context.strict || !isFloat(dtype) ? throughMemory(value, dtype) : value;
  }
}

function mapValue(node: Node<"map">, args: readonly Expr[]): Expr {
  const value = node.attrs.fn.apply(args);
  return node.dtype === "bool" ? value : cast(value, exprType(node.dtype));
}

/** Conversion between dtypes, bit for bit where integers or booleans are involved. */
function castValue(value: Expr, from: DType, to: DType): Expr {
  if (to === "bool") return unary("not", eq(value, constant(0, value.type)));
  if (isInteger(to)) {
    if (isFloat(from)) return cast(cast(value, to), "i64");
    return wrap(cast(value, "i64"), to);
  }
  return cast(value, computeType(to));
}

type Rule = (reader: ElementReader, node: Node, coords: readonly Expr[]) => Expr;
type Rules = {
  readonly [O in OpName]: (reader: ElementReader, node: Node<O>, coords: readonly Expr[]) => Expr;
};

const anchor = (_reader: ElementReader, node: Node): Expr => {
  throw new NotElementwise(node);
};

/** Row-major position of `coords` in `shape`. */
export function linearize(coords: readonly Expr[], shape: Shape): Expr {
  return coords.reduce<Expr>((offset, c, axis) => add(mul(offset, shape[axis]!), c), zero);
}

/** Coordinates in `shape` of a row-major position, which lies inside it. */
export function delinearize(offset: Expr, shape: Shape): Expr[] {
  const coords: Expr[] = [];
  // The first axis that has extent takes what is left, without a modulo that would change nothing.
  const first = shape.findIndex((dim) => !isConst(dim, 1));
  let rest = offset;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const dim = shape[axis]!;
    coords.unshift(isConst(dim, 1) ? zero : axis === first ? rest : mod(rest, dim));
    rest = div(rest, dim);
  }
  return coords;
}

/**
 * Coordinates in shape `to` of the element at `coords` in shape `from`. Axes are matched in the
 * smallest groups of equal size, so that what a reshape leaves alone stays untouched, and an index
 * that only a guard keeps inside its axis still splits cleanly.
 */
export function reshapeCoords(coords: readonly Expr[], from: Shape, to: Shape): Expr[] {
  const result: Expr[] = [];
  let [i, j] = [0, 0];
  while (i < from.length || j < to.length) {
    const [fromStart, toStart] = [i, j];
    let left = from[i++] ?? one;
    let right = to[j++] ?? one;
    while (left !== right && (i < from.length || j < to.length)) {
      const growLeft =
        j >= to.length || (i < from.length && rangeOf(left).max <= rangeOf(right).max);
      if (growLeft) left = mul(left, from[i++]!);
      else right = mul(right, to[j++]!);
    }
    const inner = linearize(coords.slice(fromStart, i), from.slice(fromStart, i));
    result.push(...delinearize(inner, to.slice(toStart, j)));
  }
  return result;
}

/** Coordinates in the input of a movement operator with one input. */
export const inputCoords = {
  reshape: (node: Node<"reshape">, coords: readonly Expr[]) =>
    reshapeCoords(coords, node.shape, node.inputs[0]!.shape),
  transpose: (node: Node<"transpose">, coords: readonly Expr[]) => {
    const inner: Expr[] = [];
    node.attrs.perm.forEach((from, to) => (inner[from] = coords[to]!));
    return inner;
  },
  broadcast: (node: Node<"broadcast">, coords: readonly Expr[]) => {
    const { shape } = node.inputs[0]!;
    return shape.map((dim, axis) =>
      isConst(dim, 1) ? zero : coords[axis + coords.length - shape.length]!,
    );
  },
  slice: (node: Node<"slice">, coords: readonly Expr[]) =>
    coords.map((c, axis) => add(node.attrs.starts[axis]!, mul(c, int(node.attrs.steps[axis]!)))),
} as const;

interface ConcatPart {
  readonly part: Node;
  readonly start: Expr;
  readonly end: Expr;
}

/** The parts of a concatenation that `position` may lie in, as far as ranges tell. */
function reachedParts(node: Node<"concat">, position: Expr): ConcatPart[] {
  const { min, max } = rangeOf(position);
  const parts: ConcatPart[] = [];
  // Weights of many experts are many parts: their places are numbers, and most are not reached.
  let [known, start]: [number | null, Expr] = [0, zero];
  for (const part of node.inputs) {
    const extent = part.shape[node.attrs.axis]!;
    const size = constValue(extent);
    if (size === 0) continue;
    const next: number | null = known === null || size === null ? null : known + size;
    const beside: boolean = known !== null && next !== null && (known > max || next <= min);
    if (known !== null) start = beside ? start : int(known);
    const end: Expr = beside ? start : next === null ? add(start, extent) : int(next);
    if (!beside) parts.push({ part, start, end });
    [known, start] = [next, end];
  }
  return parts;
}

function concatValue(reader: ElementReader, node: Node<"concat">, coords: readonly Expr[]): Expr {
  const { axis } = node.attrs;
  const position = coords[axis]!;
  let value: Expr | null = null;
  for (const { part, start: from, end } of reachedParts(node, position).reverse()) {
    // A part that the position can never or must always reach leaves no select.
    const inside = and(le(from, position), lt(position, end));
    if (isConst(inside, 0)) continue;
    const here = reader.at(
      part,
      coords.map((c, i) => (i === axis ? sub(c, from) : c)),
    );
    value = value === null ? here : select(lt(position, end), here, value);
  }
  if (value === null) throw new NotElementwise(node);
  return value;
}

/** Whether indices are choices among `extent`, made here and not brought by a run. */
function areChoices(indices: Node, extent: Expr): boolean {
  let base = indices;
  while (opTraits[base.op].view || base.op === "cast") base = base.inputs[0]!;
  return base.op === "route" && base.inputs[0]!.shape[1] === extent;
}

/** An index that a run checks; without a run, one that breaks nothing. */
function inside(reader: ElementReader, node: Node, index: Expr, extent: Expr): Expr {
  if (areChoices(node.inputs[1]!, extent)) return max(zero, min(index, sub(extent, one)));
  const site = reader.context.site(node);
  const checked = check(index, extent, Math.max(1, site));
  if (site !== 0 || checked === index) return checked;
  return select(and(le(zero, index), lt(index, extent)), index, zero);
}

function gatherValue(reader: ElementReader, node: Node<"gather">, coords: readonly Expr[]): Expr {
  const [data, indices] = node.inputs as [Node, Node];
  const { axis } = node.attrs;
  const rank = indices.shape.length;
  const index = reader.at(indices, coords.slice(axis, axis + rank));
  const extent = data.shape[axis]!;
  return reader.at(data, [
    ...coords.slice(0, axis),
    inside(reader, node, index, extent),
    ...coords.slice(axis + rank),
  ]);
}

function gatherNdValue(
  reader: ElementReader,
  node: Node<"gather_nd">,
  coords: readonly Expr[],
): Expr {
  const [data, indices] = node.inputs as [Node, Node];
  const { batchDims } = node.attrs;
  const outer = indices.shape.length - 1;
  const count = Number(rangeOf(indices.shape[outer]!).max);
  const picked = Array.from({ length: count }, (_, i) =>
    inside(
      reader,
      node,
      reader.at(indices, [...coords.slice(0, outer), int(i)]),
      data.shape[batchDims + i]!,
    ),
  );
  return reader.at(data, [...coords.slice(0, batchDims), ...picked, ...coords.slice(outer)]);
}

/**
 * The two values that a rotation mixes, and what it makes of them. `round` is what eager execution
 * does to each product and to the sum.
 */
export function rotate(
  first: Expr,
  second: Expr,
  cos: Expr,
  sin: Expr,
  round: (value: Expr) => Expr,
): [Expr, Expr] {
  const product = (a: Expr, b: Expr): Expr => round(mul(a, b));
  return [
    round(sub(product(first, cos), product(second, sin))),
    round(add(product(second, cos), product(first, sin))),
  ];
}

function rotaryValue(reader: ElementReader, node: Node<"rotary">, coords: readonly Expr[]): Expr {
  const [x, cos, sin] = node.inputs as [Node, Node, Node];
  const outer = coords.slice(0, -1);
  const position = coords[coords.length - 1]!;
  const half = div(node.shape[node.shape.length - 1]!, int(2));
  const { interleaved } = node.attrs;
  const isFirst = interleaved ? eq(mod(position, int(2)), zero) : lt(position, half);
  const angle = interleaved
    ? div(position, int(2))
    : select(isFirst, position, sub(position, half));
  const partner = interleaved
    ? select(isFirst, add(position, int(1)), sub(position, int(1)))
    : select(isFirst, add(position, half), sub(position, half));
  const own = reader.at(x, coords);
  const other = reader.at(x, [...outer, partner]);
  const [c, s] = [cos, sin].map((table) =>
    cast(reader.at(table, broadcastCoords(table.shape, [...outer, angle])), own.type),
  ) as [Expr, Expr];
  const round = (value: Expr): Expr => reader.round(value, node.dtype);
  const [straight, crossed] = [round(mul(own, c)), round(mul(other, s))];
  return round(select(isFirst, sub(straight, crossed), add(straight, crossed)));
}

/** Coordinates for a tensor that NumPy broadcasting repeats along axes of extent 1. */
export function broadcastCoords(shape: Shape, coords: readonly Expr[]): Expr[] {
  return shape.map((dim, axis) =>
    isConst(dim, 1) ? zero : coords[axis + coords.length - shape.length]!,
  );
}

function scanValue(reader: ElementReader, node: Node<"scan">, coords: readonly Expr[]): Expr {
  const { kind, axis, exclusive, reverse } = node.attrs;
  const input = node.inputs[0]!;
  // Only a sum of equal terms has a closed form.
  const probe = reader.at(input, coords);
  const moved = reader.at(
    input,
    coords.map((c, i) => (i === axis ? zero : c)),
  );
  if (probe !== moved || kind !== "sum") throw new NotElementwise(node);
  const along = reverse ? sub(sub(input.shape[axis]!, int(1)), coords[axis]!) : coords[axis]!;
  const count = exclusive ? along : add(along, int(1));
  return mul(probe, cast(count, probe.type));
}

const rules: Rules = {
  input: anchor,
  state: anchor,
  constant: (reader, node) => {
    const value = node.shape.every((dim) => isConst(dim, 1)) ? reader.context.scalar(node) : null;
    if (value === null) throw new NotElementwise(node);
    return cast(value, exprType(node.dtype));
  },
  iota: (_reader, node, coords) => coords[node.attrs.axis]!,
  dim: (_reader, node) => node.attrs.value,
  map: (reader, node, coords) =>
    reader.combine(
      node,
      node.inputs.map((input) => reader.at(input, input.shape.length === 0 ? [] : coords)),
    ),
  cast: (reader, node, coords) => reader.combine(node, [reader.at(node.inputs[0]!, coords)]),
  reshape: (reader, node, coords) => reader.at(node.inputs[0]!, inputCoords.reshape(node, coords)),
  transpose: (reader, node, coords) =>
    reader.at(node.inputs[0]!, inputCoords.transpose(node, coords)),
  broadcast: (reader, node, coords) =>
    reader.at(node.inputs[0]!, inputCoords.broadcast(node, coords)),
  slice: (reader, node, coords) => reader.at(node.inputs[0]!, inputCoords.slice(node, coords)),
  concat: concatValue,
  gather: gatherValue,
  gather_nd: gatherNdValue,
  rotary: rotaryValue,
  scan: scanValue,
  dequantize: (reader, node, coords) => {
    const [x, scale] = node.inputs as [Node, Node];
    const { axis, group } = node.attrs;
    const at = coords.map((c, i) => (i === axis ? div(c, int(group)) : c));
    const type = exprType(node.dtype);
    return reader.round(
      mul(cast(reader.at(x, coords), type), cast(reader.at(scale, at), type)),
      node.dtype,
    );
  },
  reduce: anchor,
  top_k: anchor,
  scatter: anchor,
  softmax: anchor,
  normalize: anchor,
  matmul: anchor,
  attention: anchor,
  sample: anchor,
  route: anchor,
  expert_groups: anchor,
  expert_matmul: anchor,
  cache_write: anchor,
  paged_write: anchor,
};
