/** Loads and stores of bodies: addresses, guards, vectors along contiguous lanes, 16-bit packing. */
import { bug } from "../../errors.js";
import type { DType } from "../../ir/dtype.js";
import type { Store } from "../../kernel/desc.js";
import { cast, yes } from "../../scalar/build.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { polynomialOf, toExpr, type Monomial } from "../../scalar/polynomial.js";
import { convertRegister, emitCast } from "./arithmetic.js";
import { address, vector, type PtxBuilder, type Value } from "./builder.js";
import { halfInstruction, memoryType, ptx, type MemoryType } from "./instructions.js";
import { hasEffects, type Scope } from "./expr.js";
import { legal } from "./legal.js";

export interface Address {
  readonly base: Value;
  /** Bytes. */
  readonly offset: number;
}

/**
 * The address of an element in a lane. The offset's terms are added level by level, each in the scope
 * that it belongs to, so that inner loops add only what changes in them.
 */
export function elementAddress(scope: Scope, buffer: string, offset: Expr, lane = 0): Address {
  const { base, memory } = scope.kernel.operand(buffer);
  const levels = new Map<Scope, Monomial[]>();
  let literal = 0;
  for (const monomial of polynomialOf(offset)) {
    if (monomial.atoms.length === 0) literal += monomial.coefficient;
    else {
      const home = scope.homeOf(toExpr([monomial]), lane);
      levels.set(home, [...(levels.get(home) ?? []), monomial]);
    }
  }
  const tooFar = Math.abs(literal * memory.bytes) >= 2 ** 31;
  if (tooFar)
    levels.set(scope, [...(levels.get(scope) ?? []), { atoms: [], coefficient: literal }]);
  let pointer = base;
  let last = scope.ancestry[0]!;
  for (const level of scope.ancestry) {
    const terms = levels.get(level);
    if (terms === undefined) continue;
    // A row and a column of a tile do not contain each other: meet in the innermost scope.
    const at = level.ancestry.includes(last) ? level : scope;
    pointer = advance(at, level, pointer, toExpr(terms), memory.bytes, lane);
    last = at;
  }
  return { base: pointer, offset: tooFar ? 0 : literal * memory.bytes };
}

function advance(
  at: Scope,
  level: Scope,
  pointer: Value,
  terms: Expr,
  bytes: number,
  lane: number,
): Value {
  const place = level.lane.step(terms) === 0 ? 0 : Math.min(lane, level.lanes - 1);
  const key = `${pointer.text}:${terms.id}:${bytes}:${place}`;
  const known = at.pointers.get(key);
  if (known !== undefined) return known;
  const value = level.get(terms, place);
  const advanced = at.inBlock(() => {
    const { b } = at;
    if (value.type === "s32") return b.op(ptx.madWide.s32!, "u64", value, bytes, pointer);
    return b.op(ptx.mad.s64!, "u64", convertRegister(b, value, "s64"), bytes, pointer);
  });
  at.pointers.set(key, advanced);
  return advanced;
}

/** A vector has four registers at most, of which each holds two 16-bit floats. */
function mostElements({ register, bytes }: MemoryType): number {
  if (bytes < 2) return 1;
  return register === "b16" ? 8 : Math.min(4, 16 / bytes);
}

/** Elements of one access: the largest power of two that alignment and 16 bytes allow. */
function vectorWidth(scope: Scope, offset: Expr, memory: MemoryType): number {
  const multiple = scope.lane.multiple(offset);
  let width = Math.min(scope.lanes, mostElements(memory));
  while (width > 1 && (multiple % width !== 0 || scope.lanes % width !== 0)) width /= 2;
  return width;
}

/** A load in a lane; where lanes are consecutive in memory, all lanes are loaded together. */
export function emitLoad(scope: Scope, node: Expr<"load">, lane: number): Value {
  const [offset] = node.args as [Expr];
  const { memory, dtype, constant } = scope.kernel.operand(node.attr.buffer);
  if (dtype !== node.type)
    throw bug(`load of ${node.type} from ${node.attr.buffer}, which holds ${dtype}`);
  const step = scope.lane.step(offset);
  const together =
    step === 1 && scope.lanes > 1 && (scope.guard === null || scope.guard.length === 1);
  if (together) {
    loadRun(scope, node, vectorWidth(scope, offset, memory));
    return scope.get(node, lane);
  }
  const shift = step === null ? 0 : step * lane * memory.bytes;
  const place = elementAddress(scope, node.attr.buffer, offset, step === null ? lane : 0);
  const guard = step === 0 ? scope.sharedGuard() : scope.guardOf(lane);
  const [register] = loadVector(scope.b, memory, 1, place, shift, constant, guard);
  return fromMemory(scope.b, register!, node.type);
}

function loadRun(scope: Scope, node: Expr<"load">, width: number): void {
  const { memory, constant } = scope.kernel.operand(node.attr.buffer);
  const place = elementAddress(scope, node.attr.buffer, node.args[0]!);
  for (let lane = 0; lane < scope.lanes; lane += width) {
    const loaded = loadVector(
      scope.b,
      memory,
      width,
      place,
      lane * memory.bytes,
      constant,
      scope.guardOf(lane),
    );
    loaded.forEach((register, i) =>
      scope.remember(node, lane + i, fromMemory(scope.b, register, node.type)),
    );
  }
}

