/**
 * Load, run and close, over and over, from several threads, with the runtime built under sanitizers:
 *
 *   npm run soak [-- --sanitize address,undefined|thread|none] [--device cpu|cuda|mock] [--threads N] [--cycles N]
 *
 * `mock` is the path of a GPU on the stand-in for the driver. Without `--sanitize`: address and undefined behaviour, then threads. `soak.c` says what a cycle is. The
 * first report of a sanitizer ends the run.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../../compiler/version.js";
import { writeBundle } from "../../runtime/node/testing/bundle.js";
import { scaleBundle } from "../../runtime/node/testing/scale.js";

const { values } = parseArgs({
  options: {
    sanitize: { type: "string", multiple: true, default: ["address,undefined", "thread"] },
    device: { type: "string", default: "cpu" },
    threads: { type: "string", default: "8" },
    cycles: { type: "string", default: "10000" },
  },
});

const root = packageRoot();
const bundle = writeBundle(
  path.join(fs.mkdtempSync(path.join(os.tmpdir(), "farrier-soak-")), "scale"),
  scaleBundle(["cpu", "sm_80"]),
);

/** The library, the program and the stand-in for the driver, built with `sanitizer`: their folder. */
function build(sanitizer: string): string {
  const none = sanitizer === "none";
  const folder = path.join(root, "build", `soak-${sanitizer.replaceAll(",", "-")}`);
  const run = (command: string, args: readonly string[]): void => {
    execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  };
  const options = ["-DFARRIER_ADDON=OFF", `-DFARRIER_SANITIZE=${none ? "" : sanitizer}`];
  run("cmake", ["-S", root, "-B", folder, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", ...options]);
  run("cmake", ["--build", folder, "--parallel"]);
  const library = path.join(folder, "Release");
  const native = path.join(root, "runtime", "native", "include");
  const flags = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
    "-I",
    native,
  ];
  const cc = (source: string, name: string, ...more: readonly string[]): void => {
    const instrumented = none ? [] : [`-fsanitize=${sanitizer}`];
    run("cc", [
      ...flags,
      ...instrumented,
      path.join(root, source),
      "-o",
      path.join(folder, name),
      ...more,
    ]);
  };
  const link = ["-L", library, "-lfarrier", "-ldl", `-Wl,-rpath,${library}`];
  cc(path.join("test", "soak", "soak.c"), "soak", ...link);
  cc(path.join("runtime", "node", "testing", "mock-cuda.c"), "libmock.so", "-fPIC", "-shared");
  return folder;
}

const halt = "halt_on_error=1:exitcode=1";
for (const sanitizer of values.sanitize) {
  process.stdout.write(`sanitizer ${sanitizer}, ${values.device}\n`);
  const folder = build(sanitizer);
  const mock = values.device === "mock";
  const device = mock ? "cuda" : values.device;
  execFileSync(path.join(folder, "soak"), [bundle, device, values.threads, values.cycles], {
    stdio: "inherit",
    env: {
      ...process.env,
      ...(mock ? { FARRIER_CUDA_LIBRARY: path.join(folder, "libmock.so") } : {}),
      ASAN_OPTIONS: `${halt}:detect_leaks=1`,
      UBSAN_OPTIONS: `${halt}:print_stacktrace=1`,
      TSAN_OPTIONS: halt,
    },
  });
}
fs.rmSync(path.dirname(bundle), { recursive: true, force: true });
