/**
 * Writes `lifted.generated.ts`: the trees of `functions.ts`, so that compiling a model does not load
 * a TypeScript parser. Run it after changing that file: `npx tsx compiler/scalar/lift-builtins.ts`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { param } from "./build.js";
import { liftModule } from "./lift.js";
import { intrinsics } from "./math.js";
import { serialiseTree, type Lifted } from "./tree.js";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
export const generatedPath = here("./lifted.generated.ts");

/** Intrinsics that are built-in functions too. */
const alsoBuiltin = ["erf", "fma"];

function liftIntrinsic(name: string): Lifted {
  const intrinsic = intrinsics[name]!;
  const params = ["x", "y", "z"].slice(0, Number(intrinsic.arity));
  return { params, tree: intrinsic.build(...params.map((each) => param(each, "f64"))) };
}

/** The text that `lifted.generated.ts` must have. */
export function generateLifted(): string {
  const lifted = liftModule(readFileSync(here("./functions.ts"), "utf8"), {
    source: "functions.ts",
  });
  for (const name of alsoBuiltin) lifted.set(name, liftIntrinsic(name));
  const entries = [...lifted].map(([name, { params, tree }]) => {
    const names = params.map((each) => JSON.stringify(each)).join(", ");
    return `  ${name}: { params: [${names}], tree: ${JSON.stringify(serialiseTree({ params, tree }))} },\n`;
  });
  return [
    "// Written by lift-builtins.ts from functions.ts: do not edit.\n",
    "export const lifted = {\n",
    ...entries,
    "} as const;\n",
  ].join("");
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(generatedPath, generateLifted());
