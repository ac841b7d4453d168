/**
 * Imports a case's model with as few inputs fixed as its shapes need: none, where that works, else
 * small integers and booleans, else small floats too (a `Range` of floats is as long as they say).
 */
import { FarrierError } from "../../compiler/errors.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { importOnnx } from "../../compiler/frontend/onnx/import.js";
import { isFloat } from "../../compiler/ir/dtype.js";
import { countOf, fromBytes } from "../../compiler/ir/tensor.js";
import type { Case, CaseTensor } from "./cases.js";

export interface Imported {
  readonly model: ImportedModel;
  /** Names of the inputs whose values were given while compiling. */
  readonly fixed: readonly string[];
}

/** Inputs of more elements are data. */
const largest = 64;
/** Above so many candidates not every set of them is tried. */
const mostCandidates = 6;

const isSmall = ({ shape }: CaseTensor): boolean => countOf(shape) <= largest;

/** Sets of candidates, the smallest first. */
function subsets<T>(items: readonly T[]): T[][] {
  if (items.length > mostCandidates) return [[...items]];
  const all = Array.from({ length: 2 ** items.length }, (_, bits) =>
    items.filter((_, i) => (bits >> i) % 2 === 1),
  );
  return all.sort((a, b) => a.length - b.length).slice(1);
}

function attempt(each: Case, fixed: readonly CaseTensor[]): ImportedModel {
  const values = new Map(
    fixed.map(({ name, dtype, shape, bytes }) => [name, fromBytes(dtype, shape, bytes)] as const),
  );
  const free = each.dims.filter(({ input }) => !values.has(input));
  const dims = Object.fromEntries(free.map(({ name, size }) => [name, [size, size] as const]));
  return importOnnx(each.model, { fixed: values, dims });
}

const dataDependent = (error: unknown): boolean =>
  error instanceof FarrierError && error.code === "E_OP_UNSUPPORTED";

/** @throws FarrierError of the first attempt, where no set of fixed inputs helps */
export function importCase(each: Case): Imported {
  let first: unknown;
  try {
    return { model: attempt(each, []), fixed: [] };
  } catch (error) {
    if (!dataDependent(error)) throw error;
    first = error;
  }
  const small = each.inputs.filter(isSmall);
  const integers = small.filter(({ dtype }) => !isFloat(dtype));
  const others = small.length === integers.length ? [] : [small];
  for (const fixed of [...subsets(integers), ...others]) {
    try {
      return { model: attempt(each, fixed), fixed: fixed.map(({ name }) => name) };
    } catch (error) {
      if (!(error instanceof FarrierError)) throw error;
    }
  }
  throw first;
}
