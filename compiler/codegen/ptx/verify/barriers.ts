/** Numbers of barriers and counts of threads. */
import type { Problems } from "./problem.js";
import type { Module, VerifyOptions } from "./types.js";

/** Hardware barriers of a block. */
const barriers = 16;

export function checkBarriers(
  module: Module,
  { threads }: VerifyOptions,
  problems: Problems,
): void {
  for (const { form, operands, line, opcode } of module.instructions) {
    if (form?.role !== "barrier") continue;
    const [id, count] = operands;
    if (id?.kind === "integer" && (id.value < 0 || id.value >= barriers))
      problems.add("BARRIER", line, `${opcode}: barrier ${id.value} of ${barriers}`);
    if (count?.kind !== "integer") continue;
    if (count.value < 32 || count.value % 32 !== 0 || count.value > threads)
      problems.add(
        "BARRIER",
        line,
        `${opcode}: ${count.value} threads of ${threads}, in warps of 32`,
      );
  }
}
