/** Kernels in an order in which every value is written before it is read. */
import { bug } from "../errors.js";
import type { PlannedKernel } from "./memory.js";

const reads = (kernel: PlannedKernel): string[] =>
  kernel.buffers
    .filter((_, i) => kernel.desc.operands[i]!.access !== "write")
    .map((buffer) => buffer.id);
const writes = (kernel: PlannedKernel): string[] =>
  kernel.buffers
    .filter((buffer, i) => kernel.desc.operands[i]!.access !== "read" && buffer.place !== "status")
    .map((buffer) => buffer.id);

/**
 * Stable topological order (Kahn's algorithm): of the kernels that are ready, the one listed first.
 * All writers of a buffer precede its readers.
 */
export function inOrder(kernels: readonly PlannedKernel[]): PlannedKernel[] {
  const writers = new Map<string, number[]>();
  kernels.forEach((kernel, index) => {
    for (const id of writes(kernel)) writers.set(id, [...(writers.get(id) ?? []), index]);
  });
  const waits = kernels.map(
    (kernel, index) =>
      new Set(
        reads(kernel)
          .flatMap((id) => writers.get(id) ?? [])
          .filter((writer) => writer !== index),
      ),
  );
  const unblocks: number[][] = kernels.map(() => []);
  waits.forEach((set, index) => {
    for (const writer of set) unblocks[writer]!.push(index);
  });
  const ready = waits.flatMap((set, index) => (set.size === 0 ? [index] : []));
  const order: PlannedKernel[] = [];
  while (ready.length > 0) {
    const index = ready.splice(ready.indexOf(Math.min(...ready)), 1)[0]!;
    order.push(kernels[index]!);
    for (const next of unblocks[index]!) {
      waits[next]!.delete(index);
      if (waits[next]!.size === 0) ready.push(next);
    }
  }
  if (order.length !== kernels.length) throw bug("kernels depend on each other in a circle");
  return order;
}
