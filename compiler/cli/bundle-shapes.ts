/** What `explain` and `inspect` read of a bundle's files. */
import { fields, list, orNull, record, type Shape } from "./json-shape.js";

const names = list("string");

export const reportShape = fields({
  numerics: "string",
  fusion: "boolean",
  symbols: list(fields({ name: "string", min: "number", max: "number" })),
  passes: list(
    fields({
      entry: "string",
      pass: "string",
      changed: "boolean",
      before: "number",
      after: "number",
      operators: record("number"),
    }),
  ),
  targets: list(
    fields({
      target: "string",
      kernels: "number",
      weights: fields({ count: "number", stored: "number", bytes: "number" }),
      entries: list(
        fields({
          name: "string",
          launches: "number",
          launchesBefore: orNull("number"),
          arenaBytes: "number",
          intermediates: fields({ bytes: "number", before: orNull("number"), least: "number" }),
          kernels: list(
            fields({ family: "string", computes: "string", prologue: names, epilogue: names }),
          ),
          values: list(
            fields({
              writer: "number",
              readers: list("number"),
              why: "string",
              refusal: orNull(fields({ text: "string" })),
              bytes: "number",
            }),
          ),
          refusals: list(fields({ part: "string", text: "string", nodes: names })),
        }),
      ),
    }),
  ),
});

/** An expression over symbols, as plans write it. */
function isHostExpr(value: unknown, depth = 0): boolean {
  if (typeof value === "number" || typeof value === "string") return true;
  if (!Array.isArray(value) || depth > 64) return false;
  const [operator, ...args] = value as unknown[];
  return typeof operator === "string" && args.every((arg) => isHostExpr(arg, depth + 1));
}

const size: Shape = { called: "size", accepts: isHostExpr };

const floor = fields({
  ...{ read: size, written: size, operations: size },
  dtype: orNull("string"),
});
const launched = {
  kernels: list(
    fields({
      ...{ family: "string", symbol: "string", computes: "string", floor },
      ...{ prologue: names, epilogue: names },
    }),
  ),
  operators: list(fields({ op: "string", inputs: list("number"), launches: list("number") })),
};

/** What `profile` reads of the report. */
export const profileShape = fields({
  targets: list(
    fields({
      target: "string",
      entries: list(
        fields({
          name: "string",
          ...launched,
          others: list(fields({ plans: list("number"), ...launched })),
        }),
      ),
    }),
  ),
});

const tensors = list(fields({ name: "string", dtype: "string", shape: list(size) }));

export const planShape = fields({
  symbols: list(fields({ name: "string", min: "number", max: "number" })),
  sources: list(fields({})),
  states: list(fields({ name: "string", dtype: "string", shape: list("number") })),
  entries: list(fields({ name: "string", inputs: tensors, outputs: tensors })),
  targets: record(
    fields({
      kernels: list(fields({})),
      weights: list(fields({})),
      entries: record(list(fields({ steps: list(fields({})), arenaBytes: "number" }))),
    }),
  ),
});

export const manifestShape = fields({
  farrier: "string",
  native: "boolean",
  files: record(fields({ bytes: "number" })),
});
