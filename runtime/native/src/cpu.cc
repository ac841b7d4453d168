// The CPU as a device: kernels from a shared object, run on the thread pool.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "cpu_rates.h"
#include "device.h"
#include "pool.h"

namespace farrier {
namespace {

constexpr uint64_t memory_align = 256;
constexpr uint64_t max_memory = uint64_t{1} << 56;
constexpr uint64_t huge_page = uint64_t{1} << 21;

// Weights are read front to back: with large pages the walk costs less, and prefetching goes further.
// What does not fill a page stays in small ones. Where the system has none, nothing changes.
void ask_for_huge_pages(void* at, uint64_t bytes) {
#if defined(MADV_HUGEPAGE)
  if (bytes >= huge_page) madvise(at, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#else
  (void)at, (void)bytes;
#endif
}

// A shared object from bytes: what was hashed is what is loaded.
class Library {
 public:
  Library(const Bytes& bytes, const std::string& name) : fd_(memfd_create("farrier-kernels", MFD_CLOEXEC)) {
    if (fd_.get() < 0) fail("E_IO", "memory for " + quoted(name) + " cannot be made: " + errno_text());
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t put = write(fd_.get(), bytes.data() + at, bytes.size() - at);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) fail("E_IO", "memory for " + quoted(name) + ": " + errno_text());
      at += static_cast<size_t>(put);
    }
    path_ = "/proc/self/fd/" + std::to_string(fd_.get());
    handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      const char* why = dlerror();
      fail("E_MODULE", quoted(name) + " cannot be loaded: " + (why == nullptr ? "unknown" : why), "compile the bundle on this machine");
    }
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    dlclose(handle_);
    // The loader knows libraries by name: a descriptor whose library stayed must not be used again.
    if (void* still = dlopen(path_.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
      dlclose(still);
      fd_.release();
    }
  }
  void* symbol(const std::string& name) const { return dlsym(handle_, name.c_str()); }

 private:
  Fd fd_;
  std::string path_;
  void* handle_ = nullptr;
};

class CpuKernels final : public Kernels {
 public:
  CpuKernels(const Bytes& bytes, const std::string& file, const TargetPlans& target) : library_(bytes, file) {
    size_t scratch = 0;
    for (const KernelSpec& kernel : target.kernels) {
      void* found = library_.symbol(kernel.symbol);
      if (found == nullptr) fail("E_MODULE", quoted(file) + " has no kernel " + quoted(kernel.symbol), "compile the model again");
      functions_.push_back({reinterpret_cast<CpuKernel>(found), kernel.scratch_bytes});
      scratch = std::max<size_t>(scratch, kernel.scratch_bytes);
    }
    reserve_scratch(scratch);
  }

  bool launch(const Launch& l, Stream) override {
    const int64_t tasks = l.grid[0];
    if (tasks < 0 || tasks > std::numeric_limits<int32_t>::max())
      fail("E_LAUNCH_DECL", std::string(l.label) + ": " + std::to_string(tasks) + " tasks, limit 0 to 2147483647");
    const Function& f = functions_[l.kernel];
    run_tasks(f.entry, l.buffers, l.scalars, tasks, f.scratch);
    return tasks > 0;
  }

 private:
  struct Function {
    CpuKernel entry;
    size_t scratch;
  };
  Library library_;
  std::vector<Function> functions_;
};

class Cpu final : public Device {
 public:
  Cpu()
      : description_("{\"type\":\"cpu\",\"id\":0,\"name\":\"cpu\",\"isa\":\"" + best_isa() + "\",\"threads\":" + std::to_string(thread_count()) + "}") {}

  ~Cpu() override { free_user_memory(); }

  bool is_cpu() const override { return true; }
  bool owns(int32_t type, int32_t) const override { return type == 1 || type == 3; }
  const std::string& description() const override { return description_; }
  uint64_t tensor_align(const DType& dtype) const override { return std::max(1, dtype.dl.bits / 8); }
  uint64_t workspace_align() const override { return 64; }

  void* alloc(uint64_t bytes) override {
    if (bytes > max_memory) fail("E_RT_OOM", "no host memory for " + std::to_string(bytes) + " bytes");
    const uint64_t rounded = std::max(memory_align, (bytes + memory_align - 1) / memory_align * memory_align);
    void* at = std::aligned_alloc(bytes < huge_page ? memory_align : huge_page, rounded);
    if (at == nullptr) fail("E_RT_OOM", "no host memory for " + std::to_string(bytes) + " bytes");
    ask_for_huge_pages(at, bytes);
    return at;
  }
  void free(void* at) noexcept override { std::free(at); }
  void copy_in(void* to, const void* host, uint64_t bytes, Stream) override { copy(to, host, bytes); }
  void copy_out(void* host, const void* from, uint64_t bytes, Stream) override { copy(host, from, bytes); }
  void zero(void* to, uint64_t bytes, Stream) override {
    if (bytes > 0) std::memset(to, 0, bytes);
  }
  Stream create_stream() override { return nullptr; }
  void destroy_stream(Stream) override {}
  void sync(Stream) override {}

