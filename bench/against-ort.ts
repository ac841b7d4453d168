/**
 * Dynamic ONNX files against ONNX Runtime, shape by shape, on the same inputs:
 * `npx tsx bench/against-ort.ts MODEL.onnx BATCHxSEQ…` (peers: `npm install --prefix bench`).
 * Prints rel-RMS of farrier's CPU result against ONNX Runtime's, and both times.
 */
import { createRequire } from "node:module";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compare } from "../compiler/cli/tensors.js";
import { compile } from "../compiler/compile.js";
import { inputShapes } from "../compiler/input-shapes.js";
import { packageRoot } from "../compiler/version.js";
import { load } from "../runtime/node/index.js";

interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}
interface Ort {
  readonly InferenceSession: {
    create(
      file: string,
      options: object,
    ): Promise<{ run(inputs: object): Promise<Record<string, OrtTensor>> }>;
  };
  readonly Tensor: new (type: string, data: BigInt64Array, dims: readonly number[]) => unknown;
}

const [file, ...texts] = process.argv.slice(2);
if (file === undefined || texts.length === 0)
  throw new Error("give MODEL.onnx and shapes such as 3x17");
const shapes = texts.map((text) => text.split("x").map(Number) as [number, number]);
const ort = createRequire(path.join(packageRoot(), "bench", "package.json"))(
  "onnxruntime-node",
) as Ort;
const threads = Number(process.env["FARRIER_THREADS"] ?? 2);
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "farrier-ort-"));
const [[name, dims]] = inputShapes(file) as [[string, readonly (string | number)[]]];
const most = (axis: 0 | 1): [number, number] => [
  1,
  Math.max(...shapes.map((shape) => shape[axis])),
];
const bundle = await compile(file, {
  output: path.join(directory, "bundle"),
  dims: { [String(dims[0])]: most(0), [String(dims[1])]: most(1) },
});
const model = await load(bundle.path);
const session = await ort.InferenceSession.create(file, { intraOpNumThreads: threads });

async function median(body: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 15; i++) {
    const start = performance.now();
    await body();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[7]!;
}

for (const shape of shapes) {
  const ids = Array.from({ length: shape[0] * shape[1] }, (_, i) => (i * 37 + 11) % 256);
  const input = { [name]: { data: ids, shape } };
  const feed = { [name]: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), shape) };
  const [ours] = Object.values(await model.run(input));
  const [theirs] = Object.values(await session.run(feed));
  const error = compare(ours!.toFloat64(), Float64Array.from(theirs!.data), theirs!.dims);
  const [a, b] = [await median(() => model.run(input)), await median(() => session.run(feed))];
  process.stdout.write(
    `${path.basename(path.dirname(file))}/${path.basename(file)} ${shape.join("x")}: rel-RMS ${error.relRms.toExponential(2)}, ` +
      `farrier ${a.toFixed(3)} ms, ONNX Runtime ${b.toFixed(3)} ms\n`,
  );
}
await model.close();
fs.rmSync(directory, { recursive: true, force: true });
