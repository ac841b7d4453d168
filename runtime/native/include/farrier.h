/*
 * farrier's runtime, as one C header: opens a bundle, binds its weights to a device, runs its entries.
 *
 *   farrier_bundle   a bundle's directory, checked; touches no device
 *   farrier_device   a CPU or one GPU (its primary context, retained)
 *   farrier_weights  a bundle's kernels and weights on a device; shared by execs and threads
 *   farrier_state    persistent tensors of one batch of sequences (a KV cache), zero when made
 *   farrier_exec     one entry ready to run; used by one thread at a time
 *   farrier_graph    a recorded run (CUDA)
 *
 * Every function but the first few returns 0 or the class of its error (`farrier_class`), and leaves a
 * text for the calling thread: farrier_last_error() is "E_CODE: what is wrong (what to do)", and
 * farrier_last_code() its "E_CODE". No exception leaves a function.
 *
 * Handles are checked: one that was released, or is of another kind, gives E_RT_HANDLE. Objects keep what they
 * are made of alive, so handles may be released in any order. NULL may be released.
 *
 * A GPU's current context is as it was when a function returns. Sizes are bytes; alignments too.
 */
#ifndef FARRIER_H
#define FARRIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FARRIER_ABI 1

#if defined(_WIN32)
#define FARRIER_API
#else
#define FARRIER_API __attribute__((visibility("default")))
#endif

/* Classes of errors: also the exit statuses of the command line. */
typedef enum farrier_class {
  FARRIER_OK = 0,
  FARRIER_BAD_INPUT = 2,
  FARRIER_UNSUPPORTED = 3,
  FARRIER_DEVICE = 4,
  FARRIER_IO = 5,
  FARRIER_INTERNAL = 70
} farrier_class;

/*
 * Tensors are borrowed DLTensor pointers. With dlpack.h included first, farrier_tensor is DLTensor;
 * without, it has the same layout, and a DLTensor's address may be cast.
 */
#ifdef DLPACK_DLPACK_H_
typedef DLTensor farrier_tensor;
typedef DLDataType farrier_dtype;
#else
typedef struct farrier_dtype {
  uint8_t code; /* DLPack's: int 0, uint 1, float 2, bfloat 4, bool 6, e4m3fn 10, … */
  uint8_t bits;
  uint16_t lanes; /* 1 */
} farrier_dtype;

typedef struct farrier_tensor {
  void* data; /* host address, or device address on a GPU */
  struct {
    int32_t device_type; /* CPU 1, CUDA 2, pinned host 3 (as CPU), CUDA managed 13 (as CUDA) */
    int32_t device_id;
  } device;
  int32_t ndim;
  farrier_dtype dtype;
  int64_t* shape;
  int64_t* strides; /* elements; NULL: dense and row-major, which is what is accepted */
  uint64_t byte_offset;
} farrier_tensor;
#endif

#define FARRIER_MAX_RANK 8
#define FARRIER_WORKSPACE_ALIGN 256 /* CPU: 64 is enough */

typedef struct farrier_bundle farrier_bundle;
typedef struct farrier_device farrier_device;
typedef struct farrier_weights farrier_weights;
typedef struct farrier_state farrier_state;
typedef struct farrier_exec farrier_exec;
typedef struct farrier_graph farrier_graph;
typedef void* farrier_stream; /* CUstream; NULL: the default stream. Ignored on a CPU */

FARRIER_API uint32_t farrier_abi_version(void);
/* Of the calling thread's last failed call; "" before the first. Valid until its next failed call. */
FARRIER_API const char* farrier_last_error(void);
FARRIER_API const char* farrier_last_code(void);
/* Fingerprint of this machine (docs/bundle.md): 64 hex digits. Threads that CPU kernels use. Best
 * instruction set of CPU kernels. */
FARRIER_API const char* farrier_machine(void);
FARRIER_API int32_t farrier_threads(void);
FARRIER_API const char* farrier_isa(void);

