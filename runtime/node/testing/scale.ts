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
  const float* x = b[0]; const float* w = b[1]; float* tmp = b[2]; int64_t* status = b[3];
  float* line = scratch;
  const int64_t seq = s[0];
  if (x[row * seq] < 0) *status = ((int64_t)7 << 40) + ((int64_t)1 << 39) + (int64_t)x[row * seq];
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

/** The same for GPUs: a block a row. */
const ptx = String.raw`// runs on a GPU, and on the mock driver
.version 7.0
.target sm_80
.address_size 64

.visible .entry twice(.param .u64 in_, .param .u64 tmp_, .param .u64 out_, .param .s64 n_)
{
  .reg .b64 %in, %tmp, %out, %n, %i, %step, %at;
  .reg .b32 %t, %w;
  .reg .f32 %v;
  .reg .pred %done;
  ld.param.u64 %in, [in_];
  ld.param.u64 %tmp, [tmp_];
  ld.param.u64 %out, [out_];
  ld.param.s64 %n, [n_];
  mov.u32 %t, %tid.x;
  mov.u32 %w, %ntid.x;
  cvt.u64.u32 %i, %t;
  cvt.u64.u32 %step, %w;
loop:
  setp.ge.s64 %done, %i, %n;
  @%done bra end;
  mad.lo.s64 %at, %i, 4, %in;
  ld.global.f32 %v, [%at];
  add.rn.f32 %v, %v, %v;
  mad.lo.s64 %at, %i, 4, %tmp;
  st.global.f32 [%at], %v;
  mad.lo.s64 %at, %i, 4, %out;
  st.global.f32 [%at], %v;
  add.s64 %i, %i, %step;
  bra loop;
end:
  ret;
}

.visible .entry scale(.param .u64 x_, .param .u64 w_, .param .u64 tmp_, .param .u64 status_, .param .s64 seq_)
{
  .reg .b64 %x, %w, %tmp, %status, %seq, %i, %step, %at, %row, %first;
  .reg .b64 %word;
  .reg .b32 %t;
  .reg .f32 %v, %s;
  .reg .pred %done, %bad;
  ld.param.u64 %x, [x_];
  ld.param.u64 %w, [w_];
  ld.param.u64 %tmp, [tmp_];
  ld.param.u64 %status, [status_];
  ld.param.s64 %seq, [seq_];
  mov.u32 %t, %ctaid.x;
  cvt.u64.u32 %row, %t;
  mul.lo.s64 %row, %row, %seq;
  shl.b64 %row, %row, 2;
  add.s64 %x, %x, %row;
  add.s64 %tmp, %tmp, %row;
  ld.global.f32 %v, [%x];
  setp.lt.f32 %bad, %v, 0f00000000;
  cvt.rzi.s64.f32 %word, %v;
  add.s64 %word, %word, 8246337208320;
  @%bad st.global.u64 [%status], %word;
  mov.u32 %t, %tid.x;
  cvt.u64.u32 %i, %t;
  mov.u32 %t, %ntid.x;
  cvt.u64.u32 %step, %t;
loop:
  setp.ge.s64 %done, %i, %seq;
  @%done bra end;
  mad.lo.s64 %at, %i, 4, %x;
  ld.global.f32 %v, [%at];
  and.b64 %first, %i, 3;
  mad.lo.s64 %at, %first, 4, %w;
  ld.global.f32 %s, [%at];
  mul.rn.f32 %v, %v, %s;
  mad.lo.s64 %at, %i, 4, %tmp;
  st.global.f32 [%at], %v;
  add.s64 %i, %i, %step;
  bra loop;
end:
  ret;
}

.visible .entry add(.param .u64 tmp_, .param .u64 offset_, .param .u64 out_, .param .u64 total_, .param .u64 count_, .param .s64 seq_)
{
  .reg .b64 %tmp, %offset, %out, %total, %count, %seq, %i, %step, %at, %row, %sum;
  .reg .b32 %t, %b;
  .reg .f32 %v, %o;
  .reg .pred %done, %first;
  ld.param.u64 %tmp, [tmp_];
  ld.param.u64 %offset, [offset_];
  ld.param.u64 %out, [out_];
  ld.param.u64 %total, [total_];
  ld.param.u64 %count, [count_];
  ld.param.s64 %seq, [seq_];
  mov.u32 %b, %ctaid.x;
  cvt.u64.u32 %row, %b;
  mad.lo.s64 %at, %row, 4, %offset;
  ld.global.f32 %o, [%at];
  mul.lo.s64 %row, %row, %seq;
  shl.b64 %row, %row, 2;
  add.s64 %tmp, %tmp, %row;
  add.s64 %out, %out, %row;
  mov.u32 %t, %tid.x;
  cvt.u64.u32 %i, %t;
  or.b32 %b, %b, %t;
  setp.ne.u32 %first, %b, 0;
  @%first bra start;
  ld.global.u64 %sum, [%total];
  add.s64 %sum, %sum, 1;
  st.global.u64 [%total], %sum;
  st.global.u64 [%count], %sum;
start:
  mov.u32 %t, %ntid.x;
  cvt.u64.u32 %step, %t;
loop:
  setp.ge.s64 %done, %i, %seq;
  @%done bra end;
  mad.lo.s64 %at, %i, 4, %tmp;
  ld.global.f32 %v, [%at];
  add.rn.f32 %v, %v, %o;
  mad.lo.s64 %at, %i, 4, %out;
  st.global.f32 [%at], %v;
  add.s64 %i, %i, %step;
  bra loop;
end:
  ret;
}
`;

const kernels = (gpu: boolean): object[] =>
  [
    { symbol: "twice", family: "map", access: "rww" },
    { symbol: "scale", family: "map", access: "rrww", scratchBytes: 4096 },
    { symbol: "add", family: "map", access: "rrwbw" },
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
  targets: readonly ("cpu" | "sm_80" | "sm_90")[] = ["cpu"],
): BundleParts {
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
    ...(targets.some((name) => name !== "cpu") ? { ptx: { "k.ptx": ptx } } : {}),
    weights: [{ name: "scale", dtype: "F32", shape: [4], data: new Float32Array([1, 2, 3, 4]) }],
  };
}
