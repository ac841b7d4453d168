/**
 * Which values and which code differ from thread to thread. Barriers are waited for by the block,
 * products on shared memory by the warpgroup, and shuffles, matrix loads and products on registers by
 * the warp: not all of its threads may reach them otherwise.
 */
import type { Flow } from "./flow.js";
import type { Problems } from "./problem.js";
import type { Instruction, Module, Operand } from "./types.js";
import { splitBlocks } from "./split.js";

/**
 * What a value depends on besides the block: the five bits of the lane, the warp among the four of
 * its warpgroup, and the warpgroup. 0 is the same in all threads.
 */
type Spread = number;
const lane: Spread = 31;
const warp: Spread = 32;
const group: Spread = 64;
const warps: Spread = warp | group;
const thread: Spread = lane | warps;
const warpThreads = 32;
const groupThreads = 128;

/** Who comes to an instruction together, and what may not decide whether a thread does. */
const together = {
  barrier: { who: "block", apart: thread },
  wait: { who: "block", apart: thread },
  group: { who: "warpgroup", apart: lane | warp },
  warp: { who: "warp", apart: lane },
} as const;

/** Their result does not depend on the order of its operands. */
const commutative = new Set(["add", "mul", "min", "max", "and", "or", "xor"]);

export class Uniformity {
  readonly #module: Module;
  readonly #flow: Flow;
  /** By register. */
  readonly #spreads: Uint8Array;
  /** The only definition of a register, if it has one: index + 1; 0 none, -1 several. */
  readonly #definition: Int32Array;
  /** Registers that hold the thread's index, or its remainder by a multiple of 32. */
  readonly #index: Uint8Array;
  /** By block: what decides whether a thread is in it. */
  readonly #split: Uint8Array;

  constructor(module: Module, flow: Flow) {
    const registers = module.registerTypes.length;
    this.#module = module;
    this.#flow = flow;
    this.#spreads = new Uint8Array(registers);
    this.#definition = new Int32Array(registers);
    this.#index = new Uint8Array(registers);
    this.#split = new Uint8Array(flow.blocks.length);
    module.instructions.forEach(({ defs }, at) => {
      for (const register of defs)
        this.#definition[register] = this.#definition[register] === 0 ? at + 1 : -1;
    });
    this.#solve();
  }