/* ---- bundle -------------------------------------------------------------------------------- */

#define FARRIER_OPEN_ALLOW_NATIVE 1u /* load its host code though it was built elsewhere */
#define FARRIER_OPEN_VERIFY_ALL 2u   /* hash weights now, not as they are read */

typedef struct farrier_open_options {
  uint32_t size; /* sizeof(farrier_open_options) */
  uint32_t flags;
} farrier_open_options;

/* Opens and checks the directory `path`. Options may be NULL. E_BUNDLE_*, E_PLAN, E_IO. */
FARRIER_API int farrier_bundle_open(const char* path, const farrier_open_options* options,
                                    farrier_bundle** bundle);
FARRIER_API int farrier_bundle_release(farrier_bundle* bundle);

/* {"manifest": …, "plan": …}: the two files, verbatim (docs/bundle.md). Lives as long as the handle. */
FARRIER_API int farrier_bundle_describe(const farrier_bundle* bundle, const char** json,
                                        size_t* bytes);

typedef struct farrier_shape {
  farrier_dtype dtype;
  int32_t ndim;
  int64_t dims[FARRIER_MAX_RANK];
  uint64_t bytes;
} farrier_shape;

/*
 * Shapes of all inputs and outputs of `entry`, from those inputs that are not NULL: of them, dtype, ndim
 * and shape are read. `input_shapes` and `output_shapes` have room for every input and output; either
 * may be NULL. E_RT_INPUT, E_RT_PROFILE.
 */
FARRIER_API int farrier_infer_shapes(const farrier_bundle* bundle, const char* entry,
                                     const farrier_tensor* const* inputs, size_t n_inputs,
                                     farrier_shape* input_shapes, farrier_shape* output_shapes);

/* ---- device -------------------------------------------------------------------------------- */

typedef enum farrier_device_type { FARRIER_CPU = 1, FARRIER_CUDA = 2 } farrier_device_type;

/* The driver is FARRIER_CUDA_LIBRARY, or libcuda.so.1. E_NO_DEVICE, E_RT_DEVICE. */
FARRIER_API int farrier_device_open(int32_t type, int32_t id, farrier_device** device);
FARRIER_API int farrier_device_release(farrier_device* device);
/* JSON: {"type", "id", "name", …}; CPU: "isa", "threads"; CUDA: "capability", "driver", "memory",
 * "multiprocessors", "sharedOptIn". Lives as long as the handle. */
FARRIER_API int farrier_device_describe(const farrier_device* device, const char** json,
                                        size_t* bytes);

/* Memory is aligned to 256; what is not freed is when the device's last user is released. */
FARRIER_API int farrier_device_alloc(farrier_device* device, size_t bytes, void** address);
FARRIER_API int farrier_device_free(farrier_device* device, void* address);
/* Copies are in stream order, and may return before they are done: host memory must stay until the stream
 * was waited for. */
FARRIER_API int farrier_device_copy_in(farrier_device* device, void* to, const void* host,
                                       size_t bytes, farrier_stream stream);
FARRIER_API int farrier_device_copy_out(farrier_device* device, void* host, const void* from,
                                        size_t bytes, farrier_stream stream);
FARRIER_API int farrier_device_zero(farrier_device* device, void* to, size_t bytes,
                                    farrier_stream stream);
FARRIER_API int farrier_stream_create(farrier_device* device, farrier_stream* stream);
FARRIER_API int farrier_stream_destroy(farrier_device* device, farrier_stream stream);
FARRIER_API int farrier_stream_sync(farrier_device* device, farrier_stream stream);

typedef struct farrier_rates {
  uint32_t size; /* sizeof(farrier_rates) */
  uint32_t reserved;
  double bytes;      /* a second, between the device and its memory */
  double operations; /* a second: multiplications and additions of f32; 0: not measured */
} farrier_rates;

/* Measured now, for a fraction of a second. CPU: all threads reading what no cache holds, and multiplying in
 * registers. CUDA: a copy within the device, both ways counted. E_RT_OOM. */
