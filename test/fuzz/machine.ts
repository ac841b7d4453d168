/** Instruction sets that this machine has, of those that the C back end compiles for. */
import fs from "node:fs";
import { defaultIsas, type Isa } from "../../compiler/codegen/c/compile.js";

const needs: { readonly [I in Isa]: readonly string[] } = {
  portable: [],
  avx2: ["avx2", "fma", "f16c", "bmi2"],
  avx512: ["avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "f16c", "bmi2"],
};

export function isas(): Isa[] {
  const text = fs.existsSync("/proc/cpuinfo") ? fs.readFileSync("/proc/cpuinfo", "utf8") : "";
  const flags = new Set(/^flags\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/));
  return defaultIsas().filter((isa) => needs[isa].every((flag) => flags.has(flag)));
}
