/**
 * Emits expression DAGs as PTX.
 *
 * A `Scope` is a level at which coordinates and params are bound to registers: the kernel, a row, an
 * element. A node is computed once, in the outermost scope that binds everything it depends on, into
 * that scope's block of text: what does not change in a loop lands before the loop. A scope may hold
 * several lanes (unroll positions): see `lanes.ts`.
 *
 * Memory is only touched where a scope's guard holds. The arms of a `select` that load are evaluated
 * in a scope whose guard is the condition, so that an arm not taken loads nothing.
 */
import { bug } from "../../errors.js";
import {
  compareExprs,
  isOp,
  type BinaryOp,
  type Expr,
  type ExprOp,
  type UnaryOp,
} from "../../scalar/expr.js";
import { failureWord, furthestIndex } from "../../kernel/desc.js";
import { rangeOf } from "../../scalar/range.js";
import { hasCheck, hasLoad, leavesOf, visitComputed } from "../affine.js";
import { isHostExpr } from "../scalars.js";
import {
  convertRegister,
  emitBinary,
  emitBitcast,
  emitCast,
  emitSelect,
  emitUnary,
  wrapNarrow,
} from "./arithmetic.js";
import { immediate, type Block, type PtxBuilder, type Value } from "./builder.js";
import { binaryInstruction, machineType, ptx } from "./instructions.js";
import { LaneAnalysis, type LeafFacts } from "./lanes.js";
import { legal } from "./legal.js";
import type { PtxKernel } from "./kernel.js";
import { emitLoad } from "./memory.js";

/** Where memory may be touched: always (null), one predicate, or one per lane. */
export type Guard = readonly Value[] | null;

interface Binding extends LeafFacts {
  /** One value (lane 0, stepping by `step`), or one per lane. */
  readonly values: readonly Value[];
}

export interface ScopeOptions {
  /** Where its nodes are written; the first parent's block unless given. */
  readonly block?: Block;
  /** A further condition for touching memory. */
  readonly guard?: Guard;
  readonly lanes?: number;
  /** More scopes whose bindings hold here too: a tile's row and its column. */
  readonly also?: readonly Scope[];
}

const touchesMemory = new WeakMap<Expr, boolean>();

/** True if evaluating `expr` loads, or may report a failed check. */
export function hasEffects(expr: Expr): boolean {
  let known = touchesMemory.get(expr);
  if (known === undefined) {
    known = hasLoad(expr) || hasCheck(expr);
    touchesMemory.set(expr, known);
  }
  return known;
}

const needed = new WeakMap<Expr, ReadonlySet<Expr>>();

/** Nodes with effects that are evaluated whenever `root` is, whichever arms are taken. */
export function neededBy(root: Expr): ReadonlySet<Expr> {
  visitComputed([root], (node) => {
    if (needed.has(node)) return;
    const sets = node.op === "coord" ? [] : node.args.map((arg) => needed.get(arg)!);
    const [first, whenTrue, whenFalse] = sets;
    const parts = isOp(node, "select")
      ? [first!, new Set([...whenTrue!].filter((expr) => whenFalse!.has(expr)))]
      : sets;
    needed.set(
      node,
      hasEffects(node) ? new Set([...parts.flatMap((part) => [...part]), node]) : nothing,
    );
  });
  return needed.get(root)!;
}

const nothing: ReadonlySet<Expr> = new Set();

/** True if an integer expression always fits a signed 32-bit register. */
export function fits32(expr: Expr): boolean {
  const { min, max } = rangeOf(expr);
  return min >= -(2 ** 31) && max < 2 ** 31;
}

export class Scope {
  readonly kernel: PtxKernel;
  readonly block: Block;
  readonly guard: Guard;
  readonly lanes: number;
  readonly lane: LaneAnalysis;
  /** Pointers already advanced to this scope: see `memory.ts`. */
  readonly pointers = new Map<string, Value>();
  readonly #parents: readonly Scope[];
  /** This scope and all it inherits from, outermost first. */
  readonly ancestry: readonly Scope[];
  /** The scope that this one is a conditional part of, itself where it is none. */
  readonly #unconditional: Scope;
  /** Pure nodes of the unconditional scope are computed here too: a branch skips them. */
  readonly #branch: boolean;
  readonly #bindings = new Map<Expr, Binding>();
  readonly #memo = new Map<Expr, (Value | undefined)[]>();
  readonly #arms = new Map<string, Scope>();
  #anyLane: Value | null = null;

