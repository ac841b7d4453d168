/** What gemm and attention kernels should write, in double precision from the rounded operands. */
import type { AttentionDesc, GemmDesc, KernelDesc, Store } from "../../../compiler/kernel/desc.js";
import { rawName } from "../../../compiler/kernel/desc.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { isOp, type Expr } from "../../../compiler/scalar/expr.js";
import { cast } from "../../../compiler/scalar/build.js";
import { compileExpr, type Env, type Value } from "../../../compiler/scalar/evaluate.js";
import { castValue } from "../../../compiler/scalar/round.js";

/** Values of operands; outputs are overwritten. */
export type Tensors = Map<string, Value[]>;
export type Symbols = Readonly<Record<string, number>>;

type Run = (bound: Record<string, Value>) => Value[];

/** Prepares expressions for repeated evaluation over named coordinates and params. */
export function prepare(roots: readonly Expr[], tensors: Tensors, symbols: Symbols): Run {
  const compiled = compileExpr(roots);
  return (bound) => {
    const env: Env = {
      coord: (name) => bound[name]!,
      param: (name) => bound[name]!,
      sym: (name) => symbols[name]!,
      load: (buffer, offset) => {
        const value = tensors.get(buffer)?.[offset];
        if (value === undefined)
          throw new Error(`load of ${buffer}[${offset}] of ${tensors.get(buffer)?.length}`);
        return value;
      },
    };
    return compiled(env);
  };
}

export const sizeOf = (extent: Expr, symbols: Symbols): number =>
  Number(compileExpr([extent])({ sym: (name) => symbols[name]! })[0]);

const nameOf = (leaf: Expr): string => (isOp(leaf, "coord") ? leaf.attr.name : "");

function* box(
  coords: readonly Expr[],
  extents: readonly number[],
): Generator<Record<string, number>> {
  const total = extents.reduce((product, extent) => product * extent, 1);
  for (let flat = 0; flat < total; flat++) {
    const point: Record<string, number> = {};
    let rest = flat;
    for (let i = coords.length - 1; i >= 0; i--) {
      point[nameOf(coords[i]!)] = rest % extents[i]!;
      rest = Math.floor(rest / extents[i]!);
    }
    yield point;
  }
}

/** Performs stores at a point. */
function storer(
  desc: KernelDesc,
  stores: readonly Store[],
  tensors: Tensors,
  symbols: Symbols,
): (bound: Record<string, Value>) => void {
  const types = new Map<string, DType>(
    desc.operands.map((operand) => [operand.name, operand.dtype]),
  );
  const runs = stores.map((store) => ({
    store,
    guard: store.guard === null ? null : prepare([store.guard], tensors, symbols),
    rest: prepare([store.offset, store.value], tensors, symbols),
  }));
  return (bound) => {
    for (const { store, guard, rest } of runs) {
      if (guard !== null && guard(bound)[0] === 0) continue;
      const [offset, value] = rest(bound);
      const out = tensors.get(store.operand)!;
      if (!(Number(offset) in out)) throw new Error(`store to ${store.operand}[${offset}]`);
      out[Number(offset)] = castValue(value!, store.value.type, types.get(store.operand)!);
    }
  };
}

/** Columns of B [column][k] at a batch: packed, or the desc's own expression. */
function columnsOfB(
  desc: GemmDesc,
  tensors: Tensors,
  symbols: Symbols,
  count: number,
  depth: number,
): (batch: Record<string, Value>) => Float64Array[] {
  if (desc.b.kind === "packed") {
    const values = tensors.get(desc.b.operand)!;
    const row = Math.ceil(depth / 8) * 8;
    const columns = Array.from({ length: count }, (_, column) =>
      Float64Array.from({ length: depth }, (__, k) => Number(values[column * row + k])),
    );
    return () => columns;
  }
  const run = prepare([cast(desc.b.value, desc.dtype)], tensors, symbols);
  return (batch) => matrix(run, batch, nameOf(desc.n), count, nameOf(desc.k), depth);
}

const start = { sum: 0, max: -Infinity, min: Infinity, prod: 1 } as const;
const combine = {
  sum: (a: number, b: number) => a + b,
  prod: (a: number, b: number) => a * b,
  max: Math.max,
  min: Math.min,
} as const;

