/** The fp64 reference of every kernel family: loops over the desc itself, with the interpreter. */
import type {
  AttentionDesc,
  GemmDesc,
  KernelDesc,
  MapDesc,
  ReduceDesc,
  Stage,
  Store,
} from "../../../compiler/kernel/desc.js";
import { rawName } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import { compileExpr, type Env, type Value } from "../../../compiler/scalar/evaluate.js";
import { isOp, type Expr } from "../../../compiler/scalar/expr.js";
import { add, int, mul } from "../../../compiler/scalar/build.js";
import { hostValue, type Symbols, type Values } from "./harness.js";

/** Operands as doubles; what is never written stays NaN. */
type Memory = Record<string, Float64Array>;

class Interpreter {
  readonly coords = new Map<string, number>();
  readonly params = new Map<string, Value>();
  readonly memory: Memory = {};
  readonly #compiled = new Map<Expr, (env: Env) => Value[]>();
  readonly #env: Env;

  constructor(desc: KernelDesc, values: Values, symbols: Symbols) {
    for (const { name, elements } of desc.operands)
      this.memory[name] =
        values[name] === undefined
          ? new Float64Array(hostValue(elements, symbols)).fill(NaN)
          : Float64Array.from(values[name]);
    this.#env = {
      coord: (name) => this.coords.get(name)!,
      param: (name) => this.params.get(name)!,
      sym: (name) => symbols[name]!,
      load: (buffer, offset) => {
        const found = this.memory[buffer]?.[offset];
        if (found === undefined) throw new Error(`${buffer}[${offset}] does not exist`);
        return found;
      },
    };
  }

  value(expr: Expr): number {
    let run = this.#compiled.get(expr);
    if (run === undefined) this.#compiled.set(expr, (run = compileExpr([expr])));
    return Number(run(this.#env)[0]);
  }

  set(coord: Expr, value: number): void {
    if (isOp(coord, "coord")) this.coords.set(coord.attr.name, value);
  }

  each(coords: readonly Expr[], extents: readonly Expr[], body: () => void): void {
    const [coord, ...inner] = coords;
    if (coord === undefined) return body();
    const extent = this.value(extents[0]!);
    for (let i = 0; i < extent; i++) {
      this.set(coord, i);
      this.each(inner, extents.slice(1), body);
    }
  }

  store(stores: readonly Store[]): void {
    const writes = stores
      .filter(({ guard }) => guard === null || this.value(guard) !== 0)
      .map(
        ({ operand, offset, value }) => [operand, this.value(offset), this.value(value)] as const,
      );
    for (const [operand, offset, value] of writes) this.memory[operand]![offset] = value;
  }

  stages(stages: readonly Stage[], axis: Expr, extent: Expr): void {
    for (const { name, kind, body, finish } of stages) {
      let total = { sum: 0, prod: 1, max: -Infinity, min: Infinity }[kind];
      this.each([axis], [extent], () => {
        const value = this.value(body);
        if (kind === "sum") total += value;
        else if (kind === "prod") total *= value;
        else total = kind === "max" ? Math.max(total, value) : Math.min(total, value);
      });
      this.params.set(rawName(name), total);
      this.params.set(name, this.value(finish));
    }
  }
}

const known = new Map<string, Memory>();

/** What `desc` computes. The same case runs on several instruction sets, so answers are kept. */
export function reference(desc: KernelDesc, values: Values, symbols: Symbols): Memory {
  const sums = Object.entries(values).map(([name, v]) => [
    name,
    Array.from(v).reduce((a, x, i) => a + x * (i + 1), 0),
  ]);
  const key = JSON.stringify([desc.label, symbols, sums]);
  const before = known.get(key);
  if (before !== undefined) return before;
  const memory = interpret(desc, values, symbols);
  known.set(key, memory);
  return memory;
}

function interpret(desc: KernelDesc, values: Values, symbols: Symbols): Memory {
  const interpreter = new Interpreter(desc, values, symbols);
  if (desc.family === "map") map(interpreter, desc);
  else if (desc.family === "reduce") reduce(interpreter, desc);
  else if (desc.family === "gemm") gemm(interpreter, desc);
  else if (desc.family === "attention") attention(interpreter, desc);
  else throw new Error(`no reference for kernels of family ${desc.family}`);
  return interpreter.memory;
}

const map = (at: Interpreter, desc: MapDesc): void =>
  at.each(desc.coords, desc.extents, () => at.store(desc.stores));

function reduce(at: Interpreter, desc: ReduceDesc): void {
  at.each(desc.coords, desc.extents, () => {
    at.stages(desc.stages, desc.axis, desc.axisExtent);
    at.each([desc.axis], [desc.axisExtent], () => at.store(desc.elementStores));
    at.store(desc.rowStores);
  });
}

function gemm(at: Interpreter, desc: GemmDesc): void {
  const [n, k] = [at.value(desc.nExtent), at.value(desc.kExtent)];
  const { columns } = targetNamed("cpu").packing(desc.dtype);
  const right = (p: number, column: number): number => {
    if (desc.b.kind === "packed")
      return at.memory[desc.b.operand]![
        (column - (column % columns)) * k + p * columns + (column % columns)
      ]!;
    at.set(desc.k, p);
    at.set(desc.n, column);
    return at.value(desc.b.value);
  };
  at.each(desc.batch, desc.batchExtents, () => {
    const b = Float64Array.from({ length: n * desc.group * k }, (_, i) =>
      right(i % k, Math.floor(i / k)),
    );
    at.each([desc.m], [desc.mExtent], () => {
      at.stages(desc.stages, desc.k, desc.kExtent);
      const a = Float64Array.from({ length: k }, (_, i) => (at.set(desc.k, i), at.value(desc.a)));
      at.each([desc.n], [desc.nExtent], () => {
        const column = n === 1 ? 0 : at.coords.get((desc.n as Expr<"coord">).attr.name)!;
        for (let i = 0; i < desc.group; i++) {
          let acc = 0;
          for (let p = 0; p < k; p++) acc += a[p]! * b[(column * desc.group + i) * k + p]!;
          at.params.set(`acc${i}`, acc);
        }
        at.store(desc.stores);
      });
    });
  });
}

/** `value` over two coordinates, row by row: bodies are slow to interpret, products are not. */
function matrix(
  at: Interpreter,
  value: Expr,
  [x, rows]: readonly [Expr, number],
  [y, columns]: readonly [Expr, number],
): Float64Array[] {
  return Array.from({ length: rows }, (_, i) => {
    at.set(x, i);
    return Float64Array.from({ length: columns }, (_, j) => (at.set(y, j), at.value(value)));
  });
}

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, x, i) => sum + x * b[i]!, 0);

