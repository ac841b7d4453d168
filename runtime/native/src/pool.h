// The thread pool that every exec shares, and what the machine offers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace farrier {

using CpuKernel = void (*)(void* const* buffers, const int64_t* scalars, int64_t task, void* scratch);

// FARRIER_THREADS, or the cores that this process may use (affinity, cgroup quota).
int thread_count();
// Makes each thread's scratch at least so large; before a run, so that a run does not allocate.
void reserve_scratch(size_t bytes);
// Calls the kernel for tasks 0 … tasks - 1, each once, on all threads; returns when all are done.
// `scratch`: what the kernel needs of a thread, already reserved.
void run_tasks(CpuKernel kernel, void* const* buffers, const int64_t* scalars, int64_t tasks, size_t scratch);
// The same for a function of the runtime; it must not throw.
void parallel(int64_t tasks, const std::function<void(int64_t)>& body);

// "avx512", "avx2" or "portable".
std::string best_isa();
bool has_isa(const std::string& isa);
// See docs/bundle.md.
const std::string& machine_fingerprint();

}  // namespace farrier
