/**
 * Rows 108, 109, 114 and 115: every error of the driver, at every call that the runtime makes. Each in a
 * process of its own, on the stand-in for the driver (runtime/node/testing/faults.c), which counts
 * what is open.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../compiler/version.js";
import { compileC, writeBundle } from "../../runtime/node/testing/bundle.js";
import { scaleBundle } from "../../runtime/node/testing/scale.js";
import { temporaryDirectory } from "../support.js";

/** What the runtime calls an error of the driver, and whether its context is lost with it. */
const meanings: Readonly<Record<number, readonly [code: string, lost?: "lost"]>> = {
  1: ["E_RT_DEVICE"],
  2: ["E_RT_OOM"],
  46: ["E_DEVICE_LOST", "lost"],
  100: ["E_NO_DEVICE"],
  101: ["E_NO_DEVICE"],
  200: ["E_MODULE"],
  201: ["E_RT_DEAD", "lost"],
  209: ["E_MODULE"],
  214: ["E_DEVICE_LOST", "lost"],
  218: ["E_MODULE"],
  220: ["E_DEVICE_LOST", "lost"],
  222: ["E_TARGET"],
  300: ["E_MODULE"],
  500: ["E_MODULE"],
  700: ["E_LAUNCH", "lost"],
  701: ["E_LAUNCH"],
  702: ["E_DEVICE_LOST", "lost"],
  709: ["E_RT_DEAD", "lost"],
  710: ["E_LAUNCH", "lost"],
  714: ["E_DEVICE_LOST", "lost"],
  715: ["E_LAUNCH", "lost"],
  716: ["E_LAUNCH", "lost"],
  717: ["E_LAUNCH", "lost"],
  718: ["E_LAUNCH", "lost"],
  719: ["E_LAUNCH", "lost"],
  720: ["E_LAUNCH"],
  801: ["E_RT_DEVICE"],
  999: ["E_RT_DEVICE"],
};

/** Calls that free: what each leaves when it fails, and nobody else could free either. */
const frees: Readonly<Record<string, string>> = {
  cuMemFree_v2: "memory",
  cuStreamDestroy_v2: "stream",
  cuLibraryUnload: "code",
  cuLinkDestroy: "link",
  cuGraphDestroy: "graph",
  cuGraphExecDestroy: "executable",
  cuEventDestroy_v2: "event",
  cuDevicePrimaryCtxRelease_v2: "context",
};

interface Fault {
  readonly call: string;
  readonly nth: number;
  readonly error: number;
  /** Codes of the runtime, or `ok`: of the work that met the fault, and of the same work afterwards. */
  readonly first: string;
  readonly again: string;
  /** Handles that stay open, by kind. */
  readonly left: readonly string[];
  readonly pushed: number;
}

const library = path.join(packageRoot(), "build", "Release");
const faults: Fault[] = [];

/** Anything of these faults that is not as it should be, a line each. */
const wrong = (which: (fault: Fault) => boolean, good: (fault: Fault) => boolean): string[] =>
  faults.filter((fault) => which(fault) && !good(fault)).map((fault) => JSON.stringify(fault));

