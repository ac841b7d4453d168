/**
 * Load, run and close, over and over, from several threads, with the runtime built under sanitizers:
 *
 *   npm run soak [-- --sanitize address,undefined|thread|none] [--device cpu|cuda] [--threads N] [--cycles N]
 *
 * Without `--sanitize`: address and undefined behaviour, then threads. `soak.c` says what a cycle is. The
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

/** The library and the program, built with `sanitizer`; the program's path. */
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
  const program = path.join(folder, "soak");
  run("cc", [
    ...["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"],
    ...(none ? [] : [`-fsanitize=${sanitizer}`]),
    ...["-I", path.join(root, "runtime", "native", "include")],
    ...[path.join(root, "test", "soak", "soak.c"), "-o", program],
    ...["-L", library, "-lfarrier", "-ldl", `-Wl,-rpath,${library}`],
  ]);
  return program;
}

const halt = "halt_on_error=1:exitcode=1";
for (const sanitizer of values.sanitize) {
  process.stdout.write(`sanitizer ${sanitizer}, ${values.device}\n`);
  execFileSync(build(sanitizer), [bundle, values.device, values.threads, values.cycles], {
    stdio: "inherit",
    env: {
      ...process.env,
      ASAN_OPTIONS: `${halt}:detect_leaks=1`,
      UBSAN_OPTIONS: `${halt}:print_stacktrace=1`,
      TSAN_OPTIONS: halt,
    },
  });
}
fs.rmSync(path.dirname(bundle), { recursive: true, force: true });
