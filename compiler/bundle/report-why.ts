/** Why a value passes through memory between two launches: the limit, and the number that broke it. */
import { refusal, type Refusal } from "../kernel/limits.js";
import type { PlannedKernel } from "../kernel/memory.js";

interface Stored {
  /** In short: equal for values that are alike, so that they can be counted. */
  readonly why: string;
  readonly refusal: Refusal | null;
}

const startsFromMemory = ({ desc }: PlannedKernel): boolean =>
  desc.family === "gemm" || desc.family === "attention";

/** @param cut what partitioning refused, by the value that it stored instead */
export function whyStored(
  value: string,
  writer: PlannedKernel,
  readers: readonly PlannedKernel[],
  cut: ReadonlyMap<string, Refusal>,
): Stored {
  const [reader] = readers;
  if (reader === undefined) return { why: "nothing reads it", refusal: null };
  const refused = cut.get(value);
  if (readers.length > 1 && !startsFromMemory(writer))
    return {
      why: `computed once for ${readers.length} kernels`,
      refusal: refused ?? refusal("readers", readers.length, 1),
    };
  const { family } = reader.desc;
  const others = refused ?? refusal("anchors", 2, 1);
  if (startsFromMemory(writer) && readers.some(startsFromMemory))
    return { why: "passes from one product or attention to another", refusal: others };
  if (startsFromMemory(writer)) return { why: `a ${family} kernel reads it`, refusal: others };
  if (startsFromMemory(reader) && writer.desc.family === "map")
    return {
      why: `the ${family} reads it as strided memory`,
      refusal: refused ?? refusal("operations", writer.desc.stores.length, 0, `the ${family}`),
    };
  return { why: `passes from a ${writer.desc.family} to a ${family} kernel`, refusal: others };
}