function attention(at: Interpreter, desc: AttentionDesc): void {
  const { extents } = desc;
  const [d, e] = [at.value(extents.d), at.value(extents.e)];
  at.each([desc.b, desc.g], [extents.b, extents.g], () => {
    const keyCount = at.value(extents.k);
    const keys = matrix(at, desc.keys, [desc.k, keyCount], [desc.d, d]);
    const values = matrix(at, desc.values, [desc.k, keyCount], [desc.e, e]);
    at.each([desc.r, desc.q], [extents.r, extents.q], () => {
      const query = matrix(at, desc.queries, [int(0), 1], [desc.d, d])[0]!;
      const end = Math.min(keyCount, at.value(desc.bounds.end));
      const scores: number[] = [];
      for (let k = Math.max(0, at.value(desc.bounds.first)); k < end; k++) {
        at.set(desc.k, k);
        at.params.set("score", dot(query, keys[k]!) * desc.scale);
        scores[k] = at.value(desc.score);
      }
      const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const weights = scores.map((s) => (top === -Infinity ? 0 : Math.exp(s - top)));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let i = 0; i < e; i++) {
        at.set(desc.e, i);
        const acc = weights.reduce((sum, w, k) => sum + w * values[k]![i]!, 0);
        at.params.set("acc", total === 0 ? 0 : acc / total);
        at.store(desc.stores);
      }
    });
  });
}

/** B packed as the CPU's gemm kernels read it, zeros where there is padding. */
export function packed(
  dtype: "f32" | "f64" | "f16" | "bf16",
  b: (k: number, n: number) => number,
  k: number,
  n: number,
): Float64Array {
  const layout = targetNamed("cpu").packing(dtype);
  const out = new Float64Array(Math.ceil(n / layout.columns) * layout.columns * k);
  for (let i = 0; i < k; i++)
    for (let j = 0; j < n; j++)
      out[
        Math.floor(j / layout.columns) * layout.columns * k +
          i * layout.columns +
          (j % layout.columns)
      ] = b(i, j);
  return out;
}

export const rowMajor = (row: Expr, columns: Expr, column: Expr): Expr =>
  add(mul(row, columns), column);
