/** ONNX Runtime from Node, on the same file, inputs and number of threads. */
import { createRequire } from "node:module";
import path from "node:path";
import { packageRoot } from "../../compiler/version.js";
import type { Input } from "./model.js";

interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

interface Session {
  run(feeds: object): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

interface Ort {
  readonly InferenceSession: { create(file: string, options: object): Promise<Session> };
  readonly Tensor: new (type: string, data: Input["data"], dims: readonly number[]) => unknown;
}

export interface Peer {
  readonly version: string;
  open(
    file: string,
    inputs: Readonly<Record<string, Input>>,
    threads: number,
  ): Promise<{
    run(): Promise<Record<string, OrtTensor>>;
    close(): Promise<void>;
  }>;
}

/** @throws if it is not installed */
export function onnxRuntime(): Peer {
  const from = createRequire(path.join(packageRoot(), "bench", "package.json"));
  const load = <T>(what: string): T => {
    try {
      return from(what) as T;
    } catch (error) {
      throw new Error("ONNX Runtime is absent: npm install --prefix bench", { cause: error });
    }
  };
  const ort = load<Ort>("onnxruntime-node");
  return {
    version: load<{ version: string }>("onnxruntime-node/package.json").version,
    async open(file, inputs, threads) {
      const session = await ort.InferenceSession.create(file, {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: "all",
        executionProviders: ["cpu"],
      });
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, { data, shape }]) => [
          name,
          new ort.Tensor(data instanceof BigInt64Array ? "int64" : "float32", data, shape),
        ]),
      );
      return { run: () => session.run(feeds), close: () => session.release() };
    },
  };
}
