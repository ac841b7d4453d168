// The C header from C: opens testing/scale.ts's bundle, runs it on the device that is given, and checks what stale handles give.
//   header BUNDLE cpu|cuda
#include <farrier.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void want(int good, const char* what, int line) {
  if (good) return;
  fprintf(stderr, "line %d: %s: %s\n", line, what, farrier_last_error());
  exit(1);
}
#define OK(call) want((call) == FARRIER_OK, #call, __LINE__)
#define FAILS(call, code) want((call) != FARRIER_OK && strcmp(farrier_last_code(), code) == 0, #call, __LINE__)
#define TRUE(condition) want((condition), #condition, __LINE__)

enum { rows = 2, columns = 3, cells = rows * columns };
static const farrier_dtype f32 = {2, 32, 1}, i64 = {0, 64, 1};

typedef struct {
  farrier_device* device;
  farrier_weights* weights;
  int32_t type;
  int graph;
} Job;

static farrier_tensor tensor(int32_t type, void* data, farrier_dtype dtype, int32_t ndim, int64_t* shape) {
  farrier_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.device.device_type = type;
  t.ndim = ndim;
  t.dtype = dtype;
  t.shape = shape;
  return t;
}

// An exec, a state and buffers of one thread: many runs, each checked.
static void* work(void* argument) {
  const Job* job = argument;
  farrier_state* state = NULL;
  farrier_exec* exec = NULL;
  farrier_graph* graph = NULL;
  farrier_stream stream = NULL;
  OK(farrier_state_create(job->weights, &state));
  OK(farrier_exec_create(job->weights, "main", state, &exec));
  OK(farrier_stream_create(job->device, &stream));
  int64_t matrix[2] = {rows, columns}, row[1] = {rows}, one[1] = {1};
  void *x, *offset, *y, *count, *workspace;
  OK(farrier_device_alloc(job->device, cells * 4, &x));
  OK(farrier_device_alloc(job->device, rows * 4, &offset));
  OK(farrier_device_alloc(job->device, cells * 4, &y));
  OK(farrier_device_alloc(job->device, 8, &count));
  farrier_tensor in[2] = {tensor(job->type, x, f32, 2, matrix), tensor(job->type, offset, f32, 1, row)};
  farrier_tensor out[2] = {tensor(job->type, y, f32, 2, matrix), tensor(job->type, count, i64, 1, one)};
  const farrier_tensor *inputs[2] = {&in[0], &in[1]}, *outputs[2] = {&out[0], &out[1]};
  uint64_t bytes = 0;
  int32_t plan = -1;
  OK(farrier_exec_workspace(exec, inputs, 2, &plan, &bytes));
  TRUE(plan == 0 && bytes == 256);
  OK(farrier_device_alloc(job->device, bytes, &workspace));
  const float xs[cells] = {1, 2, 3, 4, 5, 6}, offsets[rows] = {1, 2}, expected[cells] = {3, 9, 19, 10, 22, 38};
  OK(farrier_device_copy_in(job->device, x, xs, sizeof xs, stream));
  OK(farrier_device_copy_in(job->device, offset, offsets, sizeof offsets, stream));
  if (job->graph) OK(farrier_graph_capture(exec, inputs, 2, outputs, 2, workspace, bytes, &graph));
  for (int64_t run = 1; run <= 300; run++) {
    float ys[cells] = {0};
    int64_t counted = 0;
    if (graph) OK(farrier_graph_launch(graph, stream));
    else OK(farrier_run(exec, inputs, 2, outputs, 2, workspace, bytes, stream));
    OK(farrier_device_copy_out(job->device, ys, y, sizeof ys, stream));
    OK(farrier_device_copy_out(job->device, &counted, count, 8, stream));
    OK(farrier_exec_status(exec));
    TRUE(memcmp(ys, expected, sizeof ys) == 0 && counted == run);
  }
  double ms[2] = {-1, -1};
  farrier_times times = {.size = sizeof times, .repeats = 3, .step_ms = ms, .capacity = 2, .run_ms = -1, .mark_ms = -1};
  OK(farrier_exec_profile(exec, inputs, 2, outputs, 2, workspace, bytes, stream, &times));
  TRUE(times.n_steps == 2 && ms[0] >= 0 && ms[1] >= 0 && times.run_ms >= 0 && times.mark_ms >= 0);
  times.repeats = 0;
  FAILS(farrier_exec_profile(exec, inputs, 2, outputs, 2, workspace, bytes, stream, &times), "E_OPTION");
  for (size_t step = 0; step < 2; step++) OK(farrier_run_steps(exec, inputs, 2, outputs, 2, workspace, bytes, stream, step, 1));
  float parts[cells] = {0};
  OK(farrier_device_copy_out(job->device, parts, y, sizeof parts, stream));
  OK(farrier_exec_status(exec));
  TRUE(memcmp(parts, expected, sizeof parts) == 0);
  FAILS(farrier_run_steps(exec, inputs, 2, outputs, 2, workspace, bytes, stream, 1, 2), "E_OPTION");
  FAILS(farrier_run_steps(exec, inputs, 2, outputs, 2, workspace, bytes, stream, 3, 0), "E_OPTION");
  in[0].data = NULL;
  FAILS(farrier_run(exec, inputs, 2, outputs, 2, workspace, bytes, stream), "E_RT_INPUT");
  OK(farrier_exec_set_state(exec, NULL));
  in[0].data = x;
  FAILS(farrier_run(exec, inputs, 2, outputs, 2, workspace, bytes, stream), "E_RT_STATE");
  OK(farrier_graph_release(graph));
  OK(farrier_exec_release(exec));
  FAILS(farrier_exec_release(exec), "E_RT_HANDLE");
  FAILS(farrier_run(exec, inputs, 2, outputs, 2, workspace, bytes, stream), "E_RT_HANDLE");
  OK(farrier_state_release(state));
  for (int i = 0; i < 5; i++) OK(farrier_device_free(job->device, (void*[]){x, offset, y, count, workspace}[i]));
  OK(farrier_stream_destroy(job->device, stream));
  return NULL;
}

