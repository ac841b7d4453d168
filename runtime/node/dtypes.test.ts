import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bf16Bits, bf16Value, f16Bits, f16Value } from "./dtypes.js";
import { load, Tensor } from "./index.js";
import { filled, toTensor } from "./tensor.js";
import { missingAddon, writeBundle } from "./testing/bundle.js";

describe("16-bit floats", () => {
  const formats = [
    { name: "f16", toBits: f16Bits, toValue: f16Value, infinity: 0x7c00 },
    { name: "bf16", toBits: bf16Bits, toValue: bf16Value, infinity: 0x7f80 },
  ];

  it.each(formats)("$name: every value is its own rounding", ({ toBits, toValue, infinity }) => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = toValue(bits);
      if ((bits & 0x7fff) > infinity) expect(Number.isNaN(value)).toBe(true);
      else if (toBits(value) !== bits) expect(toBits(value)).toBe(bits);
    }
    expect(toBits(NaN) & 0x7fff).toBeGreaterThan(infinity);
  });

  it.each(formats)("$name: rounds to nearest, ties to even", ({ toBits, toValue, infinity }) => {
    for (let bits = 0; bits < infinity - 1; bits++) {
      const low = toValue(bits);
      const high = toValue(bits + 1);
      const half = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const nudge = (high - low) / 1024;
      if (
        toBits(half) !== even ||
        toBits(half - nudge) !== bits ||
        toBits(half + nudge) !== bits + 1
      )
        throw new Error(`at ${bits}`);
    }
    expect(toBits(1e300)).toBe(infinity);
    expect(toBits(-1e300)).toBe(infinity | 0x8000);
  });
});

describe("values that callers give", () => {
  it("become the input's dtype", () => {
    expect([...toTensor("a", "i64", 1, [1, 2n ** 60n]).data]).toEqual([1n, 2n ** 60n]);
    expect([...toTensor("a", "i64", 2, new Int32Array([-1, 5])).data]).toEqual([-1n, 5n]);
    expect(toTensor("a", "i64", 2, new Int32Array([-1, 5])).shape).toEqual([1, 2]);
    expect([...toTensor("a", "bool", 1, [true, 0, 1]).data]).toEqual([1, 0, 1]);
    expect([...toTensor("a", "f16", 1, [1, -2]).data]).toEqual([0x3c00, 0xc000]);
    expect([...toTensor("a", "bf16", 1, new Uint16Array([7])).data]).toEqual([7]);
    expect(toTensor("a", "f32", 0, 3).shape).toEqual([]);
    expect(toTensor("a", "f32", 3, []).shape).toEqual([1, 1, 0]);
    expect([
      ...toTensor("a", "f32", 1, new Tensor("f16", [1], new Uint16Array([0x3c00]))).data,
    ]).toEqual([1]);
    expect([...filled("a", "bf16", [2], 1).data]).toEqual([0x3f80, 0x3f80]);
    expect([...filled("a", "i64", [2], -1).data]).toEqual([-1n, -1n]);
  });

  it("are refused where they do not fit", () => {
    for (const [dtype, value] of [
      ["i64", [1.5]],
      ["u8", [256]],
      ["i32", [2 ** 31]],
      ["bool", [2]],
      ["i64", new Float32Array([1])],
      ["f32", [[1], 2]],
      ["i64", [NaN]],
      ["e4m3fn", [1]],
    ] as const)
      expect(() => toTensor("a", dtype, 1, value), `${dtype} ${String(value)}`).toThrow(
        /^E_RT_INPUT: input "a"/,
      );
    expect(() => new Tensor("f32", [3], new Float32Array(2))).toThrow(/12 bytes, not 8/);
  });
});

describe.skipIf(missingAddon !== null)("random weights", () => {
  const root = mkdtempSync(join(tmpdir(), "farrier-random-"));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const count = 1000;
  const seed = -5;

  /** The formula of docs/bundle.md. */
  function value(i: number): number {
    const mask = (1n << 64n) - 1n;
    let z = (BigInt(seed) + BigInt(i + 1) * 0x9e3779b97f4a7c15n) & mask;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    z ^= z >> 31n;
    return 3 + 40 * (Number(z >> 11n) * 2 ** -52 - 1);
  }

  it.each([
    ["f64", 8, (v: number): number => v],
    ["f32", 4, Math.fround],
    ["f16", 2, f16Bits],
    ["bf16", 2, bf16Bits],
    ["i8", 1, (v: number): number => Math.round(v) + 0],
  ] as const)("of %s follow the documented formula", async (dtype, bytes, round) => {
    const copy =
      "#include <stdint.h>\n#include <string.h>\nvoid copy(void* const* b, const int64_t* s, int64_t t, void* x) { (void)t; (void)x; memcpy(b[1], b[0], (unsigned long)s[0]); }\n";
    const dir = writeBundle(join(root, dtype), {
      cpu: copy,
      plan: {
        format: 1,
        symbols: [],
        sources: [
          {
            name: "w",
            dtype,
            shape: [count],
            bytes: count * bytes,
            from: { kind: "random", seed, scale: 40, shift: 3 },
          },
        ],
        states: [],
        entries: [{ name: "main", inputs: [], outputs: [{ name: "w", dtype, shape: [count] }] }],
        targets: {
          cpu: {
            kernels: [{ symbol: "copy", file: "kernels/k.c", family: "map" }],
            libraries: { portable: "kernels/cpu.portable.so" },
            weights: [],
            entries: {
              main: [
                {
                  box: {},
                  arenaBytes: 0,
                  steps: [
                    {
                      kind: "kernel",
                      kernel: 0,
                      label: "copy",
                      tasks: 1,
                      buffers: [
                        { kind: "source", index: 0 },
                        { kind: "output", index: 0 },
                      ],
                      scalars: [count * bytes],
                    },
                  ],
                },
              ],
            },
          },
        },
        checks: {},
      },
    });
    const model = await load(dir);
    const { w } = await model.run({});
    const expected = Array.from({ length: count }, (_, i) => round(value(i)));
    expect([...(w?.data ?? [])]).toEqual(expected);
    await model.close();
  });
});
