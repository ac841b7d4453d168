// The CUDA driver's functions, found at run time: declared here from its documentation, since the machines that build this have
// no toolkit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace farrier::cuda {

using Result = int;          // CUresult
using Ordinal = int;         // CUdevice
using Pointer = uint64_t;    // CUdeviceptr
using Context = struct Context_*;
using Module = struct Module_*;
using Library = struct Library_*;
using LinkState = struct LinkState_*;
using Function = struct Function_*;
using Stream = struct Stream_*;
using Event = struct Event_*;
using Graph = struct Graph_*;
using GraphExec = struct GraphExec_*;

// Values of the driver's enumerations that are used here.
enum DeviceAttribute : int {
  multiprocessors = 16,
  capability_major = 75,
  capability_minor = 76,
  shared_opt_in = 97,
};
enum FunctionAttribute : int { max_threads = 0, static_shared = 1, max_dynamic_shared = 8 };
enum JitOption : int { error_log = 5, error_log_bytes = 6 };
constexpr int input_ptx = 1;
constexpr unsigned stream_non_blocking = 1, event_default = 0, event_record_external = 1;
constexpr int capture_thread_local = 1;

// CUlaunchAttribute: `value` is the first word of 64 bytes.
struct alignas(8) LaunchAttribute {
  int id;
  char pad[4];
  int value[16];
};
constexpr int programmatic_serialization = 6;

// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3], block[3], shared;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned n_attributes;
};

// From this driver on, a recorded graph keeps dependent launches.
constexpr int dependent_launches = 12030;

// One line a function: member, exported name, parameters. All are in driver 470 (CUDA 11.4).
#define FARRIER_CUDA_FUNCTIONS(X)                                                                            \
  X(get_error_name, "cuGetErrorName", (Result, const char**))                                                \
  X(get_error_string, "cuGetErrorString", (Result, const char**))                                            \
  X(init, "cuInit", (unsigned))                                                                              \
  X(driver_version, "cuDriverGetVersion", (int*))                                                            \
  X(device_count, "cuDeviceGetCount", (int*))                                                                \
  X(device_get, "cuDeviceGet", (Ordinal*, int))                                                              \
  X(device_name, "cuDeviceGetName", (char*, int, Ordinal))                                                   \
  X(device_attribute, "cuDeviceGetAttribute", (int*, int, Ordinal))                                          \
  X(device_memory, "cuDeviceTotalMem_v2", (size_t*, Ordinal))                                                \
  X(primary_retain, "cuDevicePrimaryCtxRetain", (Context*, Ordinal))                                         \
  X(primary_release, "cuDevicePrimaryCtxRelease_v2", (Ordinal))                                              \
  X(push, "cuCtxPushCurrent_v2", (Context))                                                                  \
  X(pop, "cuCtxPopCurrent_v2", (Context*))                                                                   \
  X(memory_info, "cuMemGetInfo_v2", (size_t*, size_t*))                                                      \
  X(alloc, "cuMemAlloc_v2", (Pointer*, size_t))                                                              \
  X(free, "cuMemFree_v2", (Pointer))                                                                         \
  X(copy_in, "cuMemcpyHtoDAsync_v2", (Pointer, const void*, size_t, Stream))                                 \
  X(copy_out, "cuMemcpyDtoHAsync_v2", (void*, Pointer, size_t, Stream))                                      \
  X(copy_within, "cuMemcpyDtoDAsync_v2", (Pointer, Pointer, size_t, Stream))                                 \
  X(fill8, "cuMemsetD8Async", (Pointer, unsigned char, size_t, Stream))                                      \
  X(fill32, "cuMemsetD32Async", (Pointer, unsigned, size_t, Stream))                                         \
  X(stream_create, "cuStreamCreate", (Stream*, unsigned))                                                    \
  X(stream_destroy, "cuStreamDestroy_v2", (Stream))                                                          \
  X(stream_sync, "cuStreamSynchronize", (Stream))                                                            \
  X(begin_capture, "cuStreamBeginCapture_v2", (Stream, int))                                                 \
  X(end_capture, "cuStreamEndCapture", (Stream, Graph*))                                                     \
  X(graph_instantiate, "cuGraphInstantiateWithFlags", (GraphExec*, Graph, unsigned long long))               \
  X(graph_launch, "cuGraphLaunch", (GraphExec, Stream))                                                      \
  X(graph_exec_destroy, "cuGraphExecDestroy", (GraphExec))                                                   \
  X(graph_destroy, "cuGraphDestroy", (Graph))                                                                \
  X(event_create, "cuEventCreate", (Event*, unsigned))                                                       \
  X(event_record, "cuEventRecordWithFlags", (Event, Stream, unsigned))                                       \
  X(event_elapsed, "cuEventElapsedTime", (float*, Event, Event))                                             \
  X(event_destroy, "cuEventDestroy_v2", (Event))                                                             \
  X(module_load, "cuModuleLoadDataEx", (Module*, const void*, unsigned, int*, void**))                       \
  X(module_unload, "cuModuleUnload", (Module))                                                               \
  X(link_create, "cuLinkCreate_v2", (unsigned, int*, void**, LinkState*))                                    \
  X(link_add, "cuLinkAddData_v2", (LinkState, int, void*, size_t, const char*, unsigned, int*, void**))      \
  X(link_complete, "cuLinkComplete", (LinkState, void**, size_t*))                                           \
  X(link_destroy, "cuLinkDestroy", (LinkState))                                                              \
  X(module_function, "cuModuleGetFunction", (Function*, Module, const char*))                                \
  X(function_attribute, "cuFuncGetAttribute", (int*, int, Function))                                         \
  X(set_function_attribute, "cuFuncSetAttribute", (Function, int, int))                                      \
  X(launch, "cuLaunchKernel",                                                                                \
    (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, void**, void**))

// Of newer drivers; nullptr in older ones.
#define FARRIER_CUDA_OPTIONAL(X)                                                       \
  X(launch_ex, "cuLaunchKernelEx", (const LaunchConfig*, Function, void**, void**)) /* 11.8 */                       \
  X(library_load, "cuLibraryLoadData", (Library*, const void*, int*, void**, unsigned, int*, void**, unsigned)) /* 12.0 */ \
  X(library_module, "cuLibraryGetModule", (Module*, Library))                                                  /* 12.0 */ \
  X(library_unload, "cuLibraryUnload", (Library))                                                              /* 12.0 */ \
  X(param_info, "cuFuncGetParamInfo", (Function, size_t, size_t*, size_t*))                                    /* 12.4 */

struct Driver {
#define FARRIER_MEMBER(member, name, parameters) Result(*member) parameters = nullptr;
  FARRIER_CUDA_FUNCTIONS(FARRIER_MEMBER)
  FARRIER_CUDA_OPTIONAL(FARRIER_MEMBER)
#undef FARRIER_MEMBER
  int version = 0;  // 1000 · major + 10 · minor, of CUDA
  std::string text() const { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }
};

// Loads and initialises the driver once. E_NO_DEVICE.
const Driver& driver();

// The class of a failure, and whether the context is lost with it.
struct Meaning {
  const char* code;
  bool dead;
};
Meaning meaning_of(Result result);
// "CUDA_ERROR_… (number): text".
std::string text_of(const Driver& driver, Result result);

}  // namespace farrier::cuda