export function referenceGemm(desc: GemmDesc, tensors: Tensors, symbols: Symbols): void {
  const size = (extent: Expr): number => sizeOf(extent, symbols);
  const [rows, columns, depth] = [size(desc.mExtent), size(desc.nExtent), size(desc.kExtent)];
  const a = prepare([cast(desc.a, desc.dtype)], tensors, symbols);
  const columnsOf = columnsOfB(desc, tensors, symbols, columns * desc.group, depth);
  const store = storer(desc, desc.stores, tensors, symbols);
  const stages = desc.stages.map((stage) => ({
    stage,
    body: prepare([stage.body], tensors, symbols),
    finish: prepare([stage.finish], tensors, symbols),
  }));
  const [m, n, k] = [nameOf(desc.m), nameOf(desc.n), nameOf(desc.k)];
  for (const batch of box(desc.batch, desc.batchExtents.map(size))) {
    const b = columnsOf(batch);
    for (let row = 0; row < rows; row++) {
      const bound: Record<string, Value> = { ...batch, [m]: row };
      for (const { stage, body, finish } of stages) {
        let raw: number = start[stage.kind];
        for (let i = 0; i < depth; i++)
          raw = combine[stage.kind](raw, Number(body({ ...bound, [k]: i })[0]));
        bound[rawName(stage.name)] = raw;
        bound[stage.name] = finish(bound)[0]!;
      }
      const [line] = matrix(a, bound, "row", 1, k, depth);
      for (let column = 0; column < columns; column++) {
        const point: Record<string, Value> = { ...bound, [n]: column };
        for (let i = 0; i < desc.group; i++)
          point[`acc${i}`] = dot(line!, b[column * desc.group + i]!);
        store(point);
      }
    }
  }
}

/** Rows [count][width] of an operand of attention at a batch and key head. */
function matrix(
  value: Run,
  point: Record<string, Value>,
  row: string,
  count: number,
  column: string,
  width: number,
): Float64Array[] {
  const bound = { ...point };
  return Array.from({ length: count }, (_, i) => {
    bound[row] = i;
    return Float64Array.from({ length: width }, (__, j) => {
      bound[column] = j;
      return Number(value(bound)[0]);
    });
  });
}

const dot = (x: Float64Array, y: Float64Array): number =>
  x.reduce((sum, value, i) => sum + value * y[i]!, 0);

export function referenceAttention(desc: AttentionDesc, tensors: Tensors, symbols: Symbols): void {
  const { extents } = desc;
  const size = (extent: Expr): number => sizeOf(extent, symbols);
  const [depth, width] = [size(extents.d), size(extents.e)];
  const run = (root: Expr): Run => prepare([root], tensors, symbols);
  const [query, key, value] = [desc.queries, desc.keys, desc.values].map((operand) =>
    run(cast(operand, desc.dtype)),
  );
  const [score, end] = [run(desc.score), run(extents.k)];
  const store = storer(desc, desc.stores, tensors, symbols);
  const [d, e, k] = [nameOf(desc.d), nameOf(desc.e), nameOf(desc.k)];
  const heads = [desc.r, desc.q];
  for (const head of box([desc.b, desc.g], [extents.b, extents.g].map(size))) {
    const count = Number(end(head)[0]);
    const keys = matrix(key!, head, k, count, d, depth);
    const values = matrix(value!, head, k, count, e, width);
    for (const row of box(heads, [extents.r, extents.q].map(size))) {
      const point: Record<string, Value> = { ...head, ...row };
      const [line] = matrix(query!, point, "row", 1, d, depth);
      const scores = keys.map((other, j) => {
        point[k] = j;
        point["score"] = dot(line!, other) * desc.scale;
        return Number(score(point)[0]);
      });
      const top = Math.max(-Infinity, ...scores);
      const weights = scores.map((x) => (top === -Infinity ? 0 : Math.exp(x - top)));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const acc = new Float64Array(width);
      weights.forEach((weight, j) => {
        if (weight !== 0) values[j]!.forEach((x, i) => (acc[i]! += weight * x));
      });
      acc.forEach((x, i) => store({ ...point, [e]: i, acc: total === 0 ? 0 : x / total }));
    }
  }
}
