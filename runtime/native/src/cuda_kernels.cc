// Functions of the GPU, and launching them.
#include <cstdlib>

#include "cuda_modules.h"

namespace farrier {
namespace {

constexpr size_t max_arguments = 512;  // 4 KiB of parameters
constexpr int default_shared = 48 * 1024;

// FARRIER_DEPENDENT=0: every kernel begins after the one before has ended, to compare.
bool dependent_launches(const cuda::Driver& driver) {
  const char* wanted = std::getenv("FARRIER_DEPENDENT");
  return driver.launch_ex != nullptr && driver.version >= cuda::dependent_launches && (wanted == nullptr || std::string(wanted) != "0");
}

class CudaKernels final : public Kernels {
 public:
  CudaKernels(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance)
      : device_(device), modules_(device, bundle, target, advance) {
    const Device::Scope scope(device);
    for (const KernelSpec& kernel : target.kernels) functions_.push_back(function(kernel));
  }

  std::string notice() const override { return modules_.notice(); }

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
    Function f{nullptr, kernel.threads, static_cast<unsigned>(kernel.shared_bytes), -1, kernel.dependent && dependent_launches(d)};
    const cuda::Result result = d.module_function(&f.entry, modules_.of(kernel.file), kernel.symbol.c_str());
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
      constexpr cuda::Result beyond_the_last = 1;
      size_t offset = 0, size = 0;
      for (f.parameters = 0; f.parameters <= static_cast<int>(max_arguments); f.parameters++) {
        const cuda::Result found = d.param_info(f.entry, static_cast<size_t>(f.parameters), &offset, &size);
        if (found == beyond_the_last) break;
        device_.check(found, "asking for a kernel's parameters");
      }
    }
    return f;
  }

  Cuda& device_;
  Modules modules_;
  std::vector<Function> functions_;
};

}  // namespace

std::unique_ptr<Kernels> load_cuda_kernels(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance) {
  return std::make_unique<CudaKernels>(device, bundle, target, advance);
}

}  // namespace farrier
