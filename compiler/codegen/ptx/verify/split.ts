/** The code that not all threads run: from a branch that they disagree about to where they meet. */
import type { Flow } from "./flow.js";
import type { Instruction, Module } from "./types.js";

/**
 * Adds to `split`, by block, what decides whether a thread runs it. `disagreement` says what a
 * branch's predicate depends on. True if anything was added.
 */
export function splitBlocks(
  { instructions }: Module,
  { blocks }: Flow,
  disagreement: (branch: Instruction) => number,
  split: Uint8Array,
): boolean {
  let changed = false;
  for (const { reachable, end, next, postDominator } of blocks) {
    const last = instructions[end - 1]!;
    const role = last.form?.role;
    if (!reachable || last.guard < 0 || (role !== "branch" && role !== "exit")) continue;
    const cause = disagreement(last);
    if (cause === 0) continue;
    const seen = new Uint8Array(blocks.length);
    if (postDominator >= 0) seen[postDominator] = 1;
    const stack = [...next];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (seen[at] === 1) continue;
      seen[at] = 1;
      const before = split[at]!;
      split[at] = before | cause;
      changed ||= split[at] !== before;
      stack.push(...blocks[at]!.next);
    }
  }
  return changed;
}
