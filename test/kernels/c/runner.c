/* Runs one kernel of a shared object on buffers held in files: the tests' stand-in for the runtime.
   runner LIB SYMBOL TASKS SCRATCH THREADS REPEAT ORDER NSCALARS SCALAR... [FILE OFFSET]...
   Prints the best time in nanoseconds. Files are mapped, so results land in them. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef void (*kernel_fn)(void* const*, const int64_t*, int64_t, void*);
static kernel_fn kernel;
static void* buffers[64];
static int64_t scalars[256], tasks, scratch_bytes, next_task;
static int backwards;
static pthread_barrier_t begin, end;
static volatile int stop;
static int use_cpu_time;

static void drain(void* scratch) {
  for (;;) {
    const int64_t i = __atomic_fetch_add(&next_task, 1, __ATOMIC_RELAXED);
    if (i >= tasks) return;
    kernel(buffers, scalars, backwards ? tasks - 1 - i : i, scratch);
  }
}
static void* make_scratch(void) {
  /* Poisoned with NaN, so that reading what was never written shows. */
  const size_t bytes = ((size_t)scratch_bytes + 127) / 64 * 64;
  char* p = aligned_alloc(64, bytes);
  memset(p, 0xff, bytes);
  return p;
}
static void* worker(void* unused) {
  (void)unused;
  void* scratch = make_scratch();
  for (;;) {
    pthread_barrier_wait(&begin);
    if (stop) return 0;
    drain(scratch);
    pthread_barrier_wait(&end);
  }
}
static double now(void) {
  struct timespec t;
  clock_gettime(use_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}
int main(int argc, char** argv) {
  if (argc < 9) return 2;
  void* lib = dlopen(argv[1], RTLD_NOW);
  if (!lib) { fprintf(stderr, "%s\n", dlerror()); return 3; }
  kernel = (kernel_fn)dlsym(lib, argv[2]);
  if (!kernel) { fprintf(stderr, "no %s\n", argv[2]); return 3; }
  tasks = atoll(argv[3]);
  scratch_bytes = atoll(argv[4]);
  const int threads = atoi(argv[5]), repeat = atoi(argv[6]), n = atoi(argv[8]);
  backwards = atoi(argv[7]);
  /* One thread is timed by the processor time it gets, which other programs do not disturb. */
  use_cpu_time = threads == 1;
  int at = 9;
  for (int i = 0; i < n; ++i) scalars[i] = atoll(argv[at++]);
  for (int i = 0; at + 1 < argc; ++i, at += 2) {
    const int fd = open(argv[at], O_RDWR);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) { perror(argv[at]); return 4; }
    char* p = mmap(0, s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED) { perror("mmap"); return 4; }
    buffers[i] = p + atoll(argv[at + 1]);
  }
  pthread_barrier_init(&begin, 0, threads);
  pthread_barrier_init(&end, 0, threads);
  pthread_t ids[64];
  for (int i = 1; i < threads; ++i) pthread_create(&ids[i], 0, worker, 0);
  void* scratch = make_scratch();
  double best = 1e30;
  for (int r = 0; r < repeat; ++r) {
    next_task = 0;
    const double t0 = now();
    pthread_barrier_wait(&begin);
    drain(scratch);
    pthread_barrier_wait(&end);
    const double t = now() - t0;
    if (t < best) best = t;
  }
  stop = 1;
  pthread_barrier_wait(&begin);
  printf("%.0f\n", best);
  return 0;
}
