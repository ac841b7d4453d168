/** The rule of choosing one of each row at random. */
import { isFloat } from "./dtype.js";
import { need, takes, type Proposal, type Signature } from "./rules-base.js";
import { printShape, sameShape } from "./shape.js";

export function sampleRule(p: Proposal<"sample">): Signature {
  const [values, noise, temperature, count, mass] = takes(p, 5);
  const rows = values.shape.slice(0, 1);
  // C1: rows of values, a number of noise for each.
  const fits = values.shape.length === 2 && sameShape(noise.shape, values.shape);
  need(fits, p, "E_SAMPLE", () => `${printShape(values.shape)} and ${printShape(noise.shape)}`);
  // C2: one limit of each kind for a row.
  const limits = [temperature, count, mass];
  const limited = limits.every(({ shape }) => sameShape(shape, rows));
  need(limited, p, "E_SAMPLE", () => limits.map(({ shape }) => printShape(shape)).join(", "));
  // C3: floats, but for the counts.
  const typed =
    [values, noise, temperature, mass].every((x) => isFloat(x.dtype)) && count.dtype === "i32";
  need(typed, p, "E_DTYPE", () => [values, noise, ...limits].map((x) => x.dtype).join(", "));
  return { dtype: "i64", shape: rows };
}
