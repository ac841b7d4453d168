/** The process of a pool that compiles and runs batches of cases: see `pool.ts`. */
import { runBatch } from "./batch.js";
import type { Message, Request } from "./pool.js";

const tell = (message: Message): void => {
  process.send?.(message);
};

async function serve({ directories, device, numerics }: Request): Promise<void> {
  try {
    const onRun = (directory: string): void => tell({ kind: "running", directory });
    tell({ kind: "done", verdicts: await runBatch(directories, { device, numerics, onRun }) });
  } catch (error) {
    tell({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
}

process.on("message", (request: Request) => void serve(request));
