/** Batches in processes of their own: a kernel that ends its process fails its own case only. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Numerics, Verdict } from "./batch.js";

/** To a worker: cases to run, together. */
export interface Request {
  readonly directories: readonly string[];
  readonly device: string;
  readonly numerics: Numerics;
}

/** From a worker. */
export type Message =
  | { readonly kind: "running"; readonly directory: string }
  | { readonly kind: "done"; readonly verdicts: readonly Verdict[] }
  | { readonly kind: "failed"; readonly reason: string };

export interface PoolOptions {
  readonly device: string;
  readonly numerics: Numerics;
  readonly processes: number;
  readonly batch: number;
  readonly onVerdicts: (verdicts: readonly Verdict[]) => void;
  /** Another worker, for tests. */
  readonly script?: string;
}

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
const ownScript = fileURLToPath(new URL(`./worker.${extension}`, import.meta.url));

const lost = (directory: string, reason: string): Verdict => ({
  directory,
  passed: false,
  reason,
  fixed: [],
  kernels: 0,
});

/** One process that runs batches until it is told to stop, or dies. */
class Worker {
  #child: ChildProcess | null = null;

  constructor(
    readonly device: string,
    readonly numerics: Numerics,
    readonly script: string,
  ) {}

  /** The verdicts, or the case that was running when the process died. */
  run(directories: readonly string[]): Promise<readonly Verdict[] | { died: string | null }> {
    this.#child ??= fork(this.script, [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const child = this.#child;
    return new Promise((resolve) => {
      let running: string | null = null;
      const finish = (result: readonly Verdict[] | { died: string | null }): void => {
        child.removeAllListeners();
        resolve(result);
      };
      child.on("exit", () => {
        this.#child = null;
        finish({ died: running });
      });
      child.on("message", (message: Message) => {
        if (message.kind === "running") running = message.directory;
        else if (message.kind === "done") finish(message.verdicts);
        else finish(directories.map((directory) => lost(directory, message.reason)));
      });
      const { device, numerics } = this;
      child.send({ directories, device, numerics } satisfies Request);
    });
  }

  stop(): void {
    this.#child?.disconnect();
    this.#child = null;
  }
}

/** A batch whose process died is run again without the case that ended it. */
async function runSurviving(
  worker: Worker,
  directories: readonly string[],
  report: PoolOptions["onVerdicts"],
): Promise<void> {
  let left = directories;
  while (left.length > 0) {
    const result = await worker.run(left);
    if (!("died" in result)) return report(result);
    const { died } = result;
    if (died === null) return report(left.map((each) => lost(each, "the compiler's process died")));
    report([lost(died, "its kernels ended the process")]);
    left = left.filter((each) => each !== died);
  }
}

export async function runAll(directories: readonly string[], options: PoolOptions): Promise<void> {
  const batches: string[][] = [];
  for (let i = 0; i < directories.length; i += options.batch)
    batches.push(directories.slice(i, i + options.batch));
  const serve = async (): Promise<void> => {
    const worker = new Worker(options.device, options.numerics, options.script ?? ownScript);
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift())
      await runSurviving(worker, batch, options.onVerdicts);
    worker.stop();
  };
  await Promise.all(Array.from({ length: options.processes }, serve));
}
