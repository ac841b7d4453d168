/** Graphs that were wrong once, as the fuzzer reduced them. */
import { indexing } from "./indexing.js";
import { rounding } from "./rounding.js";
import type { Regression } from "./regression.js";
import { weights } from "./weights.js";

export const regressions: readonly Regression[] = [...indexing, ...rounding, ...weights];
