/** Batches in a process of their own, so that one that dies or hangs is told and left behind. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describeCase, sizeOf } from "./case.js";
import { generate } from "./generate.js";
import { backendOf, runSeeds, type Failure, type Job, type Report } from "./seeds.js";

type Message =
  | { readonly kind: "running"; readonly seed: number }
  | { readonly kind: "done"; readonly report: Report };

type Ending = { readonly report: Report } | { readonly seed: number; readonly what: string };

/** Processes are replaced after so many graphs: expressions are interned for as long as one lives. */
const graphsPerProcess = 3000;
/** Milliseconds without a word: a batch of the largest graphs, reduced, takes a part of it. */
const patience = 300_000;

export class BatchProcess {
  #child: ReturnType<typeof fork> | null = null;
  #done = 0;

  /** @param threads that kernels run on */
  constructor(readonly threads: number) {}

  /** A job's report; seeds that end the process are failures in it. */
  async run(job: Job): Promise<Report> {
    let { seeds } = job;
    const failures: Failure[] = [];
    while (seeds.length > 0) {
      const made = await this.#attempt({ ...job, seeds });
      if ("report" in made)
        return { ...made.report, failures: [...failures, ...made.report.failures] };
      const { seed, what } = made;
      const found = generate(seed);
      const [nodes, text] = [sizeOf(found.graph), describeCase(found)];
      failures.push({ seed, variant: null, what, nodes, text });
      seeds = seeds.filter((each) => each !== seed);
    }
    return { variants: 0, passed: 0, refused: [], failures };
  }

  close(): void {
    this.#child?.disconnect();
    this.#child = null;
    this.#done = 0;
  }

  #start(): ReturnType<typeof fork> {
    const threads = process.env["FARRIER_THREADS"] ?? String(this.threads);
    return fork(fileURLToPath(import.meta.url), ["--serve"], {
      env: { ...process.env, FARRIER_THREADS: threads },
    });
  }

  #attempt(job: Job): Promise<Ending> {
    if (this.#done > graphsPerProcess) this.close();
    this.#done += job.seeds.length;
    const child = (this.#child ??= this.#start());
    let running = job.seeds[0]!;
    return new Promise((resolve) => {
      let watch: NodeJS.Timeout;
      const heard = (): void => {
        clearTimeout(watch);
        watch = setTimeout(() => child.kill("SIGKILL"), patience);
      };
      const listen = (message: Message): void => {
        heard();
        if (message.kind === "running") running = message.seed;
        else finish({ report: message.report });
      };
      const died = (code: number | null, signal: string | null): void => {
        this.#child = null;
        this.#done = 0;
        finish({ seed: running, what: `the process ended: ${signal ?? `status ${code}`}` });
      };
      const finish = (ending: Ending): void => {
        clearTimeout(watch);
        child.off("message", listen);
        child.off("exit", died);
        resolve(ending);
      };
      child.on("message", listen);
      child.on("exit", died);
      heard();
      child.send(job);
    });
  }
}

/** A GPU that a kernel broke is of no more use to the process. */
function giveUp(why: string): void {
  process.stderr.write(`${why}\n`);
  process.exit(4);
}

function serve(): void {
  const tell = (message: Message): unknown => process.send?.(message);
  process.on("message", ({ target, seeds, reduce }: Job) => {
    void runSeeds(seeds, {
      backend: backendOf(target, seeds[0]!),
      reduce,
      onRun: (seed) => void tell({ kind: "running", seed }),
      onDead: giveUp,
    }).then((report) => tell({ kind: "done", report }));
  });
}

if (process.argv.includes("--serve")) serve();
