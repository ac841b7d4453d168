/** The verifier on farrier's own kernels, where they are rendered. */
import { bug } from "../../../errors.js";
import type { KernelBase, KernelDesc } from "../../../kernel/desc.js";
import { addressesOf, type KernelText } from "../../../kernel/family.js";
import type { Target } from "../../../kernel/target.js";
import { rangeOf } from "../../../scalar/range.js";
import { multipleOf } from "../lanes.js";
import { problemText } from "./problem.js";
import type { PtxParam } from "./types.js";
import { verifyPtx, type VerifyOptions } from "./verify.js";

/** What every operand's address is a multiple of: the runtime refuses others. */
const operandAlign = 16;

/** What the launch of a rendered kernel passes. */
export function launchOptions(
  desc: Pick<KernelBase, "operands">,
  kernel: Pick<KernelText, "scalars" | "launch" | "workspace">,
  target: Target,
): VerifyOptions {
  const { scalars, launch } = kernel;
  if (target.ptx === undefined || launch.kind !== "gpu")
    throw bug(`a PTX kernel for target ${target.name}`);
  const { ptx, sharedBytes } = target;
  const pointers = addressesOf(desc, kernel).map(({ access, weight = false }): PtxParam => ({
    kind: "pointer",
    align: operandAlign,
    access,
    weight,
  }));
  const numbers = scalars.map((expr): PtxParam => {
    const multiple = multipleOf(expr, () => ({ step: null, multiple: 1 }));
    return { kind: "scalar", multiple, ...rangeOf(expr) };
  });
  return {
    target: { name: ptx.target, version: ptx.version },
    sharedBytes: launch.sharedBytes,
    ...(sharedBytes === undefined ? {} : { sharedLimit: sharedBytes }),
    threads: launch.threads,
    dependent: ptx.dependent,
    params: [...pointers, ...numbers],
  };
}

/** Throws if a text rendered for `target` is a kernel that the verifier refuses. */
export function requireGoodPtx(desc: KernelDesc, kernel: KernelText, target: Target): void {
  if (target.language !== "ptx") return;
  const problems = verifyPtx(kernel.text, launchOptions(desc, kernel, target));
  if (problems.length === 0) return;
  const shown = problems.slice(0, 5).map(problemText);
  const rest = problems.length > shown.length ? [`${problems.length - shown.length} more`] : [];
  throw bug(
    `the ${desc.family} kernel of ${desc.label} is refused: ${[...shown, ...rest].join("; ")}`,
  );
}
