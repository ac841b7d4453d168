// Every error of the driver at every call: what the runtime makes of it. On the stand-in for the driver, over testing/scale.ts's
// bundle; a process for each failure, since a broken context breaks its process for good.
//   faults BUNDLE CODE,CODE…
// A line each: call, its number, code of the driver | first error of the runtime or "ok" | what is left open | contexts that are
// pushed, the caller's own being one | first error of the same work afterwards.
#include <dlfcn.h>
#include <farrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { rows = 2, columns = 3, cells = rows * columns, seconds = 20 };

typedef struct {
  farrier_bundle* bundle;
  farrier_device* device;
  farrier_weights* weights;
  farrier_state* state;
  farrier_exec* exec;
  farrier_graph* graph;
  farrier_stream stream;
  void* memory[5];
} Work;

static farrier_tensor tensor(void* data, uint8_t code, uint8_t bits, int32_t ndim, int64_t* shape) {
  farrier_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.device.device_type = FARRIER_CUDA;
  t.ndim = ndim;
  t.dtype = (farrier_dtype){code, bits, 1};
  t.shape = shape;
  return t;
}

// Everything once, up to the first failure.
#define STEP(call) do { if ((call) != FARRIER_OK) return; } while (0)
static void start(Work* w, const char* path) {
  const float xs[cells] = {1, 2, 3, 4, 5, 6}, offsets[rows] = {1, 2};
  const size_t sizes[5] = {sizeof xs, sizeof offsets, sizeof xs, 8, 256};
  float ys[cells];
  int64_t matrix[2] = {rows, columns}, row[1] = {rows}, one[1] = {1};
  STEP(farrier_bundle_open(path, NULL, &w->bundle));
  STEP(farrier_device_open(FARRIER_CUDA, 0, &w->device));
  STEP(farrier_warm(w->bundle, w->device, NULL, NULL, NULL));
  STEP(farrier_weights_bind(w->bundle, w->device, NULL, &w->weights));
  STEP(farrier_state_create(w->weights, &w->state));
  STEP(farrier_exec_create(w->weights, "main", w->state, &w->exec));
  STEP(farrier_stream_create(w->device, &w->stream));
  for (int i = 0; i < 5; i++) STEP(farrier_device_alloc(w->device, sizes[i], &w->memory[i]));
  void** m = w->memory;
  const farrier_tensor in[2] = {tensor(m[0], 2, 32, 2, matrix), tensor(m[1], 2, 32, 1, row)};
  const farrier_tensor out[2] = {tensor(m[2], 2, 32, 2, matrix), tensor(m[3], 0, 64, 1, one)};
  const farrier_tensor *inputs[2] = {&in[0], &in[1]}, *outputs[2] = {&out[0], &out[1]};
  STEP(farrier_device_copy_in(w->device, m[0], xs, sizeof xs, w->stream));
  STEP(farrier_device_copy_in(w->device, m[1], offsets, sizeof offsets, w->stream));
  STEP(farrier_run(w->exec, inputs, 2, outputs, 2, m[4], sizes[4], w->stream));
  STEP(farrier_exec_status(w->exec));
  STEP(farrier_graph_capture(w->exec, inputs, 2, outputs, 2, m[4], sizes[4], &w->graph));
  STEP(farrier_graph_launch(w->graph, w->stream));
  STEP(farrier_exec_status(w->exec));
  farrier_times times = {.size = sizeof times, .repeats = 1};
  STEP(farrier_exec_profile(w->exec, inputs, 2, outputs, 2, m[4], sizes[4], w->stream, &times));
  farrier_rates rates = {.size = sizeof rates};
  STEP(farrier_device_rates(w->device, &rates));
  STEP(farrier_state_reset(w->state, w->stream));
  STEP(farrier_device_copy_out(w->device, ys, m[2], sizeof ys, w->stream));
  STEP(farrier_stream_sync(w->device, w->stream));
}

static void end(Work* w) {
  farrier_graph_release(w->graph);
  farrier_exec_release(w->exec);
  farrier_state_release(w->state);
  for (int i = 0; i < 5; i++)
    if (w->memory[i]) farrier_device_free(w->device, w->memory[i]);
  if (w->stream) farrier_stream_destroy(w->device, w->stream);
  farrier_weights_release(w->weights);
  farrier_device_release(w->device);
  farrier_bundle_release(w->bundle);
}

// The code of the first error of all that was done, "ok" without one.
static const char* done(const char* path) {
  static char code[64];
  Work work;
  memset(&work, 0, sizeof work);
  // A failure leaves its code with the thread: the one before is put aside by a failure that is known.
  farrier_bundle_release((farrier_bundle*)(void*)path);
  start(&work, path);
  const char* first = farrier_last_code();
  const int failed = strcmp(first, "E_RT_HANDLE") != 0;
  snprintf(code, sizeof code, "%s", failed ? first : "ok");
  if (failed && strncmp(farrier_last_error(), first, strlen(first)) != 0) snprintf(code, sizeof code, "untold");
  end(&work);
  return code;
}

static void* driver;
static void count(const char* name, int calls) { printf("%s %d\n", name, calls); }

static void fails(const char* path, const char* fail) {
  setenv("MOCK_CUDA_FAIL", fail, 1);
  const char* (*left)(void) = (const char* (*)(void))dlsym(driver, "mock_left");
  int (*pushed)(void) = (int (*)(void))dlsym(driver, "mock_pushed");
  printf("%s|%s", fail, done(path));
  printf("|%s|%d", left(), pushed());
  unsetenv("MOCK_CUDA_FAIL");
  printf("|%s\n", done(path));
}

// `body` in a process of its own; what it prints goes to `out`.
static void apart(const char* path, const char* fail, FILE* out) {
  int ends[2];
  if (pipe(ends) != 0) exit(1);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(seconds);
    char kept[4096];  // nothing is kept yet
    snprintf(kept, sizeof kept, "%s.warm.%d", path, (int)getpid());
    setenv("FARRIER_WARM_DIR", kept, 1);
    dup2(ends[1], 1);
    close(ends[0]);
    int (*push)(void*) = (int (*)(void*))dlsym(driver, "cuCtxPushCurrent_v2");
    push(NULL);  // the caller's own
    if (fail) {
      fails(path, fail);
    } else {
      if (strcmp(done(path), "ok") != 0) exit(1);
      ((void (*)(void (*)(const char*, int)))dlsym(driver, "mock_calls"))(count);
    }
    fflush(stdout);
    _exit(0);
  }
  close(ends[1]);
  char buffer[65536];
  ssize_t got;
  while ((got = read(ends[0], buffer, sizeof buffer)) > 0) fwrite(buffer, 1, (size_t)got, out);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) fprintf(out, "%s|died of %d\n", fail ? fail : "nothing", status);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  driver = dlopen(getenv("FARRIER_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
  if (!driver) return 3;
  char* calls = NULL;
  size_t size = 0;
  FILE* list = open_memstream(&calls, &size);
  apart(argv[1], NULL, list);
  fclose(list);
  for (char* line = strtok(calls, "\n"); line; line = strtok(NULL, "\n")) {
    char name[64], fail[128];
    int times = 0;
    if (sscanf(line, "%63s %d", name, &times) != 2) return 4;
    for (int nth = 1; nth <= times; nth++) {
      const char* codes = nth == 1 ? argv[2] : "999,700";
      for (const char* at = codes; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        snprintf(fail, sizeof fail, "%s:%d:%d", name, atoi(at), nth);
        apart(argv[1], fail, stdout);
      }
    }
  }
  return 0;
}
