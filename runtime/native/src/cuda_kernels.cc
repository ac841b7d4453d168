// PTX to functions of the GPU, and launching them.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

#include "cuda.h"
#include "pool.h"

namespace farrier {
namespace {

constexpr size_t max_arguments = 512;  // 4 KiB of parameters
constexpr size_t log_bytes = 8192;
constexpr int default_shared = 48 * 1024;
// Assembling a byte of PTX takes about as long as copying so many of weights.
constexpr uint64_t units_per_byte = 1000;

class Modules {
 public:
  Modules(Cuda& device, size_t count) : device_(device), list_(count, nullptr) {}
  Modules(const Modules&) = delete;
  Modules& operator=(const Modules&) = delete;
  ~Modules() {
    try {
      const Device::Scope scope(device_);
      for (cuda::Module module : list_)
        if (module != nullptr) device_.driver().module_unload(module);
    } catch (const Error&) {
      // A dead device: its modules went with it.
    }
  }
  cuda::Module& operator[](size_t index) { return list_[index]; }

 private:
  Cuda& device_;
  std::vector<cuda::Module> list_;
};

void assemble(Cuda& device, const Bundle& bundle, const TargetPlans& target, const std::string& file, cuda::Module& out) {
  Bytes text = bundle.files().read(file);
  text.push_back(0);
  std::vector<char> log(log_bytes, '\0');
  int options[] = {cuda::error_log, cuda::error_log_bytes};
  void* values[] = {log.data(), reinterpret_cast<void*>(log_bytes - 1)};
  const cuda::Result result = device.driver().module_load(&out, text.data(), 2, options, values);
  if (result == 0) return;
  out = nullptr;
  if (result == 222) {
    const auto needed = bundle.manifest().driver.find(target.name);
    device.throw_failure(result, quoted(file) + " needs " + (needed == bundle.manifest().driver.end() ? "a newer driver" : "driver " + needed->second + " or newer") +
                                     ", found one of CUDA " + device.driver().text(), "update NVIDIA's driver, or compile with --target sm_80");
  }
  std::string said = log.data();
  while (!said.empty() && (said.back() == '\n' || said.back() == ' ')) said.pop_back();
  device.throw_failure(result, quoted(file) + " was refused by the driver" + (said.empty() ? "" : ":\n" + said + "\n"), "this is a defect of farrier: please report it");
}

// Distinct files of a target's kernels, in order.
std::vector<std::string> files_of(const TargetPlans& target) {
  std::vector<std::string> out;
  for (const KernelSpec& kernel : target.kernels) out.push_back(kernel.file);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// Assembles all files on several threads: it is most of the time that loading takes.
void assemble_all(Cuda& device, const Bundle& bundle, const TargetPlans& target, const std::vector<std::string>& files, Modules& modules, const Advance& advance) {
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](bool caller) {
    try {
      const Device::Scope scope(device);
      for (size_t i; (i = next++) < files.size();) {
        assemble(device, bundle, target, files[i], modules[i]);
        done += bundle.manifest().files.at(files[i]).bytes * units_per_byte;
        if (caller) advance(done.exchange(0));
      }
    } catch (...) {
      next = files.size();
      const std::lock_guard lock(mutex);
      if (failure == nullptr) failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  const size_t count = std::min<size_t>({files.size(), static_cast<size_t>(thread_count()), 16});
  for (size_t i = 1; i < count; i++) threads.emplace_back(work, false);
  work(true);
  for (std::thread& thread : threads) thread.join();
  if (failure != nullptr) std::rethrow_exception(failure);
  advance(done.exchange(0));
}

// FARRIER_DEPENDENT=0: every kernel begins after the one before has ended, to compare.
bool dependent_launches(const cuda::Driver& driver) {
  const char* wanted = std::getenv("FARRIER_DEPENDENT");
  return driver.launch_ex != nullptr && driver.version >= cuda::dependent_launches && (wanted == nullptr || std::string(wanted) != "0");
}

class CudaKernels final : public Kernels {
 public:
  CudaKernels(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance)
      : device_(device), files_(files_of(target)), modules_(device, files_.size()) {
    assemble_all(device, bundle, target, files_, modules_, advance);
    const Device::Scope scope(device);
    for (const KernelSpec& kernel : target.kernels) functions_.push_back(function(kernel));
  }

  bool launch(const Launch& l, farrier::Stream stream) override {
    constexpr int64_t limits[] = {2147483647, 65535, 65535};
    for (int i = 0; i < 3; i++)
      if (l.grid[i] < 0 || l.grid[i] > limits[i])
        fail("E_LAUNCH_DECL", std::string(l.label) + ": grid dimension " + std::to_string(i) + " is " + std::to_string(l.grid[i]) + ", limit " + std::to_string(limits[i]));
    if (l.grid[0] == 0 || l.grid[1] == 0 || l.grid[2] == 0) return false;
    const Function& f = functions_[l.kernel];
    const size_t arguments = l.n_buffers + l.n_scalars;
    if (arguments > max_arguments || (f.parameters >= 0 && static_cast<size_t>(f.parameters) != arguments))
      fail("E_LAUNCH_DECL", std::string(l.label) + ": " + std::to_string(arguments) + " arguments for a kernel with " + std::to_string(f.parameters) + " parameters");
    void* parameters[max_arguments];
    for (size_t i = 0; i < l.n_buffers; i++) parameters[i] = const_cast<void**>(&l.buffers[i]);
    for (size_t i = 0; i < l.n_scalars; i++) parameters[l.n_buffers + i] = const_cast<int64_t*>(&l.scalars[i]);
    const unsigned grid[] = {static_cast<unsigned>(l.grid[0]), static_cast<unsigned>(l.grid[1]), static_cast<unsigned>(l.grid[2])};
    const auto to = static_cast<cuda::Stream>(stream);
    const cuda::Driver& d = device_.driver();
    cuda::Result result;
    if (f.dependent && l.after_kernel) {
      cuda::LaunchAttribute early{cuda::programmatic_serialization, {}, {1}};
      const cuda::LaunchConfig config{{grid[0], grid[1], grid[2]}, {f.threads, 1, 1}, f.shared, to, &early, 1};
      result = d.launch_ex(&config, f.entry, parameters, nullptr);
    } else {
      result = d.launch(f.entry, grid[0], grid[1], grid[2], f.threads, 1, 1, f.shared, to, parameters, nullptr);
    }
    if (result != 0) device_.throw_failure(result, std::string("launching ") + l.label);
    return true;
  }

 private:
  struct Function {
    cuda::Function entry = nullptr;
    unsigned threads = 0, shared = 0;
    int parameters = -1;  // unknown
    bool dependent = false;
  };

  Function function(const KernelSpec& kernel) {
    const cuda::Driver& d = device_.driver();
    const auto file = std::find(files_.begin(), files_.end(), kernel.file);
    Function f{nullptr, kernel.threads, static_cast<unsigned>(kernel.shared_bytes), -1, kernel.dependent && dependent_launches(d)};
    const cuda::Result result = d.module_function(&f.entry, modules_[static_cast<size_t>(file - files_.begin())], kernel.symbol.c_str());
    if (result != 0) device_.throw_failure(result, quoted(kernel.file) + " has no kernel " + quoted(kernel.symbol), "compile the model again");
    const auto attribute = [&](cuda::FunctionAttribute which) {
      int value = 0;
      device_.check(d.function_attribute(&value, which, f.entry), "asking for a kernel's attribute");
      return value;
    };
    if (const int most = attribute(cuda::max_threads); static_cast<int>(kernel.threads) > most)
      fail("E_LAUNCH_DECL", quoted(kernel.symbol) + " wants blocks of " + std::to_string(kernel.threads) + " threads, limit " + std::to_string(most));
    const uint64_t shared = kernel.shared_bytes + static_cast<uint64_t>(attribute(cuda::static_shared));
    if (shared > static_cast<uint64_t>(device_.shared_opt_in()))
      fail("E_LAUNCH_DECL", quoted(kernel.symbol) + " wants " + std::to_string(shared) + " bytes of shared memory, this GPU's blocks have " + std::to_string(device_.shared_opt_in()));
    if (shared > default_shared)
      device_.check(d.set_function_attribute(f.entry, cuda::max_dynamic_shared, static_cast<int>(kernel.shared_bytes)), "asking for shared memory");
    if (d.param_info != nullptr) {
      size_t offset = 0, size = 0;
      f.parameters = 0;
      while (f.parameters <= static_cast<int>(max_arguments) && d.param_info(f.entry, static_cast<size_t>(f.parameters), &offset, &size) == 0) f.parameters++;
    }
    return f;
  }

  Cuda& device_;
  std::vector<std::string> files_;
  Modules modules_;
  std::vector<Function> functions_;
};

}  // namespace

std::unique_ptr<Kernels> load_cuda_kernels(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance) {
  return std::make_unique<CudaKernels>(device, bundle, target, advance);
}

uint64_t cuda_load_units(const Bundle& bundle, const TargetPlans& target) {
  uint64_t units = 0;
  for (const std::string& file : files_of(target)) units += bundle.manifest().files.at(file).bytes * units_per_byte;
  return units;
}

}  // namespace farrier
