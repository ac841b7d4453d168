#include "pool.h"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace farrier {

int available_cores();

namespace {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// A few tens of microseconds: as long as the gap between two kernels of a run.
constexpr int spins = 4000;
constexpr int index_bits = 40;
constexpr uint64_t index_mask = (uint64_t{1} << index_bits) - 1;

struct Free {
  void operator()(void* at) const { std::free(at); }
};
using Scratch = std::unique_ptr<void, Free>;

// One job at a time. `ticket` is a generation (even: a job is on offer) and the next task's index: a claim is one
// fetch_add, and a claim of an unfinished job keeps the job's fields as they are. A late thread that
// claimed past the end may see fields of the next job: it sees another generation then, and drops them.
// So a run never waits for a thread that took no task, and works after fork, with the caller's thread alone.
class Pool {
 public:
  static Pool& get() {
    static Pool* pool = new Pool;  // never destroyed: its threads outlive main
    return *pool;
  }

  void reserve(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes <= scratch_bytes_) return;
    const size_t rounded = (bytes + 63) / 64 * 64;
    std::vector<Scratch> grown;
    for (size_t i = 0; i < scratch_.size(); i++) {
      grown.emplace_back(std::aligned_alloc(64, rounded));
      if (grown.back() == nullptr) throw std::bad_alloc();
    }
    scratch_.swap(grown);
    scratch_bytes_ = rounded;
  }

  void run(CpuKernel kernel, void* const* buffers, const int64_t* scalars, int64_t tasks, size_t scratch) {
    if (tasks <= 0) return;
    if (tasks == 1 && scratch == 0) return kernel(buffers, scalars, 0, nullptr);
    const std::lock_guard lock(mutex_);
    if (scratch > scratch_bytes_) fail("E_INTERNAL", "scratch of CPU kernels was not reserved");
    if (scratch_.size() == 1 || tasks == 1) {
      for (int64_t task = 0; task < tasks; task++) kernel(buffers, scalars, task, scratch_[0].get());
      return;
    }
    generation_++;
    ticket_ = generation_ << index_bits | (index_mask >> 1);
    kernel_ = kernel;
    buffers_ = buffers;
    scalars_ = scalars;
    tasks_ = tasks;
    done_ = 0;
    generation_++;
    ticket_ = (generation_ & (UINT64_MAX >> index_bits)) << index_bits;
    if (sleepers_ > 0) {
      wakes_++;
      wakes_.notify_all();
    }
    work(scratch_[0].get());
    for (int spun = 0; done_.load(std::memory_order_acquire) != tasks; spun++) spun < spins ? pause() : std::this_thread::yield();
  }

 private:
  Pool() : scratch_(static_cast<size_t>(thread_count())) {
    // Threads run this library's code for as long as the process lives: it must stay loaded.
    Dl_info self = {};
    if (dladdr(reinterpret_cast<void*>(&pause), &self) != 0 && self.dli_fname != nullptr)
      dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    for (size_t i = 1; i < scratch_.size(); i++) std::thread([this, i] { serve(i); }).detach();
  }

  static bool offers(uint64_t ticket) { return (ticket >> index_bits & 1) == 0 && (ticket >> index_bits) != 0; }

  // Takes tasks of the job on offer until none is left; the generation that was seen last.
  uint64_t work(void* scratch) {
    for (;;) {
      const uint64_t claim = ticket_.fetch_add(1);
      const uint64_t generation = claim >> index_bits;
      const auto kernel = kernel_.load();
      const auto buffers = buffers_.load();
      const auto scalars = scalars_.load();
      const auto index = static_cast<int64_t>(claim & index_mask);
      const bool mine = offers(claim) && index < tasks_.load() && ticket_.load() >> index_bits == generation;
      if (!mine) return generation;
      kernel(buffers, scalars, index, scratch);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  void serve(size_t slot) {
    uint64_t exhausted = 0;
    int spun = 0;
    for (;;) {
      const uint64_t ticket = ticket_.load();
      if (offers(ticket) && ticket >> index_bits != exhausted) {
        exhausted = work(scratch_[slot].get());
        spun = 0;
      } else if (++spun < spins) {
        pause();
      } else {
        const uint32_t seen = wakes_.load();
        sleepers_++;
        if (const uint64_t now = ticket_.load(); !offers(now) || now >> index_bits == exhausted) wakes_.wait(seen);
        sleepers_--;
        spun = 0;
      }
    }
  }

  std::mutex mutex_;
  std::vector<Scratch> scratch_;
  size_t scratch_bytes_ = 0;
  uint64_t generation_ = 0;
  alignas(64) std::atomic<uint64_t> ticket_ = 0;
  alignas(64) std::atomic<int64_t> done_ = 0;
  alignas(64) std::atomic<CpuKernel> kernel_ = nullptr;
  std::atomic<void* const*> buffers_ = nullptr;
  std::atomic<const int64_t*> scalars_ = nullptr;
  std::atomic<int64_t> tasks_ = 0;
  alignas(64) std::atomic<uint32_t> wakes_ = 0;
  std::atomic<int32_t> sleepers_ = 0;
};

}  // namespace

int thread_count() {
  static const int count = [] {
    const char* forced = std::getenv("FARRIER_THREADS");
    if (forced == nullptr || *forced == '\0') return available_cores();
    char* end = nullptr;
    const long value = std::strtol(forced, &end, 10);
    if (*end != '\0' || value < 1 || value > 1024)
      fail("E_OPTION", "FARRIER_THREADS is " + quoted(forced), "give a number from 1 to 1024");
    return static_cast<int>(value);
  }();
  return count;
}

void reserve_scratch(size_t bytes) { Pool::get().reserve(bytes); }

void run_tasks(CpuKernel kernel, void* const* buffers, const int64_t* scalars, int64_t tasks, size_t scratch) {
  Pool::get().run(kernel, buffers, scalars, tasks, scratch);
}

void parallel(int64_t tasks, const std::function<void(int64_t)>& body) {
  void* const arguments[] = {const_cast<std::function<void(int64_t)>*>(&body)};
  run_tasks([](void* const* buffers, const int64_t*, int64_t task, void*) {
    (*static_cast<const std::function<void(int64_t)>*>(buffers[0]))(task);
  }, arguments, nullptr, tasks, 0);
}

}  // namespace farrier
