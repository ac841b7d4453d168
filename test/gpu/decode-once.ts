/**
 * One decode step of a GPT-2-small shape behind PAST ids, for a profiler to count its bytes:
 * `node dist/test/gpu/decode-once.js PAST`.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compile } from "../../compiler/compile.js";
import { load } from "../../runtime/node/index.js";
import { gpt2Small } from "./shapes.js";

const past = Number(process.argv[2] ?? 10);
const work = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-decode-"));
fs.writeFileSync(path.join(work, "config.json"), JSON.stringify(gpt2Small));
const { path: bundle } = await compile(work, {
  target: ["sm_80"],
  output: path.join(work, "bundle"),
  dtype: "bf16",
  weights: { kind: "random", seed: 1 },
  dims: { batch: [1, 1], seq: [1, 1024] },
});
const model = await load(bundle, { device: "cuda:0" });
const state = model.createState();
await model.run({ input_ids: [[1]], lengths: [past] }, { entry: "decode", state });
await model.close();
fs.rmSync(work, { recursive: true, force: true });
