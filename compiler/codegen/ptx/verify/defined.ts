/**
 * Definition before use, on every path. A definition under a guard counts where the same guard holds,
 * or where the opposite one wrote the register too.
 */
import type { Block, Flow } from "./flow.js";
import type { Problems } from "./problem.js";
import type { Instruction, Module } from "./types.js";

interface Guarded {
  readonly guard: number;
  readonly negated: boolean;
  /** How often the predicate had been written. */
  readonly version: number;
}

export function checkDefined(module: Module, flow: Flow, problems: Problems): void {
  const words = Math.ceil(module.registerTypes.length / 32);
  const entering = enteringSets(module, flow, words);
  for (const block of flow.blocks)
    if (block.reachable) new Walk(module, block, entering[block.index]!.slice(), problems).run();
}

/** What is written on every path to a block. */
function enteringSets(module: Module, { blocks }: Flow, words: number): Int32Array[] {
  const written = blocks.map((block) => {
    const set = new Int32Array(words);
    new Walk(module, block, set, null).run();
    return set;
  });
  const entering = blocks.map(() => new Int32Array(words).fill(-1));
  entering[0]?.fill(0);
  for (let changed = true; changed;) {
    changed = false;
    for (const block of blocks) {
      if (!block.reachable) continue;
      const [own, gains] = [entering[block.index]!, written[block.index]!];
      for (const next of block.next) {
        const target = entering[next]!;
        for (let word = 0; word < words; word++) {
          const met = target[word]! & (own[word]! | gains[word]!);
          if (met !== target[word]) {
            target[word] = met;
            changed = true;
          }
        }
      }
    }
  }
  return entering;
}

/** One block in order. */
class Walk {
  readonly #module: Module;
  readonly #block: Block;
  readonly #set: Int32Array;
  readonly #problems: Problems | null;
  readonly #guarded = new Map<number, Guarded>();
  readonly #versions = new Map<number, number>();

  constructor(module: Module, block: Block, set: Int32Array, problems: Problems | null) {
    this.#module = module;
    this.#block = block;
    this.#set = set;
    this.#problems = problems;
  }

  run(): void {
    const { instructions } = this.#module;
    for (let i = this.#block.first; i < this.#block.end; i++) {
      const instruction = instructions[i]!;
      if (this.#problems !== null) this.#reads(instruction, this.#problems);
      for (const register of instruction.defs) this.#write(instruction, register);
    }
  }

  #has(register: number): boolean {
    return ((this.#set[register >> 5]! >> (register & 31)) & 1) !== 0;
  }

  #reads(instruction: Instruction, problems: Problems): void {
    const { guard, line, uses } = instruction;
    if (guard >= 0 && !this.#has(guard)) this.#complain(problems, line, guard);
    for (const register of uses)
      if (!this.#has(register) && !this.#same(instruction, register, false))
        this.#complain(problems, line, register);
  }

  #complain(problems: Problems, line: number, register: number): void {
    const name = this.#module.registerNames(register);
    problems.add("UNDEFINED", line, `${name} is read, and not written on every path to here`);
  }

  /** Whether `register` was written under this instruction's guard, or under its opposite. */
  #same({ guard, negated }: Instruction, register: number, opposite: boolean): boolean {
    const known = this.#guarded.get(register);
    if (known === undefined) return false;
    return (
      known.guard === guard &&
      (known.negated === negated) !== opposite &&
      known.version === (this.#versions.get(guard) ?? 0)
    );
  }

  #write(instruction: Instruction, register: number): void {
    const { guard, negated } = instruction;
    if (guard < 0 || this.#same(instruction, register, true))
      this.#set[register >> 5]! |= 1 << (register & 31);
    else {
      const version = this.#versions.get(guard) ?? 0;
      this.#guarded.set(register, { guard, negated, version });
    }
    if (this.#module.registerTypes[register] === "pred")
      this.#versions.set(register, (this.#versions.get(register) ?? 0) + 1);
  }
}
