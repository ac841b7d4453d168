// Loads, runs and closes a bundle over and over, from several threads that share nothing but the process.
//   soak BUNDLE cpu|cuda THREADS CYCLES
// BUNDLE is that of runtime/node/testing/scale.ts. Each cycle opens it, binds it, runs it on shapes of its own, plainly and on a
// GPU from a graph too, checks every value, and releases all, in an order that changes. Prints what memory was after the first
// tenth and at the end. Exit status 1 and a line on standard error at the first thing that is wrong.
#include <dlfcn.h>
#include <farrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { most_rows = 4, most_columns = 64, most_cells = most_rows * most_columns, runs = 4 };

static void want(int good, const char* what, int line) {
  if (good) return;
  fprintf(stderr, "line %d: %s: %s\n", line, what, farrier_last_error());
  exit(1);
}
#define OK(call) want((call) == FARRIER_OK, #call, __LINE__)
#define TRUE(condition) want((condition), #condition, __LINE__)

static const char* path;
static int32_t type;
static int cycles;
static atomic_int begun, done;
static atomic_long ran;

static farrier_tensor tensor(void* data, uint8_t code, uint8_t bits, int32_t ndim, int64_t* shape) {
  farrier_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.device.device_type = type;
  t.ndim = ndim;
  t.dtype = (farrier_dtype){code, bits, 1};
  t.shape = shape;
  return t;
}

static void cycle(unsigned seed) {
  farrier_bundle* bundle = NULL;
  farrier_device* device = NULL;
  farrier_weights* weights = NULL;
  farrier_state* state = NULL;
  farrier_exec* exec = NULL;
  farrier_stream stream = NULL;
  OK(farrier_bundle_open(path, NULL, &bundle));
  OK(farrier_device_open(type, 0, &device));
  OK(farrier_weights_bind(bundle, device, NULL, &weights));
  OK(farrier_state_create(weights, &state));
  OK(farrier_exec_create(weights, "main", state, &exec));
  OK(farrier_stream_create(device, &stream));
  void *x, *offset, *y, *count;
  OK(farrier_device_alloc(device, most_cells * 4, &x));
  OK(farrier_device_alloc(device, most_rows * 4, &offset));
  OK(farrier_device_alloc(device, most_cells * 4, &y));
  OK(farrier_device_alloc(device, 8, &count));
  for (int64_t run = 1; run <= runs; run++) {
    const int64_t rows = 1 + rand_r(&seed) % most_rows, columns = 1 + rand_r(&seed) % most_columns, cells = rows * columns;
    int64_t matrix[2] = {rows, columns}, row[1] = {rows}, one[1] = {1}, counted = 0;
    float xs[most_cells], offsets[most_rows], ys[most_cells] = {0};
    for (int64_t i = 0; i < cells; i++) xs[i] = (float)(rand_r(&seed) % 1000);
    for (int64_t i = 0; i < rows; i++) offsets[i] = (float)(rand_r(&seed) % 1000);
    const farrier_tensor in[2] = {tensor(x, 2, 32, 2, matrix), tensor(offset, 2, 32, 1, row)};
    const farrier_tensor out[2] = {tensor(y, 2, 32, 2, matrix), tensor(count, 0, 64, 1, one)};
    const farrier_tensor *inputs[2] = {&in[0], &in[1]}, *outputs[2] = {&out[0], &out[1]};
    uint64_t bytes = 0;
    void* workspace;
    OK(farrier_exec_workspace(exec, inputs, 2, NULL, &bytes));
    OK(farrier_device_alloc(device, bytes, &workspace));
    OK(farrier_device_copy_in(device, x, xs, (size_t)cells * 4, stream));
    OK(farrier_device_copy_in(device, offset, offsets, (size_t)rows * 4, stream));
    if (type == FARRIER_CUDA && run % 2 == 0) {
      farrier_graph* graph = NULL;
      OK(farrier_graph_capture(exec, inputs, 2, outputs, 2, workspace, bytes, &graph));
      OK(farrier_graph_launch(graph, stream));
      OK(farrier_stream_sync(device, stream));
      OK(farrier_graph_release(graph));
    } else {
      OK(farrier_run(exec, inputs, 2, outputs, 2, workspace, bytes, stream));
    }
    OK(farrier_device_copy_out(device, ys, y, (size_t)cells * 4, stream));
    OK(farrier_device_copy_out(device, &counted, count, 8, stream));
    OK(farrier_exec_status(exec));
    // The scale is 1, 2, 3, 4, twice.
    for (int64_t i = 0; i < cells; i++) TRUE(ys[i] == xs[i] * (float)(2 * (i % columns % 4 + 1)) + offsets[i / columns]);
    TRUE(counted == run);
    OK(farrier_device_free(device, workspace));
    ran++;
  }
  for (int i = 0; i < 4; i++) OK(farrier_device_free(device, (void*[]){x, offset, y, count}[i]));
  OK(farrier_stream_destroy(device, stream));
  // What is made of others keeps them alive.
  if (rand_r(&seed) % 2) OK(farrier_bundle_release(bundle)), bundle = NULL;
  if (rand_r(&seed) % 2) OK(farrier_weights_release(weights)), weights = NULL;
  OK(farrier_exec_release(exec));
  OK(farrier_state_release(state));
  OK(farrier_weights_release(weights));
  OK(farrier_device_release(device));
  OK(farrier_bundle_release(bundle));
}

static void* work(void* unused) {
  for (int i; (i = begun++) < cycles; done++) cycle((unsigned)i + 1);
  return unused;
}

static long resident(void) {
  long pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
  if (file) fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

// Free memory of the GPU; 0 on a CPU. Its context is kept, so that it counts in both readings.
static size_t device_free(void) {
  static int (*info)(size_t*, size_t*);
  if (type == FARRIER_CPU) return 0;
  if (!info) {
    static farrier_device* kept;
    OK(farrier_device_open(type, 0, &kept));
    const char* named = getenv("FARRIER_CUDA_LIBRARY");
    void* driver = dlopen(named ? named : "libcuda.so.1", RTLD_NOW);
    TRUE(driver != NULL);
    int (*retain)(void**, int) = (int (*)(void**, int))dlsym(driver, "cuDevicePrimaryCtxRetain");
    int (*push)(void*) = (int (*)(void*))dlsym(driver, "cuCtxPushCurrent_v2");
    void* context = NULL;
    TRUE(retain(&context, 0) == 0 && push(context) == 0);
    info = (int (*)(size_t*, size_t*))dlsym(driver, "cuMemGetInfo_v2");
  }
  size_t free = 0, total = 0;
  TRUE(info(&free, &total) == 0);
  return free;
}

static void report(const char* when) {
  printf("%s: %d cycles, %ld runs, resident %ld KiB, device free %zu KiB\n", when, (int)done, (long)ran, resident() / 1024, device_free() / 1024);
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  path = argv[1];
  type = strcmp(argv[2], "cuda") == 0 ? FARRIER_CUDA : FARRIER_CPU;
  const int threads = atoi(argv[3]), all = atoi(argv[4]);
  pthread_t ids[64];
  TRUE(threads >= 1 && threads <= 64);
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  device_free();
  for (int part = 0; part < 2; part++) {
    cycles = part == 0 ? all / 10 : all;
    begun = (int)done;
    for (int i = 0; i < threads; i++) TRUE(pthread_create(&ids[i], NULL, work, NULL) == 0);
    for (int i = 0; i < threads; i++) TRUE(pthread_join(ids[i], NULL) == 0);
    report(part == 0 ? "a tenth" : "all");
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%d threads, %.1f s\n", threads, (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9);
  return 0;
}
