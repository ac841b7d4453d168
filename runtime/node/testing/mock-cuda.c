// A stand-in for libcuda.so.1: device memory is host memory, kernels of testing/scale.ts run on the host, every call is
// written to MOCK_CUDA_LOG. MOCK_CUDA_FAIL="cuLaunchKernel:700:2" makes the second such call fail with 700.
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;
typedef struct { const char* name; int parameters, shared; } Function;
typedef struct { Function* function; unsigned grid; uint64_t arguments[8]; CUdeviceptr zero; size_t bytes; } Node;
typedef struct { Node nodes[64]; int count; } Graph;
typedef struct { Graph* capture; } Stream;

// What was made and not freed yet.
typedef enum { CONTEXT, MEMORY, STREAM, CODE, LINK, GRAPH, EXECUTABLE, EVENT, KINDS } Kind;
static atomic_int open_handles[KINDS];
static _Thread_local int pushed;
static void made(Kind kind) { open_handles[kind]++; }
static void freed(Kind kind) { open_handles[kind]--; }

static void say(const char* text) {
  const char* path = getenv("MOCK_CUDA_LOG");
  FILE* file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", text);
  fclose(file);
}

static struct { const char* name; int count; } counted[64];
static struct { char text[128], name[64]; int code, nth; } armed;

static void arm(const char* fail) {
  if (strcmp(fail, armed.text) == 0) return;
  snprintf(armed.text, sizeof armed.text, "%s", fail);
  armed.nth = 1;
  if (sscanf(fail, "%63[^:]:%d:%d", armed.name, &armed.code, &armed.nth) < 2) armed.name[0] = 0;
}

static int call(const char* name, const char* detail) {
  static atomic_flag busy = ATOMIC_FLAG_INIT;
  char line[256];
  snprintf(line, sizeof line, "%s %s", name, detail);
  while (atomic_flag_test_and_set(&busy)) {}
  say(line);
  int at = 0;
  while (counted[at].name && strcmp(counted[at].name, name) != 0) at++;
  counted[at].name = name;
  counted[at].count++;
  const char* fail = getenv("MOCK_CUDA_FAIL");
  arm(fail ? fail : "");
  const int code = strcmp(armed.name, name) == 0 && --armed.nth == 0 ? armed.code : 0;
  atomic_flag_clear(&busy);
  return code;
}

// For testing/faults.c: calls by name, and what is left open, as text.
void mock_calls(void (*tell)(const char* name, int count)) {
  for (int i = 0; counted[i].name; i++) tell(counted[i].name, counted[i].count);
}
int mock_pushed(void) { return pushed; }
const char* mock_left(void) {
  static const char* const names[KINDS] = {"context", "memory", "stream", "code", "link", "graph", "executable", "event"};
  static char text[256];
  text[0] = 0;
  for (int i = 0; i < KINDS; i++)
    if (open_handles[i]) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s=%d", text[0] ? " " : "", names[i], open_handles[i]);
  return text;
}

#define CALL(name) do { int r_ = call(name, ""); if (r_) return r_; } while (0)