/** `width` consecutive elements as registers of the memory type; zeros where the guard fails. */
export function loadVector(
  b: PtxBuilder,
  memory: MemoryType,
  width: number,
  place: Address,
  shift: number,
  constant: boolean,
  guard: Value | null,
): Value[] {
  const words = memory.register === "b16" && width > 1;
  const type = words ? "u32" : memory.register;
  const registers = b.regs(type, words ? width / 2 : width);
  if (guard !== null)
    for (const register of registers)
      b.line(
        ptx.move(type),
        register,
        type === "f32" ? "0f00000000" : type === "f64" ? "0d0000000000000000" : 0,
      );
  const instruction = ptx.loadGlobal(words ? "b32" : memory.suffix, registers.length, constant);
  b.lineIf(guard, instruction, vector(registers), address(place.base, place.offset + shift));
  return words ? registers.flatMap((word) => b.halves(word)) : registers;
}

/** A loaded register as the value of its dtype: booleans become predicates. */
function fromMemory(b: PtxBuilder, register: Value, dtype: DType): Value {
  return dtype === "bool" ? b.op(ptx.setp("ne", "u32"), "pred", register, 0) : register;
}

/**
 * Performs `stores` for every lane of `scope`. Stores with one guard share a branch around them and
 * what only they need.
 */
export function emitStores(scope: Scope, stores: readonly Store[]): void {
  const groups = new Map<Expr, Store[]>();
  for (const store of stores) {
    const guard = legal(store.guard ?? yes);
    groups.set(guard, [...(groups.get(guard) ?? []), store]);
  }
  const always = groups.get(yes) ?? [];
  groups.delete(yes);
  // First, so that what it loads is there for the guarded ones.
  for (const store of always) scope.inBlock(() => emitStore(scope, store));
  for (const [guard, group] of groups) {
    if (scope.lane.step(guard) === 0) storeBranch(scope, guard, group);
    else {
      const arm = scope.where(guard, true);
      group.forEach((store) => arm.inBlock(() => emitStore(arm, store)));
    }
  }
}

function storeBranch(scope: Scope, guard: Expr, group: readonly Store[]): void {
  const { b } = scope;
  scope.inBlock(() => {
    const skip = b.label("skip");
    const condition = scope.get(guard, 0);
    const { inner, close } = b.block.open();
    b.into(inner, () => b.branch(skip, condition, true));
    const arm = scope.branch(guard, inner);
    for (const store of group) arm.inBlock(() => emitStore(arm, store));
    close();
    b.place(skip);
  });
}

function emitStore(scope: Scope, store: Store): void {
  const { b } = scope;
  const { dtype, memory } = scope.kernel.operand(store.operand);
  const offset = legal(store.offset);
  const value = legal(cast(store.value, dtype));
  const step = scope.lane.step(offset);
  const together =
    step === 1 && scope.lanes > 1 && (scope.guard === null || scope.guard.length === 1);
  const width = together ? vectorWidth(scope, offset, memory) : 1;
  for (let lane = 0; lane < scope.lanes; lane += width) {
    const lanes = Array.from({ length: width }, (_, i) => lane + i);
    const registers =
      width > 1 && memory.register === "b16"
        ? packedHalves(scope, value, lanes)
        : lanes.map((at) => b.inRegister(toMemory(b, scope.get(value, at), dtype)));
    const shift = step === null ? 0 : step * lane * memory.bytes;
    const place = elementAddress(scope, store.operand, offset, step === null ? lane : 0);
    const suffix = storeSuffix(memory, width > 1 && memory.register === "b16");
    const target = address(place.base, place.offset + shift);
    b.lineIf(
      scope.guardOf(lane),
      ptx.storeGlobal(suffix, registers.length),
      target,
      vector(registers),
    );
  }
}

const storeSuffix = (memory: MemoryType, words: boolean): string =>
  words ? "b32" : memory.suffix === "s8" ? "u8" : memory.suffix === "s16" ? "u16" : memory.suffix;

/** Pairs of 16-bit lanes as words: two f32 are rounded and packed by one instruction. */
function packedHalves(scope: Scope, value: Expr, lanes: readonly number[]): Value[] {
  const { b } = scope;
  const dtype = value.type as "f16" | "bf16";
  const source = isOp(value, "cast") ? value.args[0]! : value;
  const single = source.type === "f32" ? source : null;
  return Array.from({ length: lanes.length / 2 }, (_, pair) => {
    const [low, high] = [lanes[2 * pair]!, lanes[2 * pair + 1]!];
    if (single !== null) return packPair(b, dtype, scope.get(single, low), scope.get(single, high));
    const [x, y] = [scope.get(value, low), scope.get(value, high)];
    const whole =
      x.half !== undefined && !x.half.high && y.half?.high === true && x.half.word === y.half.word;
    return whole ? x.half.word : b.packHalves(x, y);
  });
}

/** Two f32 rounded to nearest even as one word, `low` in the low half. */
export function packPair(b: PtxBuilder, dtype: "f16" | "bf16", low: Value, high: Value): Value {
  return b.op(halfInstruction[dtype].pack, "u32", high, low);
}

function toMemory(b: PtxBuilder, value: Value, dtype: DType): Value {
  if (dtype === "bool") return emitCast(b, value, "bool", "u8");
  const memory = memoryType[dtype]!;
  return memory.register === value.type ? value : convertRegister(b, value, memory.register);
}

/** True if `expr` is a plain load, possibly converted: what a kernel may copy without evaluating. */
export function plainLoad(expr: Expr): Expr<"load"> | null {
  if (isOp(expr, "load")) return hasEffects(expr.args[0]!) ? null : expr;
  return null;
}
