/** Rows that need more than one run of the command line: where they are tested instead. */
export const elsewhere: ReadonlyMap<number, { readonly what: string; readonly file: string }> =
  new Map([
    [2, { what: "every prefix of 20 models", file: "test/robustness/prefixes.test.ts" }],
    [49, { what: "an index that is data", file: "test/robustness/running.test.ts" }],
    [54, { what: "5,000,000 nodes", file: "test/robustness/large.test.ts" }],
    [74, { what: "a file that is swapped", file: "test/robustness/swapped.test.ts" }],
    [91, { what: "a header of 100 MB", file: "test/robustness/large.test.ts" }],
  ]);