  check(problems: Problems): void {
    this.#module.instructions.forEach((instruction, at) => {
      const { form, line, opcode, operands } = instruction;
      if (form === null || !Object.hasOwn(together, form.role)) return;
      const found = this.#split[this.#flow.blockOf[at]!]! | this.#guard(instruction);
      // A barrier with a count is for some warps; one without is for all.
      const some = form.role === "barrier" && operands.length > 1;
      const { who, apart } = together[some ? "warp" : (form.role as keyof typeof together)];
      if ((found & apart) === 0) return;
      problems.add("DIVERGENT", line, `not all threads of the ${who} may reach ${opcode}`);
    });
  }

  #solve(): void {
    const { instructions } = this.#module;
    const { blocks } = this.#flow;
    do
      for (let changed = true; changed;) {
        changed = false;
        for (const { index, first, end, reachable } of blocks)
          for (let at = first; reachable && at < end; at++)
            if (instructions[at]!.defs.length > 0)
              changed = this.#step(instructions[at]!, this.#split[index]!) || changed;
      }
    while (splitBlocks(this.#module, this.#flow, (branch) => this.#guard(branch), this.#split));
  }

  #guard({ guard }: Instruction): Spread {
    return guard < 0 ? 0 : this.#spreads[guard]!;
  }

  #step(instruction: Instruction, split: Spread): boolean {
    const { opcode, defs } = instruction;
    let result = this.#result(instruction) | this.#guard(instruction);
    // What was loaded at different times may differ.
    if (split !== 0 && opcode.startsWith("ld.") && !opcode.includes(".nc")) result |= split;
    let changed = false;
    for (const register of defs) {
      const before = this.#spreads[register]!;
      const next = before | result | (this.#definition[register] === -1 ? split : 0);
      if (next === before) continue;
      this.#spreads[register] = next;
      changed = true;
    }
    return changed;
  }

  #uses({ uses }: Instruction): Spread {
    let spread = 0;
    for (const register of uses) spread |= this.#spreads[register]!;
    return spread;
  }

  #result(instruction: Instruction): Spread {
    const { form, operands, defs } = instruction;
    const [, source, by] = operands;
    if (source?.kind === "special") {
      if (source.name === "%tid.x") this.#setIndex(defs[0]!);
      return ofSpecial(source.name);
    }
    switch (form!.name) {
      case "mma":
      case "ldmatrix":
        return this.#uses(instruction) | lane;
      case "atom":
      case "activemask":
      case "mbarrier":
        return thread;
      case "vote":
      case "redux":
        return this.#uses(instruction) & warps;
      case "shfl":
        return this.#shuffle(instruction);
    }
    if (source?.kind === "register" && by?.kind === "integer" && this.#index[source.register] === 1)
      return this.#ofIndex(instruction, by.value) & this.#spreads[source.register]!;
    const all = this.#uses(instruction);
    return all === 0 ? 0 : all & ~this.#butterfly(instruction);
  }

  #setIndex(register: number): void {
    if (this.#definition[register]! > 0) this.#index[register] = 1;
  }

  /** Lane bits that no longer matter: `x + x of the lane with that bit turned`. */
  #butterfly({ form, operands }: Instruction): Spread {
    const [, x, y] = operands;
    if (x?.kind !== "register" || y?.kind !== "register" || !commutative.has(form!.name)) return 0;
    return this.#turned(x.register, y.register) | this.#turned(y.register, x.register);
  }

  /** The lane bit by which `other` is `own` of another lane, if it is. */
  #turned(own: number, other: number): Spread {
    const at = this.#definition[other]!;
    if (at <= 0 || this.#definition[own]! <= 0) return 0;
    const { opcode, operands, guard } = this.#module.instructions[at - 1]!;
    const [, source, distance, clamp] = operands;
    const found =
      opcode === "shfl.sync.bfly.b32" &&
      guard < 0 &&
      source?.kind === "register" &&
      source.register === own &&
      distance?.kind === "integer" &&
      isWholeWarp(clamp);
    return found && (distance.value & (distance.value - 1)) === 0 ? distance.value & lane : 0;
  }

  #shuffle(instruction: Instruction): Spread {
    const [, source, from, clamp] = instruction.operands;
    const own = source?.kind === "register" ? this.#spreads[source.register]! : 0;
    const place = from?.kind === "register" ? this.#spreads[from.register]! : 0;
    if (own === 0) return 0;
    if (instruction.opcode.includes(".idx") && isWholeWarp(clamp)) return (own & warps) | place;
    return instruction.opcode.includes(".bfly") && from?.kind === "integer" ? own : own | lane;
  }

  /** An operation of the thread's index with a literal: which of its bits are left. */
  #ofIndex({ opcode, form, defs }: Instruction, by: number): Spread {
    const power = by > 0 && (by & (by - 1)) === 0;
    switch (form!.name) {
      case "shr":
        return above(by);
      case "div":
        return power ? above(31 - Math.clz32(by)) : by > 0 ? multiples(by) : thread;
      case "rem":
        if (by % warpThreads === 0) this.#setIndex(defs[0]!);
        return power ? masked(by - 1) : thread;
      case "and":
        if ((by & lane) === lane) this.#setIndex(defs[0]!);
        return masked(by);
      case "setp":
        return compared(opcode.split(".")[1]!, by);
      default:
        return thread;
    }
  }
}

/** What the bits of the index from `bit` on depend on. */
const above = (bit: number): Spread => masked(-1 << Math.min(bit, 30));

/** What the bits of the index that a mask has depend on. */
function masked(mask: number): Spread {
  const inGroup = (mask & (groupThreads - 1)) >> 5;
  return (mask & lane) | (inGroup === 0 ? 0 : warp) | (mask >> 7 === 0 ? 0 : group);
}

/** What the index divided by, or compared at, multiples of `size` depends on. */
const multiples = (size: number): Spread =>
  size % groupThreads === 0 ? group : size % warpThreads === 0 ? warps : thread;

/** What a comparison of the index with `by` depends on. */
function compared(order: string, by: number): Spread {
  if (order === "lt" || order === "ge") return multiples(by);
  return order === "le" || order === "gt" ? multiples(by + 1) : thread;
}

/** The third operand of a shuffle that knows no segments. */
const isWholeWarp = (operand: Operand | undefined): boolean =>
  operand?.kind === "integer" && (operand.value & 0x1f1f) === 0x1f;

function ofSpecial(name: string): Spread {
  if (/^%(?:ntid|ctaid|nctaid)\.|^%nwarpid|^%tid\.[yz]/.test(name)) return 0;
  if (name === "%laneid" || name.startsWith("%lanemask")) return lane;
  return thread;
}
