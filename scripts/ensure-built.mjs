// Builds what is absent or older than its sources, and nothing else: before `test`, `demo` and
// `conformance`. `--keep-going`: a part that fails to build is reported, and left to the tests.
import { build, hasCmake, isBuilt, isCurrent, noCmake } from "./build.mjs";

const keepGoing = process.argv.includes("--keep-going");
let good = true;

if (!isCurrent("ts")) good = build("ts") && good;
if (!isCurrent("addon")) {
  if (hasCmake()) good = build("addon") && good;
  else if (isBuilt("addon")) process.stderr.write("farrier: the addon is older than its sources\n");
  else process.stderr.write(`farrier: ${noCmake}\n`);
}

if (!good && keepGoing) process.stderr.write("farrier: going on with what is built\n");
process.exitCode = good || keepGoing ? 0 : 1;
