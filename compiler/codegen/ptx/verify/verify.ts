/**
 * The static verifier: reads a kernel's text as the driver will, and reports what is wrong with it
 * without running it. See `docs/ptx-verifier.md`.
 */
import { checkBarriers } from "./barriers.js";
import { checkModule } from "./check-module.js";
import { checkOperands } from "./check-operands.js";
import { checkDefined } from "./defined.js";
import { checkDependent } from "./dependent.js";
import { buildFlow } from "./flow.js";
import { MemoryCheck } from "./memory.js";
import { parseModule } from "./parse.js";
import { Problems, type Problem } from "./problem.js";
import type { VerifyOptions } from "./types.js";
import { Uniformity } from "./uniform.js";
import { Values } from "./values.js";

export { checks, problemText, type Problem, type PtxCode } from "./problem.js";
export type { PtxParam, VerifyOptions } from "./types.js";

/**
 * Problems of one kernel's text, none if it is good. What depends on every instruction being
 * understood is only looked at once all are.
 */
export function verifyPtx(text: string, options: VerifyOptions): Problem[] {
  const problems = new Problems();
  const module = parseModule(text, problems);
  if (module === null) return problems.list;
  checkModule(module, options, problems);
  checkOperands(module, problems);
  checkBarriers(module, options, problems);
  if (problems.any) return problems.list;
  const flow = buildFlow(module, problems);
  if (problems.any) return problems.list;
  checkDefined(module, flow, problems);
  const values = new Values(module, options);
  new MemoryCheck(module, options, values, problems).run(module, flow);
  new Uniformity(module, flow).check(problems);
  checkDependent(module, flow, values, options, problems);
  return problems.list;
}
