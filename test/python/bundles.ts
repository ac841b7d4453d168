/** Bundles that the Python tests run: hand-made ones beside the compiled models. */
import type { BundleParts } from "../../runtime/node/testing/bundle.js";

/** Copies each input to the output of the same place: how arrays of every type come and go. */
const dtypes: readonly (readonly [string, number])[] = [
  ["bool", 8],
  ["u16", 16],
  ["f16", 16],
  ["bf16", 16],
  ["e4m3fn", 8],
  ["e8m0", 8],
  ["i4", 4],
  ["u2", 2],
  ["e2m1", 4],
];

const source = String.raw`
#include <stdint.h>
#include <string.h>
void copy(void* const* b, const int64_t* s, int64_t task, void* scratch) {
  (void)task; (void)scratch;
  memcpy(b[1], b[0], (size_t)s[0]);
}
`;

/** A bundle without the values of its sources. */
export const withoutWeights = (parts: BundleParts): BundleParts => ({
  ...parts,
  plan: {
    ...parts.plan,
    sources: (parts.plan["sources"] as object[]).map((source) => ({
      ...source,
      from: { kind: "none" },
    })),
  },
  weights: [],
});

export function copyBundle(): BundleParts {
  const spec = (prefix: string): object[] =>
    dtypes.map(([dtype]) => ({
      name: `${prefix}${dtype}`,
      dtype,
      shape: ["n", 8],
      ...(prefix === "" ? { fill: dtype === "bf16" || dtype === "f16" ? 1.5 : 0 } : {}),
    }));
  return {
    plan: {
      format: 1,
      symbols: [{ name: "n", min: 1, max: 16, divisor: 1 }],
      sources: [],
      states: [],
      entries: [{ name: "main", inputs: spec(""), outputs: spec("out_") }],
      targets: {
        cpu: {
          kernels: [{ symbol: "copy", family: "map", file: "kernels/k.c" }],
          libraries: { portable: "kernels/cpu.portable.so" },
          weights: [],
          entries: {
            main: [
              {
                box: {},
                arenaBytes: 0,
                steps: dtypes.map(([dtype, bits], index) => ({
                  kind: "kernel",
                  kernel: 0,
                  tasks: 1,
                  buffers: [
                    { kind: "input", index },
                    { kind: "output", index },
                  ],
                  scalars: [["mul", "n", bits]],
                  label: dtype,
                })),
              },
            ],
          },
        },
      },
      checks: {},
    },
    cpu: source,
  };
}