describe.skipIf(!fs.existsSync(path.join(library, "libfarrier.so")))("a driver that fails", () => {
  beforeAll(() => {
    const directory = temporaryDirectory();
    const testing = path.join(packageRoot(), "runtime", "node", "testing");
    const [mock, program] = ["libmock.so", "faults"].map((name) => path.join(directory, name));
    compileC(fs.readFileSync(path.join(testing, "mock-cuda.c"), "utf8"), mock!);
    const include = path.join(packageRoot(), "runtime", "native", "include");
    const source = path.join(testing, "faults.c");
    const flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", include];
    const link = ["-L", library, "-lfarrier", "-ldl"];
    execFileSync("cc", [...flags, source, "-o", program!, ...link]);
    const bundle = writeBundle(path.join(directory, "bundle"), scaleBundle(["sm_80"]));
    const said = execFileSync(program!, [bundle, Object.keys(meanings).join(",")], {
      env: { ...process.env, FARRIER_CUDA_LIBRARY: mock!, LD_LIBRARY_PATH: library },
      encoding: "utf8",
      maxBuffer: 2 ** 26,
    });
    for (const line of said.trim().split("\n")) {
      const [fail = "", first = "", left = "", pushed, again = ""] = line.split("|");
      const [call = "", error, nth] = fail.split(":");
      faults.push({
        ...{ call, nth: Number(nth), error: Number(error), first, again, pushed: Number(pushed) },
        left: left.split(" ").filter((kind) => kind !== ""),
      });
    }
  }, 300_000);

  const lost = ({ error }: Fault): boolean => meanings[error]?.[1] === "lost";
  const isFree = ({ call }: Fault): boolean => call in frees;
  /** Leaving a context, and what is asked for and done without: not errors of anybody's. */
  const tolerated = ({ call }: Fault): boolean =>
    call === "cuCtxPopCurrent_v2" || call === "cuDriverGetVersion";

  it("was met at each of its calls, and no process died", () => {
    const calls = new Set(faults.map(({ call }) => call));
    expect(calls.size).toBeGreaterThan(35);
    expect(faults.length).toBeGreaterThan(1500);
    expect(
      wrong(
        ({ first }) => !/^(ok|E_[A-Z_]+)$/.test(first),
        () => false,
      ),
    ).toEqual([]);
  });

  it("is told by the code that its error means, or was not needed", () => {
    const elsewhere: Readonly<Record<string, (fault: Fault) => boolean>> = {
      cuInit: ({ first }) => first === "E_NO_DEVICE",
      // Its end is an error: taken for one too early, it is a declaration that does not fit.
      cuFuncGetParamInfo: ({ error, first }) => error === 1 && first === "E_LAUNCH_DECL",
      // Kept code that the driver refuses is assembled again.
      cuLibraryLoadData: ({ first }) => first === "ok",
      cuLibraryGetModule: ({ first }) => first === "ok",
      // While something is freed there is no one to tell: the next call says that all is lost.
      cuCtxPushCurrent_v2: (fault) =>
        fault.first === "ok" || (lost(fault) && fault.first === "E_RT_DEAD"),
    };
    expect(
      wrong(
        (fault) => !isFree(fault) && !tolerated(fault),
        (fault) =>
          fault.first === meanings[fault.error]![0] || elsewhere[fault.call]?.(fault) === true,
      ),
    ).toEqual([]);
  });

  it("leaves nothing open, but what it itself would have freed", () => {
    expect(
      wrong(
        (fault) => !lost(fault) && fault.call !== "cuCtxPushCurrent_v2",
        ({ call, left }) => left.every((kind) => kind === `${frees[call] ?? ""}=1`),
      ),
    ).toEqual([]);
    // What a lost context held went with it; the driver is told that it is not needed any more.
    expect(
      wrong(lost, ({ call, left }) =>
        left.every((kind) => !kind.startsWith("context") || call in frees),
      ),
    ).toEqual([]);
  });

  it("leaves the caller's own context current", () => {
    const popped = ({ call }: Fault): boolean => call === "cuCtxPopCurrent_v2";
    expect(
      wrong(
        (fault) => !popped(fault),
        ({ pushed }) => pushed === 1,
      ),
    ).toEqual([]);
  });

  it("can be used on where its context is whole, and says E_RT_DEAD at once where it is not", () => {
    expect(
      wrong(
        (fault) => !lost(fault),
        ({ again }) => again === "ok",
      ),
    ).toEqual([]);
    expect(
      wrong(
        (fault) => lost(fault) && fault.first.startsWith("E_") && fault.call !== "cuInit",
        ({ again }) => again === "E_RT_DEAD",
      ),
    ).toEqual([]);
  });
});
