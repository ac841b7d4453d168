/**
 * Dependent launches: before `griddepcontrol.wait` a kernel touches weights only, and every path to
 * its end passes the wait. Read-only loads (`.nc`) are of weights: all else may change while it runs.
 */
import type { Flow } from "./flow.js";
import { forEachAccess } from "./memory.js";
import type { Problems } from "./problem.js";
import type { Instruction, Module, VerifyOptions } from "./types.js";
import type { Values } from "./values.js";

export function checkDependent(
  module: Module,
  flow: Flow,
  values: Values,
  options: VerifyOptions,
  problems: Problems,
): void {
  const { instructions } = module;
  const waits = instructions.filter(({ form }) => form?.role === "wait");
  if (waits.length === 0) {
    if (options.dependent === true)
      problems.add("DEPENDENT", module.endLine, "no griddepcontrol.wait in a dependent launch");
    return;
  }
  const waited = afterWait(module, flow);
  forEachAccess(module, flow, (instruction, slot, operand) => {
    if (slot.space !== "global") return;
    const param = options.params[values.address(operand).base - 1];
    const weight = param?.kind === "pointer" && param.weight === true;
    if (slot.mode === "constant" && !weight)
      problems.add(
        "DEPENDENT",
        instruction.line,
        `${instruction.opcode} of what the kernel before may write`,
      );
    if (waited.has(instruction)) return;
    if (!weight || slot.mode === "write" || slot.mode === "readwrite")
      problems.add(
        "DEPENDENT",
        instruction.line,
        `${instruction.opcode} of what is no weight, before griddepcontrol.wait`,
      );
  });
  instructions.forEach((instruction, index) => {
    const reachable = flow.blocks[flow.blockOf[index]!]!.reachable;
    if (reachable && instruction.form?.role === "exit" && !waited.has(instruction))
      problems.add("DEPENDENT", instruction.line, "a path to the end without griddepcontrol.wait");
  });
}

/** Instructions before which every path has waited. */
function afterWait({ instructions }: Module, { blocks }: Flow): Set<Instruction> {
  const entering = blocks.map(({ index }) => index > 0);
  const leaving = (index: number): boolean => {
    const { first, end } = blocks[index]!;
    return (
      entering[index]! ||
      instructions.slice(first, end).some(({ form, guard }) => form?.role === "wait" && guard < 0)
    );
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const block of blocks) {
      if (!block.reachable || leaving(block.index)) continue;
      for (const next of block.next) {
        changed ||= entering[next]!;
        entering[next] = false;
      }
    }
  }
  const found = new Set<Instruction>();
  for (const { index, first, end } of blocks) {
    let waited = entering[index]!;
    for (let at = first; at < end; at++) {
      const instruction = instructions[at]!;
      if (waited) found.add(instruction);
      waited ||= instruction.form?.role === "wait" && instruction.guard < 0;
    }
  }
  return found;
}
