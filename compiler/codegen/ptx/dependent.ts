/**
 * Dependent launches: where a kernel's text waits for the kernel before it.
 * See `docs/adr/0008-dependent-launches.md`.
 */
import { checkOperands } from "./verify/check-operands.js";
import { buildFlow } from "./verify/flow.js";
import { forEachAccess } from "./verify/memory.js";
import { parseModule } from "./verify/parse.js";
import { Problems } from "./verify/problem.js";
import type { VerifyOptions } from "./verify/types.js";
import { Values } from "./verify/values.js";
import { ptx } from "./instructions.js";

/**
 * `text` with the instruction of a dependent launch. It waits as late as its straight-line
 * beginning allows: what it reads of weights, and all that it works out before, overlaps with the end
 * of the kernel before. The next one begins as this one's blocks end: earlier, its blocks would take
 * the multiprocessors that have room rather than one each. A text that the verifier will refuse is left
 * as it is.
 */
export function dependentText(text: string, options: VerifyOptions): string {
  const problems = new Problems();
  const module = parseModule(text, problems);
  if (module === null) return text;
  checkOperands(module, problems);
  if (problems.any) return text;
  const flow = buildFlow(module, problems);
  const [block] = flow.blocks;
  if (problems.any || block === undefined) return text;
  const values = new Values(module, options);
  const { instructions } = module;
  // Every path passes the whole first block: before its last instruction if that leaves it.
  const last = instructions[block.end - 1]!;
  const leaves = last.form?.role === "branch" || last.form?.role === "exit";
  let waitLine = leaves ? last.line : last.line + 1;
  forEachAccess(module, flow, ({ line }, { space }, operand) => {
    if (space !== "global" || line >= waitLine) return;
    const param = options.params[values.address(operand).base - 1];
    if (!(param?.kind === "pointer" && param.weight === true)) waitLine = line;
  });
  const lines = text.split("\n");
  lines.splice(waitLine - 1, 0, `  ${ptx.dependencyWait}`);
  return lines.join("\n");
}