  constructor(
    kernel: PtxKernel,
    parents: readonly Scope[],
    options: ScopeOptions,
    arm?: "arm" | "branch",
  ) {
    this.kernel = kernel;
    this.#parents = parents;
    this.block = options.block ?? parents[0]!.block;
    this.lanes = options.lanes ?? Math.max(1, ...parents.map((parent) => parent.lanes));
    this.ancestry = [...new Set([...parents.flatMap((parent) => parent.ancestry), this])];
    this.#unconditional = arm === undefined ? this : parents[0]!.#unconditional;
    this.#branch = arm === "branch" || (arm === "arm" && parents[0]!.#branch);
    this.guard = this.#joinGuards([
      ...parents.map((parent) => parent.guard),
      options.guard ?? null,
    ]);
    this.lane = new LaneAnalysis(
      this.lanes,
      (leaf) => this.#binding(leaf) ?? { step: null, multiple: 1 },
    );
  }

  /** The kernel's own level, written to its entry. */
  static root(kernel: PtxKernel): Scope {
    return new Scope(kernel, [], { block: kernel.entry });
  }

  child(options: ScopeOptions = {}): Scope {
    return new Scope(this.kernel, [this, ...(options.also ?? [])], options);
  }

  get b(): PtxBuilder {
    return this.kernel.b;
  }

  /**
   * Gives a leaf its value. From lane to lane it grows by `step`; `multiple` is known to divide the
   * value of lane 0, `near` says less. A literal in a coordinate's place (extent 1) needs none.
   */
  bind(leaf: Expr, value: Value, facts: Partial<LeafFacts> = {}): this {
    if (isOp(leaf, "coord") || isOp(leaf, "param"))
      this.#bindings.set(leaf, {
        values: [value],
        step: facts.step ?? 0,
        multiple: facts.multiple ?? 1,
        ...(facts.near && { near: facts.near }),
      });
    return this;
  }

  /** Gives a leaf one unrelated value per lane. */
  bindLanes(leaf: Expr, values: readonly Value[]): this {
    if (values.length === 1) return this.bind(leaf, values[0]!);
    if (values.length !== this.lanes) throw bug(`${values.length} values for ${this.lanes} lanes`);
    this.#bindings.set(leaf, { values, step: null, multiple: 1 });
    return this;
  }

  /**
   * The value of `expr` in a lane. An i64 whose range is small comes in a 32-bit register; f16 and
   * bf16 come as bit patterns.
   */
  value(expr: Expr, lane = 0): Value {
    return this.get(legal(expr), lane);
  }

  /** The values of `expr` in all lanes. */
  values(expr: Expr): Value[] {
    return Array.from({ length: this.lanes }, (_, lane) => this.value(expr, lane));
  }

  /** An integer in a 32-bit register. */
  index(expr: Expr, lane = 0): Value {
    return this.inBlock(() => convertRegister(this.b, this.value(expr, lane), "s32"));
  }

  /** An integer in a 64-bit register. */
  wide(expr: Expr, lane = 0): Value {
    return this.inBlock(() => convertRegister(this.b, this.value(expr, lane), "s64"));
  }

  /** `value` of a node that is already legal. */
  get(node: Expr, lane: number): Value {
    const home = this.homeOf(node, lane);
    if (home !== this) return home.get(node, Math.min(lane, home.lanes - 1));
    const step = this.lane.step(node);
    const at = step === 0 ? 0 : lane;
    const memo = this.#memo.get(node) ?? [];
    this.#memo.set(node, memo);
    const known = memo[at];
    if (known !== undefined) return known;
    const value = this.inBlock(() =>
      at > 0 && step !== null && !isOp(node, "coord") && !isOp(node, "param")
        ? this.#stepped(this.get(node, 0), step * at)
        : this.#emit(node, at),
    );
    memo[at] = value;
    return value;
  }

  /** Remembers the value of a lane: a vector load makes several at once. */
  remember(node: Expr, lane: number, value: Value): void {
    const memo = this.#memo.get(node) ?? [];
    memo[lane] = value;
    this.#memo.set(node, memo);
  }

  inBlock<T>(body: () => T): T {
    return this.b.into(this.block, body);
  }

  /** The predicate of a lane's memory accesses. */
  guardOf(lane: number): Value | null {
    return this.guard === null ? null : (this.guard[lane] ?? this.guard[0]!);
  }

  /** The predicate of an access that is the same for all lanes: one of them is enough to need it. */
  sharedGuard(): Value | null {
    const { guard } = this;
    if (guard === null || guard.length === 1) return this.guardOf(0);
    this.#anyLane ??= this.inBlock(() =>
      guard.reduce((joined, value) => this.b.op("or.pred", "pred", joined, value)),
    );
    return this.#anyLane;
  }

  /** The scope in which `node` is computed. */
  homeOf(node: Expr, lane = 0): Scope {
    const leaves = leavesOf(node);
    const covering = this.ancestry.find((scope) =>
      leaves.every((leaf) => scope.#binding(leaf) !== undefined),
    );
    if (covering === undefined) {
      const unbound = leaves.find((leaf) => this.#binding(leaf) === undefined)!;
      throw bug(`no scope binds ${unbound.op} ${String((unbound.attr as { name: string }).name)}`);
    }
    if (this.#unconditional === this) return covering;
    const stays = hasEffects(node) || (this.#branch && covering === this.#unconditional);
    if (!stays || isOp(node, "coord") || isOp(node, "param")) return covering;
    for (let i = this.ancestry.length - 1; i >= 0; i--)
      if (this.ancestry[i]!.#knows(node, lane)) return this.ancestry[i]!;
    return this;
  }

  #knows(node: Expr, lane: number): boolean {
    const at = this.lane.step(node) === 0 ? 0 : Math.min(lane, this.lanes - 1);
    return this.#memo.get(node)?.[at] !== undefined;
  }

  /** The scope of what happens only where `condition` (or its negation) holds, with its predicate. */
  where(condition: Expr, holds: boolean): Scope {
    const key = `${condition.id}:${holds}`;
    const known = this.#arms.get(key);
    if (known !== undefined) return known;
    const arm = this.inBlock(
      () => new Scope(this.kernel, [this], { guard: this.#predicates(condition, holds) }, "arm"),
    );
    this.#arms.set(key, arm);
    return arm;
  }

  /** As `where`, for text in `block` that is skipped by a branch where `condition` fails. */
  branch(condition: Expr, block: Block): Scope {
    return this.inBlock(
      () =>
        new Scope(
          this.kernel,
          [this],
          { block, guard: this.#predicates(condition, true) },
          "branch",
        ),
    );
  }

  /** `condition` (already legal) as one predicate, or one per lane. */
  #predicates(condition: Expr, holds: boolean): Value[] {
    const lanes = this.lane.step(condition) === 0 ? 1 : this.lanes;
    return Array.from({ length: lanes }, (_, lane) => {
      const value = this.get(condition, lane);
      return holds ? value : this.b.op("not.pred", "pred", value);
    });
  }

  #binding(leaf: Expr): Binding | undefined {
    const own = this.#bindings.get(leaf);
    if (own !== undefined) return own;
    for (const parent of this.#parents) {
      const inherited = parent.#binding(leaf);
      if (inherited !== undefined) return inherited;
    }
    return undefined;
  }

  #joinGuards(guards: readonly Guard[]): Guard {
    const given = guards.filter((guard) => guard !== null);
    if (given.length === 0) return null;
    const lanes = Math.max(...given.map((guard) => guard.length));
    return this.inBlock(() =>
      Array.from({ length: lanes }, (_, lane) => {
        const texts = new Map(
          given.map((guard) => guard[lane] ?? guard[0]!).map((value) => [value.text, value]),
        );
        return [...texts.values()].reduce((joined, value) =>
          this.b.op("and.pred", "pred", joined, value),
        );
      }),
    );
  }

  #stepped(value: Value, by: number): Value {
    if (by === 0) return value;
    return this.b.op(binaryInstruction.add[value.type]!, value.type, value, by);
  }

  #emit(node: Expr, lane: number): Value {
    if (isOp(node, "coord") || isOp(node, "param")) return this.#leaf(node, lane);
    if (isHostExpr(node) && !isOp(node, "const"))
      return this.kernel.scalar(node, fits32(node) ? "s32" : "s64");
    const special = emitters[node.op];
    if (special !== undefined) return special(this, node, lane);
    const args = node.args.map((arg) => this.get(arg, lane));
    const value =
      args.length === 1
        ? emitUnary(this.b, node.op as UnaryOp, args[0]!)
        : node.args[0]!.type === "i64"
          ? this.#integer(node, args[0]!, args[1]!)
          : emitBinary(this.b, node.op as BinaryOp, args[0]!, args[1]!);
    return wrapNarrow(this.b, value, node.type);
  }

  #leaf(node: Expr, lane: number): Value {
    const { values, step } = this.#binding(node)!;
    return values[lane] ?? this.#stepped(values[0]!, (step ?? 0) * lane);
  }

  /** Index arithmetic: sums and products wrap, so they may be 32 bits wide wherever the result fits. */
  #integer(node: Expr, x: Value, y: Value): Value {
    const op = node.op as BinaryOp;
    const ring = op === "add" || op === "sub" || op === "mul";
    const narrow = ring || op === "shl" ? fits32(node) : x.type === "s32" && y.type === "s32";
    const width = narrow ? "s32" : "s64";
    if (op === "mul" && !narrow && x.type === "s32" && y.type === "s32")
      return this.b.op("mul.wide.s32", "s64", x, y);
    const [a, c] = [convertRegister(this.b, x, width), convertRegister(this.b, y, width)];
    const nonNegative = rangeOf(node.args[0]!).min >= 0 && rangeOf(node.args[1]!).min >= 0;
    const nonZeroDivisor = rangeOf(node.args[1]!).min >= 1;
    const value = emitBinary(this.b, op, a, c, { nonNegative, nonZeroDivisor });
    return !narrow && node.type === "i64" && fits32(node)
      ? convertRegister(this.b, value, "s32")
      : value;
  }
}