int main(int argc, char** argv) {
  TRUE(argc == 3 && farrier_abi_version() == FARRIER_ABI);
  const int32_t type = strcmp(argv[2], "cuda") == 0 ? FARRIER_CUDA : FARRIER_CPU;
  farrier_bundle* bundle = NULL;
  Job job = {NULL, NULL, type, 0};
  const farrier_open_options options = {sizeof options, FARRIER_OPEN_VERIFY_ALL};
  FAILS(farrier_bundle_open("/nowhere", NULL, &bundle), "E_IO");
  OK(farrier_bundle_open(argv[1], &options, &bundle));
  const char* json = NULL;
  size_t size = 0;
  OK(farrier_bundle_describe(bundle, &json, &size));
  TRUE(strlen(json) == size && json[0] == '{');
  int64_t matrix[2] = {rows, columns};
  const farrier_tensor x = tensor(FARRIER_CPU, NULL, f32, 2, matrix);
  const farrier_tensor* inputs[2] = {&x, NULL};
  farrier_shape in[2], out[2];
  OK(farrier_infer_shapes(bundle, "main", inputs, 2, in, out));
  TRUE(in[1].ndim == 1 && in[1].dims[0] == rows && out[0].bytes == cells * 4 && out[1].dtype.bits == 64);
  inputs[0] = NULL;
  FAILS(farrier_infer_shapes(bundle, "main", inputs, 2, in, out), "E_RT_INPUT");
  FAILS(farrier_infer_shapes(bundle, "other", inputs, 2, in, out), "E_RT_ENTRY");

  OK(farrier_device_open(type, 0, &job.device));
  OK(farrier_weights_bind(bundle, job.device, NULL, &job.weights));
  OK(farrier_bundle_release(bundle));
  FAILS(farrier_bundle_describe(bundle, &json, &size), "E_RT_HANDLE");
  FAILS(farrier_device_release((farrier_device*)(void*)job.weights), "E_RT_HANDLE");
  enum { threads = 4 };
  pthread_t ids[threads];
  for (job.graph = 0; job.graph <= (type == FARRIER_CUDA); job.graph++) {
    for (int i = 0; i < threads; i++) TRUE(pthread_create(&ids[i], NULL, work, &job) == 0);
    for (int i = 0; i < threads; i++) TRUE(pthread_join(ids[i], NULL) == 0);
  }
  OK(farrier_weights_release(job.weights));
  OK(farrier_device_release(job.device));
  printf("good\n");
  return 0;
}
