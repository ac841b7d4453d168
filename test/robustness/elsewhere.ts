/** Rows that need more than one run of the command line: where they are tested instead, by their numbers. */
interface Elsewhere {
  readonly what: string;
  readonly file: string;
}

const bundles = "runtime/node/model.test.ts";
const gpus = "runtime/node/cuda.test.ts";
const driver = "test/robustness/driver.test.ts";

export const elsewhere: ReadonlyMap<number, Elsewhere> = new Map([
  [2, { what: "every prefix of 20 models", file: "test/robustness/prefixes.test.ts" }],
  [49, { what: "an index that is data", file: "test/robustness/running.test.ts" }],
  [54, { what: "5,000,000 nodes", file: "test/robustness/large.test.ts" }],
  [74, { what: "a file that is swapped", file: "test/robustness/swapped.test.ts" }],
  [91, { what: "a header of 100 MB", file: "test/robustness/large.test.ts" }],
  [100, { what: "a manifest of another format", file: bundles }],
  [101, { what: "a bit that is flipped", file: bundles }],
  [102, { what: "a file that the manifest does not list", file: bundles }],
  [103, { what: "paths that leave the bundle", file: bundles }],
  [104, { what: "sizes that are not as declared", file: bundles }],
  [105, { what: "a bundle for another GPU, or a newer driver", file: gpus }],
  [106, { what: "a memory plan that is none", file: bundles }],
  [107, { what: "a launch beyond limits", file: gpus }],
  [108, { what: "a kernel that its module lacks", file: driver }],
  [109, { what: "a module that the driver refuses", file: driver }],
  [110, { what: "inputs that do not fit", file: bundles }],
  [111, { what: "a dimension outside of the profile", file: bundles }],
  [112, { what: "an output that overlaps an input", file: bundles }],
  [113, { what: "an id or a position out of range", file: "test/robustness/running.test.ts" }],
  [114, { what: "memory that is not there", file: driver }],
  [115, { what: "no device", file: driver }],
  [116, { what: "two threads with one exec", file: bundles }],
  [117, { what: "use after release", file: bundles }],
  [120, { what: "a disk that is full or read-only", file: "test/cli/odd.test.ts" }],
]);

/** Rows of what does not exist: they are tested once it does. */
export const ofNothingYet: ReadonlyMap<
  number,
  { readonly what: string; readonly command: string }
> = new Map([
  [118, { what: "a tuning record of another GPU", command: "tune" }],
  [119, { what: "tuning records that are damaged", command: "tune" }],
]);