type Emitter = (scope: Scope, node: Expr, lane: number) => Value;

/** Nodes that are not plainly an instruction on their arguments. */
const emitters: { readonly [O in ExprOp]?: Emitter } = {
  const: (scope, node) => emitConst(scope, node as Expr<"const">),
  sym: (_, node) => {
    throw bug(`symbol ${(node as Expr<"sym">).attr.name} of the device was not lowered to a load`);
  },
  load: (scope, node, lane) => emitLoad(scope, node as Expr<"load">, lane),
  cast: (scope, node, lane) =>
    emitCast(scope.b, scope.get(node.args[0]!, lane), node.args[0]!.type, node.type),
  bitcast: (scope, node, lane) => emitBitcast(scope.b, scope.get(node.args[0]!, lane), node.type),
  select: (scope, node, lane) => emitSelectNode(scope, node, lane),
  check: (scope, node, lane) => emitCheck(scope, node as Expr<"check">, lane),
  fma: (scope, node, lane) => {
    const [x, y, z] = node.args.map((arg) => scope.get(arg, lane)) as [Value, Value, Value];
    const instruction = ptx.fma[x.type] ?? ptx.mad[x.type]!;
    return scope.b.op(instruction, x.type, x, y, z);
  },
};

function emitConst(scope: Scope, node: Expr<"const">): Value {
  const { value } = node.attr;
  if (node.type === "bool") return scope.b.op(ptx.setp("eq", "s32"), "pred", Number(value), 1);
  if (node.type === "f16" || node.type === "bf16")
    return emitCast(scope.b, immediate(value, "f32"), "f32", node.type);
  const type = machineType[node.type];
  if (type === null) throw bug(`no PTX literal of type ${node.type}`);
  return immediate(value, type === "s64" && fits32(node) ? "s32" : type);
}

