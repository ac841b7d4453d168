import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** Set by `.ci/run`: where vitest's JSON report goes. */
const report = process.env["FARRIER_TEST_REPORT"];

export default defineConfig({
  test: {
    environment: "node",
    include: [
      "compiler/**/*.test.ts",
      "templates/**/*.test.ts",
      "runtime/node/**/*.test.ts",
      "autotune/**/*.test.ts",
      "bench/**/*.test.ts",
      "test/**/*.test.ts",
    ],
    exclude: ["**/node_modules/**", "dist/**", "build/**"],
    // Processes, not threads: tests load native code, which may die or keep state per process.
    pool: "forks",
    maxWorkers: Math.min(4, availableParallelism()),
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: report === undefined ? ["default"] : ["default", "json"],
    ...(report === undefined ? {} : { outputFile: { json: report } }),
  },
});
