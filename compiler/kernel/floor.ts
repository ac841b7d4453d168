/**
 * The least that a kernel moves and computes, from its description: every element that it needs of an
 * operand read once, every element that it writes written once, and the operations of its product.
 * What memory and arithmetic a device has then bound its time from below, whatever its tiles are.
 */
import { byteSize, type DType } from "../ir/dtype.js";
import {
  add,
  int,
  max,
  min,
  mul,
  one,
  rewriteExpr,
  sub,
  substitute,
  sym,
  zero,
} from "../scalar/build.js";
import { isOp, someExpr, type Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { statusOperand, type AttentionDesc, type DescOf, type Family } from "./desc.js";
import type { PlannedKernel } from "./memory.js";
import { plain, Uses, type Extents } from "./uses.js";

/** `factor` · Σ `each` over the coordinate `over`: the literal 0 where there is one value. */
export interface Total {
  readonly factor: Expr;
  readonly each: Expr;
  readonly over: Expr;
}

/** Over symbols; one of the space `device` is the value of the input of its name. */
export interface Floor {
  /** Bytes. */
  readonly read: Expr;
  readonly written: Expr;
  /** Multiplications and additions of its products; elementwise arithmetic is not counted. */
  readonly operations: Total;
  /** The type of the products' operands; null where there is none. */
  readonly dtype: DType | null;
}

/** What a family's floor has besides its operands; null where it multiplies no matrices. */
type Product<F extends Family> = null | {
  /** Coordinates that take fewer values than they have. */
  readonly extents: (desc: DescOf<F>, kernel: PlannedKernel) => Extents;
  readonly operations: (desc: DescOf<F>, kernel: PlannedKernel) => Total;
  readonly dtype: (desc: DescOf<F>) => DType;
};

const products: { readonly [F in Family]: Product<F> } = {
  map: null,
  reduce: null,
  gemm: {
    extents: ({ m, rowsInAll }) => new Map(rowsInAll === undefined ? [] : [[m, rowsInAll]]),
    operations: (desc) => {
      const rows = desc.rowsInAll ?? desc.batchExtents.reduce(mul, desc.mExtent);
      const factor = [int(2 * desc.group), rows, desc.nExtent].reduce(mul);
      return { factor, each: desc.kExtent, over: zero };
    },
    dtype: ({ dtype }) => dtype,
  },
  attention: {
    extents: (desc, kernel) => {
      const { first, end } = keysOf(desc, kernel);
      const at = (bound: Expr, q: Expr): Expr => substitute([bound], new Map([[desc.q, q]]))[0]!;
      // Bounds grow with the query: the first key is that of the first, the end that of the last.
      const keys = sub(at(end, sub(desc.extents.q, one)), at(first, zero));
      return new Map([[desc.k, max(zero, keys)]]);
    },
    // Of the pairs that the mask leaves: a query times its keys, and the weights times the values.
    operations: (desc, kernel) => {
      const { b, g, r, d, e } = desc.extents;
      const { first, end } = keysOf(desc, kernel);
      const factor = [int(2), b, g, r, add(d, e)].reduce(mul);
      return { factor, each: max(zero, sub(end, first)), over: desc.q };
    },
    dtype: ({ dtype }) => dtype,
  },
  route: null,
  group: null,
  sample: null,
  scan: null,
  topk: null,
  scatter: null,
};

const none: Total = { factor: zero, each: zero, over: zero };

export function floorOf(kernel: PlannedKernel): Floor {
  return floorIn(kernel, kernel.desc);
}

function floorIn<F extends Family>(kernel: PlannedKernel, desc: DescOf<F>): Floor {
  const product = products[desc.family];
  const used = new Uses(desc, product?.extents(desc, kernel) ?? new Map());
  const bytes = (how: "read" | "write"): Expr =>
    desc.operands
      .filter(({ name, access }) => name !== statusOperand && [how, "readwrite"].includes(access))
      .map((operand) => mul(used.of(operand, how), int(byteSize(operand.dtype, 1))))
      .reduce(add, zero);
  return {
    read: bytes("read"),
    written: bytes("write"),
    operations: product?.operations(desc, kernel) ?? none,
    dtype: product?.dtype(desc) ?? null,
  };
}

/** The keys of a query, over symbols and q. All that there can be, where only a kernel knows. */
function keysOf(desc: AttentionDesc, kernel: PlannedKernel): AttentionDesc["bounds"] {
  const limit = known(kernel, desc, desc.extents.k) ?? int(rangeOf(desc.extents.k).max);
  return {
    first: known(kernel, desc, desc.bounds.first) ?? zero,
    end: min(known(kernel, desc, desc.bounds.end) ?? limit, limit),
  };
}

/** With the model's inputs as symbols of the device; null where other memory or coordinates count. */
function known({ buffers }: PlannedKernel, desc: AttentionDesc, expr: Expr): Expr | null {
  const [value] = rewriteExpr([expr], (node, original) => {
    if (isOp(node, "check")) return node.args[0]!;
    if (!isOp(original, "load")) return null;
    const at = desc.operands.findIndex(({ name }) => name === original.attr.buffer);
    const buffer = buffers[at];
    if (buffer?.place !== "input") return null;
    const { min: least, max: most } = rangeOf(original);
    const range = { min: Math.max(0, least), max: most, divisor: 1 };
    return sym({ name: buffer.name, space: "device", ...range });
  }) as [Expr];
  const strange = (node: Expr): boolean => !plain.has(node.op) && node !== desc.q;
  return someExpr(value, strange) ? null : value;
}
