// Prints "PASSED FAILED SKIPPED" from vitest's JSON report. A file that did not load is one failure;
// so is a command that failed although no test did (installation, an unhandled error, a time limit).
import { existsSync, readFileSync } from "node:fs";

const [report = "", status = "1"] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let skipped = 0;

if (existsSync(report)) {
  for (const file of JSON.parse(readFileSync(report, "utf8")).testResults) {
    const states = file.assertionResults.map((test) => test.status);
    const failures = states.filter((state) => state === "failed").length;
    passed += states.filter((state) => state === "passed").length;
    failed += Math.max(failures, file.status === "failed" ? 1 : 0);
    skipped += states.filter((state) => state !== "passed" && state !== "failed").length;
  }
}
if (failed === 0 && (status !== "0" || passed === 0)) failed = 1;
process.stdout.write(`${passed} ${failed} ${skipped}\n`);
