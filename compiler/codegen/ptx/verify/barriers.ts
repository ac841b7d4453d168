/** Numbers of barriers, counts of threads and of registers. */
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
    if (form?.name === "setmaxnreg" && operands[0]?.kind === "integer") {
      const { value } = operands[0];
      if (value < 24 || value > 256 || value % 8 !== 0)
        problems.add(
          "OPERANDS",
          line,
          `${opcode}: ${value} registers, not 24 to 256 in steps of 8`,
        );
    }
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
