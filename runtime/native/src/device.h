// What the runtime asks of a device: memory, copies, kernels, times. One implementation a driver.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "bundle.h"
#include "object.h"

namespace farrier {

using Stream = void*;
// Called with units done since the last call; throws to stop.
using Advance = std::function<void(uint64_t)>;

struct Launch {
  uint32_t kernel = 0;
  void* const* buffers = nullptr;
  size_t n_buffers = 0;
  const int64_t* scalars = nullptr;
  size_t n_scalars = 0;
  int64_t grid[3] = {1, 1, 1};  // CPU: tasks in the first
  const char* label = "";
  bool after_kernel = false;  // of the same run, with nothing between in the stream
};

// Assembled kernels that are kept: see farrier_warm.
struct Warmed {
  std::string directory;
  size_t kernels = 0, made = 0;
  uint64_t bytes = 0;
};

// What is timed. `step` puts one step into a stream, which begins after the one before has ended; `run`, where it is given,
// puts a whole run, whose steps may overlap.
struct Timed {
  size_t steps = 0;
  std::function<void(Stream, size_t)> step;
  std::function<void(Stream)> run = nullptr;
  void whole(Stream stream) const {
    if (run != nullptr) return run(stream);
    for (size_t i = 0; i < steps; i++) step(stream, i);
  }
};

// Medians, in milliseconds: see farrier_times.
struct Times {
  std::vector<double> steps;
  double run = 0, mark = 0;
};

// What a device does in a second: see farrier_rates.
struct Rates {
  double bytes = 0, operations = 0;
};

// The kernels of a target, loaded.
class Kernels {
 public:
  virtual ~Kernels() = default;
  // Never allocates or waits. False: an empty grid, which is nothing. E_LAUNCH_DECL, E_LAUNCH.
  virtual bool launch(const Launch& launch, Stream stream) = 0;
  // What whoever loaded them should know; "" if nothing.
  virtual std::string notice() const { return {}; }
};

class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch(Stream stream) = 0;
};

class Device : public Object {
 public:
  static constexpr Kind object_kind = Kind::device;
  Device() : Object(Kind::device) {}

  virtual bool is_cpu() const = 0;
  virtual bool is_dead() const { return false; }  // lost with all that it held: freeing is nothing
  virtual bool owns(int32_t type, int32_t id) const = 0;  // of a tensor's device
  virtual const std::string& description() const = 0;
  virtual uint64_t tensor_align(const DType& dtype) const = 0;
  virtual uint64_t workspace_align() const = 0;

  // Makes the device current for the calling thread while it lives. E_RT_DEAD.
  class Scope {
   public:
    explicit Scope(Device& device) : device_(device) { device_.enter(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { device_.leave(); }

   private:
    Device& device_;
  };

  // All of these within a Scope.
  virtual void* alloc(uint64_t bytes) = 0;  // never nullptr; E_RT_OOM
  virtual void free(void* at) noexcept = 0;
  // In stream order: `host` must stay until the stream was waited for.
  virtual void copy_in(void* to, const void* host, uint64_t bytes, Stream stream) = 0;
  virtual void copy_out(void* host, const void* from, uint64_t bytes, Stream stream) = 0;
  virtual void zero(void* to, uint64_t bytes, Stream stream) = 0;  // in stream order
  virtual Stream create_stream() = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual void sync(Stream stream) = 0;
  // Which of the bundle's targets runs here. E_TARGET.
  virtual size_t choose(const Bundle& bundle) const = 0;
  // Loading its kernels, in units of progress: about a byte of weights each.
  virtual uint64_t load_units(const Bundle& bundle, const TargetPlans& target) const = 0;
  virtual std::unique_ptr<Kernels> load(const Bundle& bundle, const TargetPlans& target, const Advance& advance) = 0;
  // Keeps what loading would assemble. E_UNSUPPORTED, E_IO.
  virtual Warmed warm(const Bundle& bundle, const TargetPlans& target, const Advance& advance) = 0;
  // Records what `body` puts into the stream that it is given. E_UNSUPPORTED.
  virtual std::unique_ptr<Graph> capture(const std::function<void(Stream)>& body) = 0;
  // All steps, `repeats` times with marks and without.
  virtual Times time(const Timed& work, int repeats, Stream stream) = 0;
  virtual Rates rates() = 0;

  // Memory of the caller's own, so that it can neither be freed twice nor outlive the device.
  void* user_alloc(uint64_t bytes);
  void user_free(void* at);

 protected:
  virtual void enter() = 0;
  virtual void leave() noexcept = 0;
  void free_user_memory() noexcept;  // for destructors, within a Scope

 private:
  std::mutex user_mutex_;
  std::set<void*> user_memory_;
};

// Memory of a device; keeps the device alive. Freed in a Scope of its own.
class Memory {
 public:
  Memory() = default;
  Memory(std::shared_ptr<Device> device, uint64_t bytes);  // within a Scope
  Memory(Memory&& other) noexcept : device_(std::move(other.device_)), at_(other.at_), bytes_(other.bytes_) { other.at_ = nullptr; }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory();
  void* at() const { return at_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Device> device_;
  void* at_ = nullptr;
  uint64_t bytes_ = 0;
};

std::shared_ptr<Device> open_cpu();
std::shared_ptr<Device> open_cuda(int id);
double median(std::vector<double>& values);
std::vector<double> medians(std::vector<std::vector<double>>& lists);

}  // namespace farrier
