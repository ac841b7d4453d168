/** The models that are timed: they compile, in few launches, and every row names one of them. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { packageRoot } from "../../compiler/version.js";

const folder = path.join(packageRoot(), "bench", "gpu");
const weights = { kind: "none" } as const;

const launches = [
  { model: "bert-base", entry: "main", layers: 12, each: 7, besides: 2 },
  { model: "gpt2", entry: "decode", layers: 12, each: 5, besides: 3 },
  { model: "llama-3.2-1b", entry: "decode", layers: 16, each: 5, besides: 2 },
  { model: "llama-3.1-8b", entry: "decode", layers: 32, each: 5, besides: 2 },
];

it.each(launches)(
  "$model runs in at most $each launches a layer",
  async ({ model, entry, layers, each, besides }) => {
    const dims = { batch: [1, 1], seq: [1, 512] } as const;
    const options = { target: ["sm_90"], weights, dims };
    const lowered = await lower(path.join(folder, "models", model), options);
    const [plan] = lowered.targets[0]!.plans.entries[entry]!;
    expect(plan!.steps.length).toBeLessThanOrEqual(layers * each + besides);
  },
);

const python = spawnSync("python3", ["--version"]).status === 0;

it.skipIf(!python)("rows are of these models, once each", () => {
  const program =
    "import json, model_rows; print(json.dumps([[r.name, r.model] for r in model_rows.ROWS]))";
  const text = execFileSync("python3", ["-B", "-c", program], { cwd: folder, encoding: "utf8" });
  const rows = JSON.parse(text) as [string, string][];
  expect(new Set(rows.map(([name]) => name)).size).toBe(rows.length);
  for (const [, model] of rows)
    expect(existsSync(path.join(folder, "models", model, "config.json")), model).toBe(true);
});