function emitSelectNode(scope: Scope, node: Expr, lane: number): Value {
  const [condition, whenTrue, whenFalse] = node.args as [Expr, Expr, Expr];
  const predicate = scope.get(condition, lane);
  // What both arms read is read once, before they part.
  const shared = neededBy(whenTrue);
  const both = [...neededBy(whenFalse)].filter((expr) => shared.has(expr));
  for (const expr of both.sort((p, q) => compareExprs(q, p))) scope.get(expr, lane);
  const arm = (expr: Expr, holds: boolean): Value =>
    (hasEffects(expr) ? scope.where(condition, holds) : scope).get(expr, lane);
  const [x, y] = [arm(whenTrue, true), arm(whenFalse, false)];
  if (x.type === y.type) return emitSelect(scope.b, predicate, x, y);
  const [a, c] = [convertRegister(scope.b, x, "s64"), convertRegister(scope.b, y, "s64")];
  return emitSelect(scope.b, predicate, a, c);
}

/** The index where it is inside; otherwise 0, and site and index are stored in the status word. */
function emitCheck(scope: Scope, node: Expr<"check">, lane: number): Value {
  const { b } = scope;
  const [x, y] = node.args.map((arg) => scope.get(arg, lane)) as [Value, Value];
  const width = x.type === "s32" && y.type === "s32" ? "s32" : "s64";
  const [index, extent] = [convertRegister(b, x, width), convertRegister(b, y, width)];
  // As an unsigned number a negative index is too large as well.
  const inside = b.op(ptx.setp("lt", width === "s32" ? "u32" : "u64"), "pred", index, extent);
  const safe = b.op(ptx.select(width), width, index, immediate(0, width), inside);
  const { status } = scope.kernel;
  if (status !== null) {
    const outside = b.op("not.pred", "pred", inside);
    const guard = scope.lane.step(node) === 0 ? scope.sharedGuard() : scope.guardOf(lane);
    const failed = guard === null ? outside : b.op("and.pred", "pred", outside, guard);
    const low = b.op("max.s64", "s64", convertRegister(b, index, "s64"), -furthestIndex);
    const told = b.op("min.s64", "s64", low, furthestIndex - 1);
    const word = b.op("add.s64", "s64", told, immediate(failureWord(node.attr.site), "s64"));
    b.lineIf(failed, ptx.storeGlobal("b64", 1), `[${status.text}]`, word);
  }
  return width === "s64" && fits32(node) ? convertRegister(b, safe, "s32") : safe;
}
