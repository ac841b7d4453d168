/** What a kernel writes, in double precision: loops over its desc, for every family. */
import type {
  AttentionDesc,
  GemmDesc,
  KernelDesc,
  Stage,
  Store,
} from "../../../compiler/kernel/desc.js";
import { failureWord, rawName, statusOperand } from "../../../compiler/kernel/desc.js";
import {
  packedElements,
  packedOffset,
  type PackedLayout,
} from "../../../compiler/kernel/packing.js";
import type { Target } from "../../../compiler/kernel/target.js";
import { isFloat } from "../../../compiler/ir/dtype.js";
import { coord, int } from "../../../compiler/scalar/build.js";
import { compileExpr, type Env } from "../../../compiler/scalar/evaluate.js";
import { castValue, type Value } from "../../../compiler/scalar/round.js";
import { isOp, type Expr } from "../../../compiler/scalar/expr.js";
import { fillValue, hostValue, type Fill, type Symbols, type Tensors } from "./case.js";

class Evaluator {
  readonly coords = new Map<string, number>();
  readonly params = new Map<string, Value>();
  readonly memory: Tensors = new Map();
  readonly #runs = new Map<Expr, (env: Env) => Value[]>();
  readonly #env: Env;
  readonly #desc: KernelDesc;

  constructor(desc: KernelDesc, inputs: Readonly<Record<string, Fill>>, symbols: Symbols) {
    this.#desc = desc;
    for (const { name, elements, dtype } of desc.operands) {
      const fill = inputs[name];
      this.memory.set(
        name,
        Array.from({ length: hostValue(elements, symbols) }, (_, i) =>
          fill === undefined ? NaN : fillValue(fill, i, dtype),
        ),
      );
    }
    this.#env = {
      coord: (name) => this.coords.get(name)!,
      param: (name) => this.params.get(name)!,
      sym: (name) => symbols[name]!,
      load: (buffer, offset) => {
        const found = this.memory.get(buffer)?.[offset];
        if (found === undefined)
          throw new Error(`${desc.label}: ${buffer}[${offset}] does not exist`);
        return found;
      },
      fail: (site, index) => {
        const status = this.memory.get(statusOperand);
        if (status !== undefined) status[0] = Number(failureWord(site) + BigInt(index));
      },
    };
  }

  value(expr: Expr): Value {
    let run = this.#runs.get(expr);
    if (run === undefined) this.#runs.set(expr, (run = compileExpr([expr])));
    return run(this.#env)[0]!;
  }

  number(expr: Expr): number {
    return Number(this.value(expr));
  }

  set(leaf: Expr, value: number): void {
    if (isOp(leaf, "coord")) this.coords.set(leaf.attr.name, value);
  }

  each(coords: readonly Expr[], extents: readonly Expr[], body: () => void): void {
    const [first, ...rest] = coords;
    if (first === undefined) return body();
    const extent = this.number(extents[0]!);
    for (let i = 0; i < extent; i++) {
      this.set(first, i);
      this.each(rest, extents.slice(1), body);
    }
  }

  store(stores: readonly Store[]): void {
    for (const { operand, offset, value, guard } of stores) {
      if (guard !== null && this.number(guard) === 0) continue;
      const { dtype } = this.#desc.operands.find(({ name }) => name === operand)!;
      const out = this.memory.get(operand)!;
      const at = this.number(offset);
      if (!(at >= 0 && at < out.length))
        throw new Error(`${this.#desc.label}: store to ${operand}[${at}]`);
      const raw = this.value(value);
      // Floats stay exact: the tolerance covers the rounding of the store.
      out[at] = isFloat(dtype) && isFloat(value.type) ? raw : castValue(raw, value.type, dtype);
    }
  }

  stages(stages: readonly Stage[], axis: Expr, extent: Expr): void {
    for (const { name, kind, body, finish } of stages) {
      let total = { sum: 0, prod: 1, max: -Infinity, min: Infinity }[kind];
      this.each([axis], [extent], () => {
        const value = this.number(body);
        if (kind === "sum") total += value;
        else if (kind === "prod") total *= value;
        else
          total =
            Number.isNaN(value) || Number.isNaN(total)
              ? NaN
              : kind === "max"
                ? Math.max(total, value)
                : Math.min(total, value);
      });
      this.params.set(rawName(name), total);
      this.params.set(name, this.value(finish));
    }
  }
}

