// One GPU through the CUDA driver.
#pragma once

#include <string>
#include <vector>

#include "cuda_driver.h"
#include "device.h"

namespace farrier {

class Cuda final : public Device {
 public:
  explicit Cuda(int id);
  ~Cuda() override;

  bool is_cpu() const override { return false; }
  bool is_dead() const override;
  bool owns(int32_t type, int32_t id) const override { return (type == 2 || type == 13) && id == id_; }
  const std::string& description() const override { return description_; }
  uint64_t tensor_align(const DType&) const override { return 16; }
  uint64_t workspace_align() const override { return FARRIER_WORKSPACE_ALIGN; }

  void* alloc(uint64_t bytes) override;
  void free(void* at) noexcept override;
  void copy_in(void* to, const void* host, uint64_t bytes, farrier::Stream stream) override;
  void copy_out(void* host, const void* from, uint64_t bytes, farrier::Stream stream) override;
  void zero(void* to, uint64_t bytes, farrier::Stream stream) override;
  farrier::Stream create_stream() override;
  void destroy_stream(farrier::Stream stream) override;
  void sync(farrier::Stream stream) override;
  size_t choose(const Bundle& bundle) const override;
  uint64_t load_units(const Bundle& bundle, const TargetPlans& target) const override;
  std::unique_ptr<Kernels> load(const Bundle& bundle, const TargetPlans& target, const Advance& advance) override;
  Warmed warm(const Bundle& bundle, const TargetPlans& target, const Advance& advance) override;
  std::unique_ptr<farrier::Graph> capture(const std::function<void(farrier::Stream)>& body) override;
  Times time(const Timed& work, int repeats, farrier::Stream stream) override;
  Rates rates() override;

  // Throws what a result means; marks the device dead where it is.
  void check(cuda::Result result, const char* what) const {
    if (result != 0) throw_failure(result, what);
  }
  [[noreturn]] void throw_failure(cuda::Result result, const std::string& what, const std::string& hint = {}) const;
  void check_alive() const;  // E_RT_DEAD
  const cuda::Driver& driver() const { return driver_; }
  int shared_opt_in() const { return shared_opt_in_; }
  int capability() const { return capability_; }
  // For kernels that are loaded by threads of their own.
  void enter() override;
  void leave() noexcept override;

 private:
  const cuda::Driver& driver_;
  int id_, capability_ = 0, shared_opt_in_ = 0;
  cuda::Ordinal ordinal_ = 0;
  cuda::Context context_ = nullptr;
  std::string description_;
};

// PTX of a target, assembled by the driver. Within no Scope: it makes its own.
std::unique_ptr<Kernels> load_cuda_kernels(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance);

}  // namespace farrier
