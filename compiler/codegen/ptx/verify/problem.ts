/** What the verifier reports: every check by name. The codes are listed in `docs/ptx-verifier.md`. */

/** Each check, and what it says about a text that fails it. */
export const checks = {
  GRAMMAR: "the text is not of the dialect that farrier emits",
  MODULE: "the header is not what the target and the launch need",
  DECLARE: "a register, label or symbol is not declared, or declared twice",
  OPCODE: "an instruction that is not on the list of allowed ones",
  ARCH: "an instruction newer than the .version or .target of the text",
  OPERANDS: "operands of the wrong number or kind",
  TYPE: "a register or literal of a type that the instruction does not take",
  VECTOR: "a vector of the wrong number of registers, or with a destination twice",
  GUARD: "a guard where none is allowed, or one that is not a predicate",
  PARAM: "parameters that differ from what the launch passes",
  FALL: "a path that runs past the end of the body",
  ENDLESS: "code from which no path leads to the end",
  UNREACHABLE: "code that no path reaches",
  UNDEFINED: "a register that is read where a path leads that has not written it",
  ALIGN: "an address that is not a multiple of the access's width",
  ADDRESS: "an address that does not come from one operand, or not from shared memory",
  ACCESS: "a write to what is only read, or a read-only load of what is written",
  SHARED: "shared memory beyond what is declared and asked for",
  BARRIER: "a barrier with a bad number or a bad count of threads",
  DIVERGENT: "a barrier or warp-wide instruction that not all of its threads may reach",
  DEPENDENT:
    "memory of the kernel before is touched, or the kernel ends, before griddepcontrol.wait",
} as const;

export type Check = keyof typeof checks;
export type PtxCode = `E_PTX_${Check}`;

export interface Problem {
  readonly code: PtxCode;
  /** Line of the text, from 1. */
  readonly line: number;
  readonly message: string;
}

/** As one line: `E_PTX_ALIGN: line 12: …`. */
export const problemText = ({ code, line, message }: Problem): string =>
  `${code}: line ${line}: ${message}`;

/** Problems in the order in which they are found; beyond `limit` they are only counted. */
export class Problems {
  readonly list: Problem[] = [];
  readonly #seen = new Set<string>();
  readonly #limit = 50;

  add(check: Check, line: number, message: string): void {
    const key = `${check}:${line}:${message}`;
    if (this.list.length >= this.#limit || this.#seen.has(key)) return;
    this.#seen.add(key);
    this.list.push({ code: `E_PTX_${check}`, line, message });
  }

  get any(): boolean {
    return this.list.length > 0;
  }
}
