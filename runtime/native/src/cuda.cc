#include "cuda.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "cuda_modules.h"

namespace farrier {
namespace {

using cuda::Result;

constexpr int max_devices = 1024;
// A context that a kernel broke stays broken for the process: everyone is told at once.
std::atomic<Result> dead[max_devices];

cuda::Pointer pointer(const void* at) { return reinterpret_cast<cuda::Pointer>(at); }
cuda::Stream stream_of(farrier::Stream stream) { return static_cast<cuda::Stream>(stream); }

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text)
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') out += c;
  return out + "\"";
}

std::string capability_text(int capability) { return std::to_string(capability / 10) + "." + std::to_string(capability % 10); }

// Compute capability and suffix of "sm_90a"; 0 for what is no NVIDIA target.
int target_capability(const std::string& name, char& suffix) {
  if (name.rfind("sm_", 0) != 0) return 0;
  int number = 0;
  size_t at = 3;
  for (; at < name.size() && name[at] >= '0' && name[at] <= '9' && number < 10000; at++) number = number * 10 + (name[at] - '0');
  suffix = at < name.size() ? name[at] : '\0';
  return at + (suffix != '\0' ? 1 : 0) == name.size() ? number : 0;
}

// How well a target suits a GPU: 0 not at all, else higher is better.
int fitness(const std::string& name, int capability) {
  char suffix = '\0';
  const int number = target_capability(name, suffix);
  if (number == 0 || number > capability) return 0;
  if (suffix == 'a') return number == capability ? 10 * number + 2 : 0;
  if (suffix == 'f') return number / 10 == capability / 10 ? 10 * number + 1 : 0;
  return suffix == '\0' ? 10 * number : 0;
}

class CudaGraph final : public Graph {
 public:
  CudaGraph(Cuda& device, cuda::GraphExec exec) : device_(device), exec_(exec) {}
  ~CudaGraph() override {
    try {
      const Device::Scope scope(device_);
      device_.driver().graph_exec_destroy(exec_);
    } catch (const Error&) {
      // A dead device: nothing is left to free.
    }
  }
  void launch(farrier::Stream stream) override { device_.check(device_.driver().graph_launch(exec_, stream_of(stream)), "launching a graph"); }

 private:
  Cuda& device_;
  cuda::GraphExec exec_;
};

}  // namespace

