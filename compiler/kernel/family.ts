/** What a kernel family's template offers for a target: `desc → candidates → config → render`. */
import type { Expr } from "../scalar/expr.js";
import type { DescOf, Family, KernelBase, Operand } from "./desc.js";
import type { Target } from "./target.js";

/** How a rendered kernel is started. Expressions are over host symbols only. */
export type Launch =
  | {
      readonly kind: "gpu";
      readonly grid: readonly [Expr, Expr, Expr];
      readonly threads: number;
      /** Dynamic shared memory, bytes. */
      readonly sharedBytes: number;
    }
  | {
      readonly kind: "cpu";
      /** Independent tasks: each writes its own elements, so any number of threads gives the same bits. */
      readonly tasks: Expr;
      /** Scratch of a thread, bytes, 64-byte aligned. */
      readonly scratchBytes: number;
    };

/** In a rendered text, the function's name: replaced by `<family>_<hash of the text>`. */
export const kernelNamePlaceholder = "FARRIER_KERNEL";

/**
 * Memory of one launch, where several blocks make a result together: `partials`, f32 elements that they
 * leave for the last of them, and `tickets`, u32 counters of arrivals, zero before the launch and after
 * it. Passed by address after the operands, in this order.
 */
export interface Workspace {
  readonly partials: Expr;
  readonly tickets: Expr;
}

export interface KernelText {
  readonly text: string;
  readonly workspace?: Workspace;
  /** 64-bit arguments that follow the operands' addresses: host expressions, in order. */
  readonly scalars: readonly Expr[];
  readonly launch: Launch;
}

const ofWorkspace = (name: string, dtype: "f32" | "u32", elements: Expr): Operand => ({
  name,
  dtype,
  access: "readwrite",
  elements,
});

/** Everything that a kernel is passed by address: its description's operands, then its workspace. */
export function addressesOf(
  { operands }: Pick<KernelBase, "operands">,
  { workspace }: Pick<KernelText, "workspace">,
): readonly Operand[] {
  if (workspace === undefined) return operands;
  return [
    ...operands,
    ofWorkspace(workspaceNames.partials, "f32", workspace.partials),
    ofWorkspace(workspaceNames.tickets, "u32", workspace.tickets),
  ];
}

/** What the workspace is called beside the operands. */
export const workspaceNames = { partials: "partials", tickets: "tickets" } as const;

/** `C` is the family's configuration: a plain object of numbers and strings that prints itself. */
export interface FamilyTemplate<F extends Family, C> {
  readonly family: F;
  /** Legal configurations for this target, best first by the cost model; empty if it has none. */
  candidates(desc: DescOf<F>, target: Target): readonly C[];
  render(desc: DescOf<F>, config: C, target: Target): KernelText;
}
