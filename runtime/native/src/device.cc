#include "device.h"

#include <algorithm>

namespace farrier {

Memory::Memory(std::shared_ptr<Device> device, uint64_t bytes) : device_(std::move(device)), bytes_(bytes) {
  at_ = device_->alloc(bytes);
}

Memory::~Memory() {
  if (at_ == nullptr) return;
  try {
    const Device::Scope scope(*device_);
    device_->free(at_);
  } catch (...) {
    // A dead device: its memory went with it.
  }
}

void* Device::user_alloc(uint64_t bytes) {
  void* at = alloc(bytes);
  const std::lock_guard lock(user_mutex_);
  user_memory_.insert(at);
  return at;
}

void Device::user_free(void* at) {
  if (at == nullptr) return;
  {
    const std::lock_guard lock(user_mutex_);
    if (user_memory_.erase(at) == 0) fail("E_RT_HANDLE", "the address was not allocated here, or was freed before");
  }
  free(at);
}

void Device::free_user_memory() noexcept {
  for (void* at : user_memory_) free(at);
  user_memory_.clear();
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<double> medians(std::vector<std::vector<double>>& lists) {
  std::vector<double> out;
  for (auto& values : lists) out.push_back(median(values));
  return out;
}

}  // namespace farrier
