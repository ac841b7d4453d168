// A bundle's kernels and weights on a device, and its persistent state.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle.h"
#include "device.h"
#include "object.h"

namespace farrier {

class Sources;

class Weights : public Object {
 public:
  static constexpr Kind object_kind = Kind::weights;
  Weights(std::shared_ptr<Bundle> bundle, std::shared_ptr<Device> device, const farrier_bind_options& options);

  const Bundle& bundle() const { return *bundle_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  const TargetPlans& target() const { return bundle_->plan().targets[target_]; }
  const std::vector<Plan>& plans(size_t entry) const { return target().plans[entry]; }
  Kernels& kernels() const { return *kernels_; }
  void* weight(size_t index) const { return weight_at_[index]; }
  void* source(size_t index) const { return source_at_[index]; }
  uint64_t bytes() const { return bytes_; }
  const std::string& notice() const { return notice_; }

 private:
  void find_last_uses();
  void take(const farrier_named_tensor& given, Sources& sources);
  void bind(size_t weight, Sources& sources, const Advance& advance);
  void run_step(const Step& step, void* arena);
  void need(size_t source, Sources& sources, const Advance& advance);
  void drop_after(size_t weight);

  std::shared_ptr<Bundle> bundle_;
  std::shared_ptr<Device> device_;
  size_t target_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<size_t> last_use_;  // of a source: index of a weight, or `kept`, or `unused`
  std::vector<Memory> source_memory_, weight_memory_;
  std::vector<void*> source_at_, weight_at_;
  std::vector<int64_t> symbols_;
  uint64_t bytes_ = 0;
  std::string notice_;
};

class State : public Object {
 public:
  struct Tensor {
    void* at = nullptr;
    uint64_t bytes = 0;
  };

  static constexpr Kind object_kind = Kind::state;
  explicit State(std::shared_ptr<Weights> weights);
  // In memory of the caller. E_RT_STATE.
  State(std::shared_ptr<Weights> weights, const farrier_tensor* const* tensors, size_t count);

  const Weights& weights() const { return *weights_; }
  size_t size() const { return tensors_.size(); }
  const Tensor& operator[](size_t index) const { return tensors_[index]; }
  void reset(Stream stream);

 private:
  std::shared_ptr<Weights> weights_;
  std::vector<Memory> memory_;
  std::vector<Tensor> tensors_;
};

}  // namespace farrier