FARRIER_API int farrier_device_rates(farrier_device* device, farrier_rates* rates);

/* ---- weights and state --------------------------------------------------------------------- */

/* `done` of `total` units of work, about a byte of weights each; not 0: stop, with E_CANCELLED. */
typedef int (*farrier_progress)(void* user, uint64_t done, uint64_t total);

/* Values of the plan's source `name`, in the caller's memory: a live model's own tensor. */
typedef struct farrier_named_tensor {
  const char* name;
  const farrier_tensor* tensor;
} farrier_named_tensor;

typedef struct farrier_bind_options {
  uint32_t size; /* sizeof(farrier_bind_options) */
  uint32_t reserved;
  const char* reference_dir; /* where relative files outside the bundle are; NULL: the bundle */
  farrier_progress progress; /* called on the binding thread; may be NULL */
  void* user;
  /*
   * Sources without values (`none`) are taken from here; dtype and shape are the source's. On the device they
   * are borrowed: they stay until the weights are released, kernels that read a source itself read it as it
   * is then, and what the weight program makes of it is made now. Host tensors are copied to a GPU. What
   * writes them is done, or in the default stream. E_WEIGHTS.
   */
  const farrier_named_tensor* tensors;
  size_t n_tensors;
} farrier_bind_options;

/* Loads kernels and runs the weight program. The slow call. E_TARGET, E_MODULE, E_WEIGHTS,
 * E_BUNDLE_HASH, E_BUNDLE_NATIVE, E_RT_OOM, E_IO. */
FARRIER_API int farrier_weights_bind(farrier_bundle* bundle, farrier_device* device,
                                     const farrier_bind_options* options, farrier_weights** weights);
FARRIER_API int farrier_weights_release(farrier_weights* weights);
/* The target that was chosen ("cpu", "sm_80", …), and bytes on the device. Outputs may be NULL. */
FARRIER_API int farrier_weights_info(const farrier_weights* weights, const char** target,
                                     uint64_t* bytes);

/* What went otherwise than it should have, and was made good, for people: "" if nothing. Lives as long as the handle. */
FARRIER_API int farrier_weights_notice(const farrier_weights* weights, const char** text);

typedef struct farrier_kept {
  uint32_t size; /* sizeof(farrier_kept) */
  uint32_t reserved;
  /* Written: */
  uint64_t kernels; /* texts of the target, of which `made` were assembled now and the others kept before */
  uint64_t made;
  uint64_t bytes;
  const char* directory; /* lives until the calling thread's next call */
} farrier_kept;

/*
 * Assembles the kernels that `device` runs and keeps them in BUNDLE.warm beside the bundle, or below the directory
 * FARRIER_WARM_DIR, for this driver and kind of GPU: farrier_weights_bind finds them there. `progress` and `kept`
 * may be NULL. CUDA only (E_UNSUPPORTED). E_TARGET, E_MODULE, E_IO.
 */
FARRIER_API int farrier_warm(farrier_bundle* bundle, farrier_device* device, farrier_progress progress,
                             void* user, farrier_kept* kept);

FARRIER_API int farrier_state_create(farrier_weights* weights, farrier_state** state);
/* The same in the caller's memory, as it is: a tensor for each of the plan's `states`, in order, of its bytes,
 * on the device, aligned to 16; it stays until the state is released and its runs are done. E_RT_STATE. */
FARRIER_API int farrier_state_bind(farrier_weights* weights, const farrier_tensor* const* tensors,
                                   size_t n_tensors, farrier_state** state);
FARRIER_API int farrier_state_release(farrier_state* state);
/* Zeroes it, in stream order. */
FARRIER_API int farrier_state_reset(farrier_state* state, farrier_stream stream);
/* Address and size of tensor `index` of the plan's `states`. */
FARRIER_API int farrier_state_data(const farrier_state* state, size_t index, void** data,
                                   uint64_t* bytes);