export function reference(
  desc: KernelDesc,
  inputs: Readonly<Record<string, Fill>>,
  symbols: Symbols,
  target: Target,
): Tensors {
  const at = new Evaluator(desc, inputs, symbols);
  if (desc.family === "map") at.each(desc.coords, desc.extents, () => at.store(desc.stores));
  else if (desc.family === "gemm") gemm(at, desc, target);
  else if (desc.family === "attention") attention(at, desc);
  else if (desc.family !== "reduce") throw new Error(`no reference for family ${desc.family}`);
  else
    at.each(desc.coords, desc.extents, () => {
      at.stages(desc.stages, desc.axis, desc.axisExtent);
      at.each([desc.axis], [desc.axisExtent], () => at.store(desc.elementStores));
      at.store(desc.rowStores);
    });
  return at.memory;
}

function gemm(at: Evaluator, desc: GemmDesc, target: Target): void {
  const [n, k] = [at.number(desc.nExtent), at.number(desc.kExtent)];
  const columns = n * desc.group;
  const layout = target.packing(desc.dtype);
  const nameOfN = isOp(desc.n, "coord") ? desc.n.attr.name : null;
  const [rowOfB, columnOfB] = [
    coord("reference k", int(1 << 30)),
    coord("reference n", int(1 << 30)),
  ];
  const packed = packedOffset(layout, rowOfB, columnOfB, int(k));
  const elementOfB = (i: number, j: number): number => {
    if (desc.b.kind === "packed") {
      at.set(rowOfB, i);
      at.set(columnOfB, j);
      return Number(at.memory.get(desc.b.operand)![at.number(packed)]);
    }
    at.set(desc.k, i);
    at.set(desc.n, j);
    return at.number(desc.b.value);
  };
  at.each(desc.batch, desc.batchExtents, () => {
    const b = new Float64Array(columns * k);
    for (let j = 0; j < columns; j++) for (let i = 0; i < k; i++) b[j * k + i] = elementOfB(i, j);
    at.each([desc.m], [desc.mExtent], () => {
      at.stages(desc.stages, desc.k, desc.kExtent);
      const a = Float64Array.from({ length: k }, (_, i) => (at.set(desc.k, i), at.number(desc.a)));
      at.each([desc.n], [desc.nExtent], () => {
        const column = nameOfN === null ? 0 : at.coords.get(nameOfN)!;
        for (let part = 0; part < desc.group; part++) {
          const start = (column * desc.group + part) * k;
          let sum = 0;
          for (let i = 0; i < k; i++) sum += a[i]! * b[start + i]!;
          at.params.set(`acc${part}`, sum);
        }
        at.store(desc.stores);
      });
    });
  });
}

function vectors(
  at: Evaluator,
  value: Expr,
  along: Expr,
  width: number,
  count: number,
  key: Expr | null,
): Float64Array[] {
  return Array.from({ length: count }, (_, row) => {
    if (key !== null) at.set(key, row);
    return Float64Array.from({ length: width }, (_, i) => (at.set(along, i), at.number(value)));
  });
}

function attention(at: Evaluator, desc: AttentionDesc): void {
  const { extents } = desc;
  const [d, e] = [at.number(extents.d), at.number(extents.e)];
  at.each([desc.b, desc.g], [extents.b, extents.g], () => {
    const limit = Math.max(0, at.number(extents.k));
    const keys = vectors(at, desc.keys, desc.d, d, limit, desc.k);
    const values = vectors(at, desc.values, desc.e, e, limit, desc.k);
    at.each([desc.q, desc.r], [extents.q, extents.r], () => {
      const query = vectors(at, desc.queries, desc.d, d, 1, null)[0]!;
      const scores = keys.map((key, k) => {
        at.set(desc.k, k);
        at.params.set("score", query.reduce((sum, x, i) => sum + x * key[i]!, 0) * desc.scale);
        return at.number(desc.score);
      });
      const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const weights = scores.map((score) => (top === -Infinity ? 0 : Math.exp(score - top)));
      const total = weights.reduce((a, b) => a + b, 0);
      const out = new Float64Array(e);
      weights.forEach((weight, k) => {
        if (weight > 0) values[k]!.forEach((value, i) => (out[i]! += weight * value));
      });
      for (let i = 0; i < e; i++) {
        at.set(desc.e, i);
        at.params.set("acc", total === 0 ? 0 : out[i]! / total);
        at.store(desc.stores);
      }
    });
  });
}

/** Elements of a packed weight, for operands and for filling them. */
export const packedSize = (layout: PackedLayout, k: number, n: number): number =>
  hostValue(packedElements(layout, int(k), int(n)), {});