CUresult cuGetErrorName(CUresult e, const char** s) { *s = e == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_MOCK"; return 0; }
CUresult cuGetErrorString(CUresult e, const char** s) { (void)e; *s = "injected"; return 0; }
CUresult cuInit(unsigned f) { (void)f; CALL("cuInit"); return 0; }
CUresult cuDriverGetVersion(int* v) { CALL("cuDriverGetVersion"); *v = 12040; return 0; }
CUresult cuDeviceGetCount(int* n) { CALL("cuDeviceGetCount"); *n = 1; return 0; }
CUresult cuDeviceGet(int* d, int i) { CALL("cuDeviceGet"); *d = i; return 0; }
CUresult cuDeviceGetName(char* s, int n, int d) { (void)d; CALL("cuDeviceGetName"); snprintf(s, (size_t)n, "Mock \"GPU\""); return 0; }
CUresult cuDeviceGetAttribute(int* v, int a, int d) {
  (void)d;
  CALL("cuDeviceGetAttribute");
  *v = a == 75 ? 9 : a == 76 ? 0 : a == 97 ? 232448 : 132;
  return 0;
}
CUresult cuDeviceTotalMem_v2(size_t* n, int d) { (void)d; CALL("cuDeviceTotalMem_v2"); *n = 1 << 30; return 0; }
CUresult cuDevicePrimaryCtxRetain(void** c, int d) { (void)d; CALL("cuDevicePrimaryCtxRetain"); made(CONTEXT); *c = (void*)1; return 0; }
CUresult cuDevicePrimaryCtxRelease_v2(int d) { (void)d; CALL("cuDevicePrimaryCtxRelease_v2"); freed(CONTEXT); return 0; }
CUresult cuCtxPushCurrent_v2(void* c) { (void)c; CALL("cuCtxPushCurrent_v2"); pushed++; return 0; }
CUresult cuCtxPopCurrent_v2(void** c) { *c = NULL; CALL("cuCtxPopCurrent_v2"); pushed--; return 0; }
CUresult cuMemGetInfo_v2(size_t* f, size_t* t) { CALL("cuMemGetInfo_v2"); *f = 1000; *t = 1 << 30; return 0; }
CUresult cuMemAlloc_v2(CUdeviceptr* p, size_t n) {
  CALL("cuMemAlloc_v2");
  made(MEMORY);
  *p = (CUdeviceptr)(uintptr_t)aligned_alloc(256, (n + 255) / 256 * 256);
  return 0;
}
CUresult cuMemFree_v2(CUdeviceptr p) { CALL("cuMemFree_v2"); freed(MEMORY); free((void*)(uintptr_t)p); return 0; }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void* h, size_t n, Stream* s) {
  (void)s; CALL("cuMemcpyHtoDAsync_v2"); memcpy((void*)(uintptr_t)d, h, n); return 0;
}
CUresult cuMemcpyDtoHAsync_v2(void* h, CUdeviceptr d, size_t n, Stream* s) {
  (void)s; CALL("cuMemcpyDtoHAsync_v2"); memcpy(h, (void*)(uintptr_t)d, n); return 0;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr d, CUdeviceptr f, size_t n, Stream* s) {
  (void)d; (void)f; (void)n; (void)s; CALL("cuMemcpyDtoDAsync_v2"); return 0;
}
static CUresult put(Stream* s, Node node) {
  if (s && s->capture) { s->capture->nodes[s->capture->count++] = node; return 0; }
  if (!node.function) { memset((void*)(uintptr_t)node.zero, 0, node.bytes); return 0; }
  const char* name = node.function->name;
  void* b[8];
  for (int i = 0; i < 8; i++) b[i] = (void*)(uintptr_t)node.arguments[i];
  const int64_t seq = (int64_t)node.arguments[node.function->parameters - 1];
  for (int64_t row = 0; row < (int64_t)node.grid; row++) {
    for (int64_t i = 0; i < seq; i++) {
      if (!strcmp(name, "twice")) ((float*)b[2])[i] = 2 * ((float*)b[0])[i];
      if (!strcmp(name, "scale")) ((float*)b[2])[row * seq + i] = ((float*)b[0])[row * seq + i] * ((float*)b[1])[i % 4];
      if (!strcmp(name, "add")) ((float*)b[2])[row * seq + i] = ((float*)b[0])[row * seq + i] + ((float*)b[1])[row];
    }
    if (!strcmp(name, "scale") && ((float*)b[0])[row * seq] < 0) *(int64_t*)b[3] = ((int64_t)7 << 40) + ((int64_t)1 << 39) + (int64_t)((float*)b[0])[row * seq];
    if (!strcmp(name, "add") && row == 0) *(int64_t*)b[4] = ++*(int64_t*)b[3];
  }
  return 0;
}
CUresult cuMemsetD8Async(CUdeviceptr p, unsigned char v, size_t n, Stream* s) {
  (void)v; CALL("cuMemsetD8Async"); return put(s, (Node){.zero = p, .bytes = n});
}
CUresult cuMemsetD32Async(CUdeviceptr p, unsigned v, size_t n, Stream* s) {
  (void)v; CALL("cuMemsetD32Async"); return put(s, (Node){.zero = p, .bytes = 4 * n});
}
CUresult cuStreamCreate(Stream** s, unsigned f) { (void)f; CALL("cuStreamCreate"); made(STREAM); *s = calloc(1, sizeof(Stream)); return 0; }
CUresult cuStreamDestroy_v2(Stream* s) { CALL("cuStreamDestroy_v2"); freed(STREAM); free(s); return 0; }
CUresult cuStreamSynchronize(Stream* s) { (void)s; CALL("cuStreamSynchronize"); return 0; }
CUresult cuStreamBeginCapture_v2(Stream* s, int m) {
  (void)m; CALL("cuStreamBeginCapture_v2"); s->capture = calloc(1, sizeof(Graph)); return 0;
}
CUresult cuStreamEndCapture(Stream* s, Graph** g) {
  Graph* captured = s->capture;
  s->capture = NULL;
  *g = NULL;
  const int r = call("cuStreamEndCapture", "");
  if (r) free(captured);
  else made(GRAPH), *g = captured;
  return r;
}
CUresult cuGraphInstantiateWithFlags(Graph** x, Graph* g, unsigned long long f) {
  (void)f; CALL("cuGraphInstantiateWithFlags"); made(EXECUTABLE); *x = malloc(sizeof(Graph)); **x = *g; return 0;
}
CUresult cuGraphLaunch(Graph* g, Stream* s) {
  CALL("cuGraphLaunch");
  for (int i = 0; i < g->count; i++) put(s, g->nodes[i]);
  return 0;
}
CUresult cuGraphExecDestroy(Graph* g) { CALL("cuGraphExecDestroy"); freed(EXECUTABLE); free(g); return 0; }
CUresult cuGraphDestroy(Graph* g) { CALL("cuGraphDestroy"); freed(GRAPH); free(g); return 0; }
CUresult cuEventCreate(void** e, unsigned f) { (void)f; CALL("cuEventCreate"); made(EVENT); *e = malloc(1); return 0; }
CUresult cuEventRecordWithFlags(void* e, Stream* s, unsigned f) { (void)e; (void)s; (void)f; CALL("cuEventRecordWithFlags"); return 0; }
CUresult cuEventElapsedTime(float* ms, void* a, void* b) { (void)a; (void)b; CALL("cuEventElapsedTime"); *ms = 0.25f; return 0; }
CUresult cuEventDestroy_v2(void* e) { CALL("cuEventDestroy_v2"); freed(EVENT); free(e); return 0; }
CUresult cuModuleLoadDataEx(void** m, const void* text, unsigned n, int* options, void** values) {
  const int r = call("cuModuleLoadDataEx", "");
  for (unsigned i = 0; r && i < n; i++) if (options[i] == 5) strcpy(values[i], "ptxas: line 3: what is this");
  if (r) return r;
  *m = strstr(text, "mock") ? malloc(1) : NULL;
  if (*m) made(CODE);
  return *m ? 0 : 218;
}
#ifndef OLD_DRIVER
CUresult cuLibraryLoadData(void** l, const void* code, int* options, void** values, unsigned n, int* o, void** v, unsigned m) {
  (void)o; (void)v; (void)m;
  const int r = call("cuLibraryLoadData", strncmp(code, "mock cubin", 10) ? "text" : "assembled");
  for (unsigned i = 0; r && i < n; i++) if (options[i] == 5) strcpy(values[i], "ptxas: line 3: what is this");
  if (r) return r;
  *l = strstr(code, "mock") ? malloc(1) : NULL;
  if (*l) made(CODE);
  return *l ? 0 : 218;
}
CUresult cuLibraryGetModule(void** m, void* l) { CALL("cuLibraryGetModule"); *m = l; return 0; }
CUresult cuLibraryUnload(void* l) { CALL("cuLibraryUnload"); freed(CODE); free(l); return 0; }
#endif
CUresult cuLinkCreate_v2(unsigned n, int* options, void** values, void*** s) {
  CALL("cuLinkCreate_v2");
  made(LINK);
  *s = calloc(1, sizeof(void*));
  for (unsigned i = 0; i < n; i++) if (options[i] == 5) **s = values[i];
  return 0;
}
CUresult cuLinkAddData_v2(void** s, int type, void* text, size_t bytes, const char* name, unsigned n, int* o, void** v) {
  (void)bytes; (void)name; (void)n; (void)o; (void)v;
  CALL("cuLinkAddData_v2");
  if (type == 1 && strstr(text, "mock")) return 0;
  strcpy(*s, "ptxas: line 3: what is this");
  return 218;
}
CUresult cuLinkComplete(void** s, const char** code, size_t* bytes) {
  (void)s; CALL("cuLinkComplete"); *code = "mock cubin"; *bytes = 11; return 0;
}
CUresult cuLinkDestroy(void** s) { CALL("cuLinkDestroy"); freed(LINK); free(s); return 0; }
CUresult cuModuleUnload(void* m) { CALL("cuModuleUnload"); freed(CODE); free(m); return 0; }
CUresult cuModuleGetFunction(Function** f, void* m, const char* name) {
  (void)m;
  static Function all[] = {{"twice", 4, 0}, {"scale", 5, 0}, {"add", 6, 0}};
  CALL("cuModuleGetFunction");
  for (int i = 0; i < 3; i++) if (!strcmp(all[i].name, name)) { *f = &all[i]; return 0; }
  return 500;
}
CUresult cuFuncGetAttribute(int* v, int a, Function* f) { (void)f; CALL("cuFuncGetAttribute"); *v = a == 0 ? 1024 : 0; return 0; }
CUresult cuFuncSetAttribute(Function* f, int a, int v) {
  char detail[64];
  snprintf(detail, sizeof detail, "%s %d=%d", f->name, a, v);
  return call("cuFuncSetAttribute", detail);
}
CUresult cuFuncGetParamInfo(Function* f, size_t i, size_t* offset, size_t* size) {
  CALL("cuFuncGetParamInfo");
  *offset = 8 * i; *size = 8;
  return (int)i < f->parameters ? 0 : 1;
}
static CUresult launch(const char* call_name, const char* kind, Function* f, const unsigned* grid, const unsigned* block, unsigned shared,
                       Stream* s, void** arguments) {
  char detail[160];
  snprintf(detail, sizeof detail, "%s grid=%u,%u,%u block=%u,%u,%u shared=%u last=%lld%s", f->name, grid[0], grid[1], grid[2], block[0],
           block[1], block[2], shared, (long long)*(int64_t*)arguments[f->parameters - 1], kind);
  const int r = call(call_name, detail);
  if (r) return r;
  Node node = {.function = f, .grid = grid[0]};
  for (int i = 0; i < f->parameters; i++) node.arguments[i] = *(uint64_t*)arguments[i];
  return put(s, node);
}
CUresult cuLaunchKernel(Function* f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, Stream* s,
                        void** arguments, void** extra) {
  (void)extra;
  return launch("cuLaunchKernel", "", f, (unsigned[]){x, y, z}, (unsigned[]){tx, ty, tz}, shared, s, arguments);
}
typedef struct { int id; char pad[4]; _Alignas(8) int value[16]; } Attribute;
typedef struct { unsigned grid[3], block[3], shared; Stream* stream; Attribute* attributes; unsigned count; } Config;
CUresult cuLaunchKernelEx(const Config* c, Function* f, void** arguments, void** extra) {
  (void)extra;
  const int early = c->count == 1 && c->attributes[0].id == 6 && c->attributes[0].value[0] == 1;
  return launch("cuLaunchKernelEx", early ? " dependent" : " unknown", f, c->grid, c->block, c->shared, c->stream, arguments);
}
