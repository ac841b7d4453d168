/**
 * A small bundle with everything once: out = x · doubled + offset over [batch, seq], where `doubled` is made from the
 * source `scale` by the weight program, `offset` is an optional input, `total` is a state that counts runs, and rows whose
 * first element is negative fail a check.
 */
import type { BundleParts } from "./bundle.js";

const source = String.raw`
#include <stdint.h>
void twice(void* const* b, const int64_t* s, int64_t task, void* scratch) {
  const float* in = b[0]; float* tmp = b[1]; float* out = b[2];
  (void)task; (void)scratch;
  for (int64_t i = 0; i < s[0]; i++) tmp[i] = in[i] + in[i];
  for (int64_t i = 0; i < s[0]; i++) out[i] = tmp[i];
}
void scale(void* const* b, const int64_t* s, int64_t row, void* scratch) {
  const float* x = b[0]; const float* w = b[1]; float* tmp = b[2]; int32_t* status = b[3];
  float* line = scratch;
  const int64_t seq = s[0];
  if (x[row * seq] < 0) *status = 7;
  for (int64_t i = 0; i < seq; i++) line[i] = x[row * seq + i] * w[i % 4];
  for (int64_t i = 0; i < seq; i++) tmp[row * seq + i] = line[i];
}
void add(void* const* b, const int64_t* s, int64_t row, void* scratch) {
  const float* tmp = b[0]; const float* offset = b[1]; float* out = b[2]; int64_t* total = b[3]; int64_t* count = b[4];
  (void)scratch;
  const int64_t seq = s[0];
  for (int64_t i = 0; i < seq; i++) out[row * seq + i] = tmp[row * seq + i] + offset[row];
  if (row == 0) count[0] = ++total[0];
}
`;

const kernels = (gpu: boolean): object[] =>
  [
    { symbol: "twice", family: "map" },
    { symbol: "scale", family: "map", scratchBytes: 4096 },
    { symbol: "add", family: "map" },
  ].map((kernel) =>
    gpu
      ? {
          ...kernel,
          scratchBytes: 0,
          file: "kernels/k.ptx",
          threads: 128,
          sharedBytes: kernel.symbol === "add" ? 65536 : 0,
        }
      : { ...kernel, file: "kernels/k.c" },
  );

const step = (
  gpu: boolean,
  kernel: number,
  tasks: unknown,
  buffers: object[],
  scalars: unknown[],
): object => ({
  kind: "kernel",
  kernel,
  ...(gpu ? { grid: [tasks, 1, 1] } : { tasks }),
  buffers,
  scalars,
  label: ["twice", "scale", "add"][kernel],
});

const arena = (bytes: number): object => ({ kind: "arena", offset: 0, bytes });

function plan(gpu: boolean, low: number, high: number): object {
  const bytes = 4 * 4 * high;
  return {
    box: { seq: [low, high] },
    arenaBytes: bytes,
    steps: [
      step(
        gpu,
        1,
        "batch",
        [
          { kind: "input", index: 0 },
          { kind: "weight", index: 0 },
          arena(bytes),
          { kind: "status" },
        ],
        ["seq"],
      ),
      step(
        gpu,
        2,
        "batch",
        [
          arena(bytes),
          { kind: "input", index: 1 },
          { kind: "output", index: 0 },
          { kind: "state", index: 0 },
          { kind: "output", index: 1 },
        ],
        ["seq"],
      ),
    ],
  };
}

const target = (gpu: boolean): object => ({
  kernels: kernels(gpu),
  ...(gpu ? {} : { libraries: { portable: "kernels/cpu.portable.so" } }),
  weights: [
    {
      name: "doubled",
      dtype: "f32",
      bytes: 16,
      arenaBytes: 16,
      steps: [
        step(
          gpu,
          0,
          1,
          [{ kind: "source", index: 0 }, arena(16), { kind: "weight", index: 0 }],
          [4],
        ),
      ],
    },
  ],
  entries: { main: [plan(gpu, 1, 16), plan(gpu, 17, 64)] },
});

export function scaleBundle(
  targets: readonly ("cpu" | "sm_80")[] = ["cpu"],
): BundleParts & { plan: Record<string, unknown> } {
  return {
    plan: {
      format: 1,
      symbols: [
        { name: "batch", min: 1, max: 4, divisor: 1 },
        { name: "seq", min: 1, max: 64, divisor: 1 },
      ],
      sources: [{ name: "scale", dtype: "f32", shape: [4], bytes: 16, from: { kind: "bundle" } }],
      states: [{ name: "total", dtype: "i64", shape: [1], layout: "contiguous" }],
      entries: [
        {
          name: "main",
          inputs: [
            { name: "x", dtype: "f32", shape: ["batch", "seq"] },
            { name: "offset", dtype: "f32", shape: ["batch"], fill: 0.5 },
          ],
          outputs: [
            { name: "y", dtype: "f32", shape: ["batch", "seq"] },
            { name: "count", dtype: "i64", shape: [1] },
          ],
        },
      ],
      targets: Object.fromEntries(targets.map((name) => [name, target(name !== "cpu")])),
      checks: { "7": "input x: a row begins with a negative number" },
    },
    ...(targets.includes("cpu") ? { cpu: source } : {}),
    ...(targets.includes("sm_80")
      ? { ptx: { "k.ptx": "// mock\n.version 7.0\n.target sm_80\n" } }
      : {}),
    weights: [{ name: "scale", dtype: "F32", shape: [4], data: new Float32Array([1, 2, 3, 4]) }],
  };
}