Cuda::Cuda(int id) : driver_(cuda::driver()), id_(id) {
  int count = 0;
  check(driver_.device_count(&count), "counting GPUs");
  if (id < 0 || id >= std::min(count, max_devices))
    fail("E_NO_DEVICE", "there is no GPU " + std::to_string(id) + ": the driver shows " + std::to_string(count), "use --device cpu, or see that it is visible (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  check(driver_.device_get(&ordinal_, id), "opening a GPU");
  const auto attribute = [&](cuda::DeviceAttribute which) {
    int value = 0;
    check(driver_.device_attribute(&value, which, ordinal_), "asking a GPU for an attribute");
    return value;
  };
  capability_ = attribute(cuda::capability_major) * 10 + attribute(cuda::capability_minor);
  shared_opt_in_ = attribute(cuda::shared_opt_in);
  char name[256] = "";
  size_t memory = 0;
  check(driver_.device_name(name, sizeof name - 1, ordinal_), "asking a GPU for its name");
  check(driver_.device_memory(&memory, ordinal_), "asking a GPU for its memory");
  description_ = "{\"type\":\"cuda\",\"id\":" + std::to_string(id) + ",\"name\":" + json_text(name) + ",\"capability\":\"" + capability_text(capability_) +
                 "\",\"driver\":\"" + driver_.text() + "\",\"memory\":" + std::to_string(memory) + ",\"multiprocessors\":" + std::to_string(attribute(cuda::multiprocessors)) +
                 ",\"sharedOptIn\":" + std::to_string(shared_opt_in_) + "}";
  check_alive();
  check(driver_.primary_retain(&context_, ordinal_), "opening a GPU's context");
}

Cuda::~Cuda() {
  const bool current = driver_.push(context_) == 0;
  free_user_memory();
  if (current) leave();
  driver_.primary_release(ordinal_);
}

void Cuda::throw_failure(Result result, const std::string& what, const std::string& hint) const {
  const cuda::Meaning meaning = cuda::meaning_of(result);
  const std::string text = what + ": " + cuda::text_of(driver_, result);
  if (!meaning.dead) {
    if (result == 2) {
      size_t free = 0, total = 0;
      if (driver_.memory_info(&free, &total) == 0)
        fail(meaning.code, text + "; " + std::to_string(free) + " of " + std::to_string(total) + " bytes are free", "free memory on the GPU, or compile for smaller shapes");
    }
    fail(meaning.code, text, hint);
  }
  dead[id_] = result;
  fail(meaning.code, text, std::string(meaning.code) == "E_DEVICE_LOST" ? "see dmesg for an Xid; start a new process" : "the GPU's context is lost: start a new process");
}

bool Cuda::is_dead() const { return dead[id_] != 0; }

void Cuda::check_alive() const {
  if (const Result why = dead[id_]; why != 0)
    fail("E_RT_DEAD", "GPU " + std::to_string(id_) + " failed earlier in this process: " + cuda::text_of(driver_, why), "start a new process");
}

void Cuda::enter() {
  check_alive();
  check(driver_.push(context_), "entering a GPU's context");
}

void Cuda::leave() noexcept {
  cuda::Context ours = nullptr;
  driver_.pop(&ours);
}

void* Cuda::alloc(uint64_t bytes) {
  cuda::Pointer at = 0;
  const Result result = driver_.alloc(&at, std::max<uint64_t>(bytes, 1));
  if (result != 0) throw_failure(result, "allocating " + std::to_string(bytes) + " bytes");
  return reinterpret_cast<void*>(static_cast<uintptr_t>(at));
}

void Cuda::free(void* at) noexcept { driver_.free(pointer(at)); }

void Cuda::copy_in(void* to, const void* host, uint64_t bytes, farrier::Stream stream) {
  if (bytes > 0) check(driver_.copy_in(pointer(to), host, bytes, stream_of(stream)), "copying to a GPU");
}

void Cuda::copy_out(void* host, const void* from, uint64_t bytes, farrier::Stream stream) {
  if (bytes > 0) check(driver_.copy_out(host, pointer(from), bytes, stream_of(stream)), "copying from a GPU");
}

void Cuda::zero(void* to, uint64_t bytes, farrier::Stream stream) {
  if (bytes == 0) return;
  check(bytes == sizeof(uint64_t) ? driver_.fill32(pointer(to), 0, 2, stream_of(stream)) : driver_.fill8(pointer(to), 0, bytes, stream_of(stream)), "zeroing memory of a GPU");
}

farrier::Stream Cuda::create_stream() {
  cuda::Stream stream = nullptr;
  check(driver_.stream_create(&stream, cuda::stream_non_blocking), "making a stream");
  return stream;
}

void Cuda::destroy_stream(farrier::Stream stream) {
  if (stream != nullptr) check(driver_.stream_destroy(stream_of(stream)), "freeing a stream");
}

void Cuda::sync(farrier::Stream stream) { check(driver_.stream_sync(stream_of(stream)), "waiting for a GPU"); }

size_t Cuda::choose(const Bundle& bundle) const {
  const auto& targets = bundle.plan().targets;
  size_t best = targets.size();
  int fit = 0;
  std::string has;
  for (size_t i = 0; i < targets.size(); i++) {
    has += (i > 0 ? ", " : "") + targets[i].name;
    const int found = fitness(targets[i].name, capability_);
    if (found <= fit) continue;
    fit = found;
    best = i;
  }
  if (best < targets.size()) return best;
  fail("E_TARGET", quoted(bundle.files().path()) + " was compiled for " + has + ", this GPU has compute capability " + capability_text(capability_),
       "compile with --target sm_80, which every GPU of capability 8.0 or above runs");
}

uint64_t Cuda::load_units(const Bundle& bundle, const TargetPlans& target) const { return cuda_load_units(bundle, target); }

std::unique_ptr<Kernels> Cuda::load(const Bundle& bundle, const TargetPlans& target, const Advance& advance) {
  return load_cuda_kernels(*this, bundle, target, advance);
}

Warmed Cuda::warm(const Bundle& bundle, const TargetPlans& target, const Advance& advance) { return warm_cuda(*this, bundle, target, advance); }

std::unique_ptr<Graph> Cuda::capture(const std::function<void(farrier::Stream)>& body) {
  struct Recording {
    Cuda& device;
    farrier::Stream stream;
    cuda::Graph graph = nullptr;
    bool open = false;
    ~Recording() {
      if (open) device.driver_.end_capture(stream_of(stream), &graph);
      if (graph != nullptr) device.driver_.graph_destroy(graph);
      device.driver_.stream_destroy(stream_of(stream));
    }
  };
  Recording recording{*this, create_stream()};
  check(driver_.begin_capture(stream_of(recording.stream), cuda::capture_thread_local), "recording a graph");
  recording.open = true;
  body(recording.stream);
  recording.open = false;
  check(driver_.end_capture(stream_of(recording.stream), &recording.graph), "recording a graph");
  cuda::GraphExec exec = nullptr;
  check(driver_.graph_instantiate(&exec, recording.graph, 0), "instantiating a graph");
  return std::make_unique<CudaGraph>(*this, exec);
}

Times Cuda::time(const Timed& work, int repeats, farrier::Stream stream) {
  const size_t steps = work.steps;
  struct Events {
    Cuda& device;
    std::vector<cuda::Event> list;
    ~Events() {
      for (cuda::Event event : list) device.driver_.event_destroy(event);
    }
  };
  // Before each step and after the last, and once more: an interval without a step.
  Events events{*this, {}};
  for (size_t i = 0; i < steps + 2; i++) {
    cuda::Event event = nullptr;
    check(driver_.event_create(&event, cuda::event_default), "making an event");
    events.list.push_back(event);
  }
  const auto mark = [&](farrier::Stream to, size_t i) {
    check(driver_.event_record(events.list[i], stream_of(to), cuda::event_record_external), "recording an event");
  };
  const auto between = [&](size_t from, size_t to) {
    float ms = 0;
    check(driver_.event_elapsed(&ms, events.list[from], events.list[to]), "reading an event");
    return static_cast<double>(ms);
  };
  // In a graph the GPU never waits for the host between two steps: small kernels are timed, not their launches.
  const std::unique_ptr<Graph> whole = capture([&](farrier::Stream to) {
    mark(to, 0);
    work.whole(to);
    mark(to, steps);
  });
  const std::unique_ptr<Graph> parts = capture([&](farrier::Stream to) {
    for (size_t i = 0; i < steps + 2; i++) {
      mark(to, i);
      if (i < steps) work.step(to, i);
    }
  });
  std::vector<double> runs, marks;
  std::vector<std::vector<double>> times(steps);
  for (int r = 0; r < repeats; r++) {
    whole->launch(stream);
    sync(stream);
    runs.push_back(between(0, steps));
    parts->launch(stream);
    sync(stream);
    for (size_t i = 0; i < steps; i++) times[i].push_back(between(i, i + 1));
    marks.push_back(between(steps, steps + 1));
  }
  return {medians(times), median(runs), median(marks)};
}

Rates Cuda::rates() {
  size_t free = 0, total = 0;
  check(driver_.memory_info(&free, &total), "asking a GPU for its memory");
  // Far more than its caches hold.
  const uint64_t bytes = std::min<uint64_t>(uint64_t{1} << 30, free / 4 / 256 * 256);
  struct Buffer {
    Cuda& device;
    void* at;
    ~Buffer() { device.free(at); }
  };
  const Buffer from{*this, alloc(bytes)}, to{*this, alloc(bytes)};
  struct OwnStream {
    Cuda& device;
    farrier::Stream stream;
    ~OwnStream() { device.driver_.stream_destroy(stream_of(stream)); }
  };
  const OwnStream own{*this, create_stream()};
  const auto step = [&](farrier::Stream in, size_t) {
    check(driver_.copy_within(pointer(to.at), pointer(from.at), bytes, stream_of(in)), "copying within a GPU");
  };
  const Times times = time({1, step}, 5, own.stream);
  return {times.run > 0 ? 2e3 * static_cast<double>(bytes) / times.run : 0, 0};
}

std::shared_ptr<Device> open_cuda(int id) { return std::make_shared<Cuda>(id); }

}  // namespace farrier
