/** The tensors in memory that kernels read and write, and the kernels that a partition makes. */
import type { DType } from "../ir/dtype.js";
import type { Node, Shape } from "../ir/graph.js";
import { elements } from "../ir/shape.js";
import { int, load, rewriteExpr } from "../scalar/build.js";
import { isOp, postorder, type Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { linearize } from "../ir/element.js";
import { statusOperand, type KernelDesc, type Operand, type Stage, type Store } from "./desc.js";
import { byteCount, isNarrow, narrowed, storedByte } from "./narrow.js";
import type { PackedLayout } from "./packing.js";

export type Place = "input" | "output" | "state" | "source" | "weight" | "temp" | "status";

/** A tensor in memory, row-major in `shape` unless it is a packed weight. */
export interface Buffer {
  /** Unique within a bundle target: the operand name before a kernel's own naming. */
  readonly id: string;
  readonly place: Place;
  /** What the model calls it. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly elements: Expr;
  /** Where `place` is input, output or state: its name there; source: the node of its constant. */
  readonly node: Node | null;
}

/** The tensor of the model that `node`, a constant, stands for. */
export const sourceBuffer = (node: Node, name: string): Buffer => ({
  id: `source:${node.id}`,
  place: "source",
  name,
  dtype: node.dtype,
  shape: node.shape,
  elements: elements(node.shape),
  node,
});

/** A weight that the weight program makes: `node` in row-major order, or packed for a gemm. */
export interface DerivedWeight {
  readonly buffer: Buffer;
  readonly node: Node;
  readonly packed: PackedWeight | null;
}

/** A [k, n] weight packed with `group` physical columns for each logical one. */
export interface PackedWeight {
  readonly layout: PackedLayout;
  readonly k: Expr;
  readonly n: Expr;
  readonly group: number;
  /** Where the weight is [stack, k, n]: as many packed matrices, one after the other. */
  readonly stack?: number;
  /** The column of the weight that accumulator `i` of logical column `n` multiplies. */
  columnOf(n: Expr, i: number): Expr;
  /** Distinguishes equal nodes with different column orders. */
  readonly key: string;
}

/** A kernel with the buffers of its operands, in operand order. */
export interface PlannedKernel {
  readonly desc: KernelDesc;
  readonly buffers: readonly Buffer[];
  /** What it computes here, where the description is another kernel's. */
  readonly label?: string;
  /** Values of symbols that only this launch has. */
  readonly symbols?: ReadonlyMap<string, number>;
}

/** Dimensions that only symbols make vary, at their largest. */
export const atLargest = (shape: Shape): Shape => shape.map((dim) => int(rangeOf(dim).max));

export class Memory {
  readonly buffers = new Map<string, Buffer>();
  readonly derived = new Map<string, DerivedWeight>();
  readonly #byNode = new Map<Node, Buffer>();
  #next = 0;

  make(
    place: Place,
    node: Node | null,
    name: string,
    dtype: DType,
    shape: Shape,
    id?: string,
  ): Buffer {
    const buffer: Buffer = {
      id: id ?? `${place}:${this.#next++}`,
      place,
      name,
      dtype,
      shape,
      elements: elements(shape),
      node,
    };
    this.buffers.set(buffer.id, buffer);
    return buffer;
  }

  /** A copy to try an attempt in: what was placed for another graph is not in it, weights are. */
  fork(): Memory {
    const copy = new Memory();
    copy.#next = this.#next;
    for (const [id, buffer] of this.buffers) {
      copy.buffers.set(id, buffer);
      if (buffer.place === "source") copy.#byNode.set(buffer.node!, buffer);
    }
    for (const [key, weight] of this.derived) copy.derived.set(key, weight);
    return copy;
  }

  /** Takes over what a successful attempt made. */
  adopt(attempt: Memory): void {
    this.#next = attempt.#next;
    for (const [id, buffer] of attempt.buffers) this.buffers.set(id, buffer);
    for (const [key, weight] of attempt.derived) this.derived.set(key, weight);
  }

  /** The buffer that holds `node`, if one does. */
  of(node: Node): Buffer | undefined {
    return this.#byNode.get(node);
  }

  place(node: Node, buffer: Buffer): void {
    this.#byNode.set(node, buffer);
  }

  status(): Buffer {
    return this.buffers.get("status") ?? this.make("status", null, "status", "i64", [], "status");
  }

  weight(node: Node, name: string, packed: PackedWeight | null): Buffer {
    const key = packed === null ? `weight:${node.id}` : `weight:${node.id}:${packed.key}`;
    const known = this.derived.get(key);
    if (known !== undefined) return known.buffer;
    const buffer: Buffer =
      packed === null
        ? this.make("weight", node, name, node.dtype, atLargest(node.shape), key)
        : this.make(
            "weight",
            node,
            name,
            packed.layout.dtype,
            [int(rangeOf(packedSize(packed)).max)],
            key,
          );
    this.derived.set(key, { buffer, node, packed });
    return buffer;
  }
}

/** Elements of one packed matrix. */
export function matrixSize({ layout, k, n, group }: PackedWeight): number {
  const up = (value: number, to: number): number => Math.ceil(value / to) * to;
  return up(rangeOf(n).max * group, layout.columns) * up(rangeOf(k).max, layout.rows);
}

const packedSize = (packed: PackedWeight): Expr => int(matrixSize(packed) * (packed.stack ?? 1));

/** The element of a buffer at logical coordinates. */
export const elementOf = (buffer: Buffer, coords: readonly Expr[]): Expr =>
  load(buffer.id, linearize(coords, buffer.shape), buffer.dtype);

type Bodies = {
  readonly stages?: readonly Stage[];
  readonly exprs: readonly Expr[];
  readonly stores: readonly Store[];
};

/**
 * Gives a kernel its own names for operands (p0, p1 … in order of first use, reads before writes), so
 * that equal kernels of different layers are the same description.
 */
export class OperandNames {
  readonly buffers: Buffer[] = [];
  readonly #names = new Map<string, string>();
  readonly #written = new Set<string>();
  readonly #read = new Set<string>();
  #checks = false;

  constructor(readonly memory: Memory) {}

  collect({ stages = [], exprs, stores }: Bodies): void {
    const values = [
      ...stages.flatMap((s) => [s.body, s.finish]),
      ...exprs,
      ...stores.flatMap((s) => [s.offset, s.value, ...(s.guard === null ? [] : [s.guard])]),
    ];
    postorder(values, (node) => {
      if (isOp(node, "load")) {
        this.#add(node.attr.buffer);
        this.#read.add(node.attr.buffer);
      }
      this.#checks ||= isOp(node, "check");
    });
    for (const store of stores) {
      this.#add(store.operand);
      this.#written.add(store.operand);
    }
  }

  /** Operands read under a name that no expression loads, such as a packed weight. */
  addRead(buffer: Buffer): string {
    this.#add(buffer.id);
    this.#read.add(buffer.id);
    return this.#names.get(buffer.id)!;
  }

  /** An operand that the template writes by itself. */
  addWritten(buffer: Buffer): string {
    this.#add(buffer.id);
    this.#written.add(buffer.id);
    return this.#names.get(buffer.id)!;
  }

  #add(id: string): void {
    if (this.#names.has(id)) return;
    this.#names.set(id, `p${this.buffers.length}`);
    this.buffers.push(this.memory.buffers.get(id)!);
  }

  finish(): { operands: Operand[]; buffers: Buffer[] } {
    const operands = this.buffers.map((buffer): Operand => {
      const [read, written] = [this.#read.has(buffer.id), this.#written.has(buffer.id)];
      const access = read && written ? "readwrite" : written ? "write" : "read";
      const bytes = isNarrow(buffer.dtype);
      return {
        name: this.#names.get(buffer.id)!,
        dtype: bytes ? "u8" : buffer.dtype,
        access,
        elements: bytes ? byteCount(buffer.elements, buffer.dtype) : buffer.elements,
        ...(buffer.place === "source" || buffer.place === "weight" ? { weight: true } : {}),
      };
    });
    if (!this.#checks) return { operands, buffers: this.buffers };
    const status = this.memory.status();
    operands.push({ name: statusOperand, dtype: "i64", access: "write", elements: int(1) });
    return { operands, buffers: [...this.buffers, status] };
  }

  expr(value: Expr): Expr {
    return this.exprs([value])[0]!;
  }

  exprs(values: readonly Expr[]): Expr[] {
    const named = rewriteExpr(values, (node) =>
      isOp(node, "load") && this.#names.has(node.attr.buffer)
        ? load(this.#names.get(node.attr.buffer)!, node.args[0]!, node.type)
        : null,
    );
    return narrowed(named);
  }

  /** Where elements share bytes, a store is of a whole byte: see `packedByte`. */
  store(store: Store): Store {
    const { dtype } = this.memory.buffers.get(store.operand)!;
    const value = isNarrow(dtype) ? storedByte(store.value, dtype) : store.value;
    return {
      operand: this.#names.get(store.operand)!,
      offset: this.expr(store.offset),
      value: this.expr(value),
      guard: store.guard === null ? null : this.expr(store.guard),
    };
  }

  stage(stage: Stage): Stage {
    return { ...stage, body: this.expr(stage.body), finish: this.expr(stage.finish) };
  }
}