  size_t choose(const Bundle& bundle) const override {
    const auto& targets = bundle.plan().targets;
    const auto found = std::find_if(targets.begin(), targets.end(), [](const TargetPlans& t) { return t.cpu; });
    if (found != targets.end()) return static_cast<size_t>(found - targets.begin());
    std::string has;
    for (const TargetPlans& t : targets) has += (has.empty() ? "" : ", ") + t.name;
    fail("E_TARGET", quoted(bundle.files().path()) + " was not compiled for a CPU, but for " + has, "compile with --target cpu, or run on a GPU");
  }

  uint64_t load_units(const Bundle& bundle, const TargetPlans& target) const override {
    return target.kernels.empty() ? 0 : bundle.manifest().files.at(library(target)).bytes;
  }

  std::unique_ptr<Kernels> load(const Bundle& bundle, const TargetPlans& target, const Advance& advance) override {
    if (target.kernels.empty()) return std::make_unique<NoKernels>();
    bundle.check_native();
    const std::string file = library(target);
    const Bytes bytes = bundle.files().read(file);
    auto kernels = std::make_unique<CpuKernels>(bytes, file, target);
    advance(bytes.size());
    return kernels;
  }

  Warmed warm(const Bundle&, const TargetPlans&, const Advance&) override {
    fail("E_UNSUPPORTED", "kernels of a CPU are compiled with the bundle: there is nothing to keep", "give the GPU that the bundle is for, as in --device cuda:0");
  }

  std::unique_ptr<Graph> capture(const std::function<void(Stream)>&) override {
    fail("E_UNSUPPORTED", "graphs are for GPUs: a CPU has none", "run the entry instead");
  }

  Times time(const Timed& work, int repeats, Stream stream) override {
    using Clock = std::chrono::steady_clock;
    const auto between = [](Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
    std::vector<double> runs, marks;
    std::vector<std::vector<double>> times(work.steps);
    for (int r = 0; r < repeats; r++) {
      const auto start = Clock::now();
      work.whole(stream);
      auto before = Clock::now();
      runs.push_back(between(start, before));
      before = Clock::now();
      for (size_t i = 0; i < work.steps; i++) {
        work.step(stream, i);
        const auto after = Clock::now();
        times[i].push_back(between(before, after));
        before = after;
      }
      marks.push_back(between(before, Clock::now()));
    }
    return {medians(times), median(runs), median(marks)};
  }

  Rates rates() override { return cpu_rates(*this); }

 protected:
  void enter() override {}
  void leave() noexcept override {}

 private:
  class NoKernels final : public Kernels {
    bool launch(const Launch&, Stream) override { return false; }
  };

  static void copy(void* to, const void* from, uint64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  // The best that the machine has, or the one that FARRIER_ISA names.
  static std::string library(const TargetPlans& target) {
    const auto file = [&](const std::string& isa) -> const std::string* {
      for (const auto& library : target.libraries)
        if (library.first == isa) return &library.second;
      return nullptr;
    };
    std::string has;
    for (const auto& l : target.libraries) has += (has.empty() ? "" : ", ") + l.first;
    const char* forced = std::getenv("FARRIER_ISA");
    if (forced != nullptr && *forced != '\0') {
      if (!has_isa(forced)) fail("E_TARGET", "FARRIER_ISA is " + quoted(forced) + ", which this machine cannot run", "its best is " + best_isa());
      if (const std::string* found = file(forced)) return *found;
      fail("E_TARGET", "FARRIER_ISA is " + quoted(forced) + ", which the bundle does not hold", "it holds " + has);
    }
    for (const char* isa : {"avx512", "avx2", "portable"})
      if (const std::string* found = has_isa(isa) ? file(isa) : nullptr) return *found;
    fail("E_TARGET", "the bundle holds CPU kernels for " + has + ", this machine runs " + best_isa(), "compile it here");
  }

  std::string description_;
};

}  // namespace

std::shared_ptr<Device> open_cpu() { return std::make_shared<Cpu>(); }

}  // namespace farrier