/* ---- exec ---------------------------------------------------------------------------------- */

/* `state` may be NULL if the entry uses none, and until it runs. E_RT_ENTRY. */
FARRIER_API int farrier_exec_create(farrier_weights* weights, const char* entry,
                                    farrier_state* state, farrier_exec** exec);
FARRIER_API int farrier_exec_set_state(farrier_exec* exec, farrier_state* state);
FARRIER_API int farrier_exec_release(farrier_exec* exec);

/* The plan that these inputs run, and the workspace that it needs. Outputs may be NULL; inputs'
 * data is not looked at. */
FARRIER_API int farrier_exec_workspace(farrier_exec* exec, const farrier_tensor* const* inputs,
                                       size_t n_inputs, int32_t* plan, uint64_t* bytes);

/*
 * Runs the entry on all of its inputs and outputs, in the plan's order. Never allocates device memory,
 * never waits for the GPU: on CUDA it returns when the work is in the stream, and may be captured. On a CPU it
 * returns when the outputs are there. Buffers of a run in flight belong to it.
 * E_RT_INPUT, E_RT_PROFILE, E_RT_ALIAS, E_RT_WORKSPACE, E_RT_STATE, E_RT_BUSY, E_LAUNCH_DECL; CPU: E_RT_INDEX.
 */
FARRIER_API int farrier_run(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs,
                            const farrier_tensor* const* outputs, size_t n_outputs, void* workspace,
                            uint64_t workspace_bytes, farrier_stream stream);

/* Waits for the last run (or graph) of this exec, and returns E_RT_INDEX if a kernel reported a failed
 * check in it. */
FARRIER_API int farrier_exec_status(farrier_exec* exec);

/* ---- graphs and times ---------------------------------------------------------------------- */

/* Records a run with these very buffers; CUDA only (E_UNSUPPORTED). Does not run it. */
FARRIER_API int farrier_graph_capture(farrier_exec* exec, const farrier_tensor* const* inputs,
                                      size_t n_inputs, const farrier_tensor* const* outputs,
                                      size_t n_outputs, void* workspace, uint64_t workspace_bytes,
                                      farrier_graph** graph);
FARRIER_API int farrier_graph_launch(farrier_graph* graph, farrier_stream stream);
FARRIER_API int farrier_graph_release(farrier_graph* graph);

typedef struct farrier_times {
  uint32_t size;    /* sizeof(farrier_times) */
  uint32_t repeats; /* 1 to 100000 */
  double* step_ms;  /* room for `capacity` steps; may be NULL */
  size_t capacity;
  /* Written, in milliseconds, medians: */
  size_t n_steps;
  double run_ms;  /* a run as it is: CUDA in a graph */
  double mark_ms; /* between two marks with nothing between them: a part of each step's time */
} farrier_times;

/*
 * Runs the entry `repeats` times as it is and as often step by step, with a mark before each step and after the
 * last: an event in a graph on CUDA, a clock on a CPU. A step finds its operands where the step before it left
 * them. Waits for the device. State advances with each run.
 */
FARRIER_API int farrier_exec_profile(farrier_exec* exec, const farrier_tensor* const* inputs,
                                     size_t n_inputs, const farrier_tensor* const* outputs,
                                     size_t n_outputs, void* workspace, uint64_t workspace_bytes,
                                     farrier_stream stream, farrier_times* times);

/*
 * Steps `first` to before `first + count` of the plan that farrier_run runs, for who looks at the memory
 * between them: a run in parts, from 0 on, with the same buffers. E_OPTION where there are no such steps.
 */
FARRIER_API int farrier_run_steps(farrier_exec* exec, const farrier_tensor* const* inputs,
                                  size_t n_inputs, const farrier_tensor* const* outputs,
                                  size_t n_outputs, void* workspace, uint64_t workspace_bytes,
                                  farrier_stream stream, size_t first, size_t count);

#ifdef __cplusplus
}
#endif

#endif /* FARRIER_H */
