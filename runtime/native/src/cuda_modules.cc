#include "cuda_modules.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "pool.h"
#include "sha256.h"

namespace farrier {
namespace {

constexpr size_t log_bytes = 8192;
constexpr size_t most_threads = 16;
// Assembling a byte of PTX takes about as long as copying so many of weights.
constexpr uint64_t units_per_byte = 1000;

// Distinct files of a target's kernels, in order.
std::vector<std::string> files_of(const TargetPlans& target) {
  std::vector<std::string> out;
  for (const KernelSpec& kernel : target.kernels) out.push_back(kernel.file);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

const FileRecord& record_of(const Bundle& bundle, const std::string& file) { return bundle.manifest().files.at(file); }

std::string hash_of(const Bundle& bundle, const std::string& file) {
  const std::string& known = record_of(bundle, file).sha256;
  if (!known.empty()) return known;
  const Bytes text = bundle.files().read(file);
  return sha256(text.data(), text.size());
}

// Assembled code depends on the architecture and on the driver's assembler.
std::string kind_of(const Cuda& device) { return "sm_" + std::to_string(device.capability()) + "-cuda" + device.driver().text(); }

// What the driver says about a text.
class Log {
 public:
  Log() : text_(log_bytes, '\0') {}
  unsigned count() const { return 2; }
  int* options() { return options_; }
  void** values() { return values_; }
  std::string said() const {
    std::string out = text_.data();
    while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
    return out;
  }

 private:
  std::vector<char> text_;
  int options_[2] = {cuda::error_log, cuda::error_log_bytes};
  void* values_[2] = {text_.data(), reinterpret_cast<void*>(log_bytes - 1)};
};

[[noreturn]] void refused(const Cuda& device, const Bundle& bundle, const TargetPlans& target, const std::string& file, cuda::Result result, const std::string& said) {
  constexpr cuda::Result newer_ptx = 222;
  if (result == newer_ptx) {
    const auto needed = bundle.manifest().driver.find(target.name);
    device.throw_failure(result, quoted(file) + " needs " + (needed == bundle.manifest().driver.end() ? "a newer driver" : "driver " + needed->second + " or newer") +
                                     ", found one of CUDA " + device.driver().text(), "update NVIDIA's driver, or compile with --target sm_80");
  }
  device.throw_failure(result, quoted(file) + " was refused by the driver" + (said.empty() ? "" : ":\n" + said + "\n"), "this is a defect of farrier: please report it");
}

Bytes text_of(const Bundle& bundle, const std::string& file) {
  Bytes text = bundle.files().read(file);
  text.push_back(0);
  return text;
}

// `body(i)` for each file, on several threads with the device current: assembling is most of what loading takes.
template <class Body>
void for_each_file(Cuda& device, const Bundle& bundle, const std::vector<std::string>& files, const Advance& advance, const Body& body) {
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](bool caller) {
    try {
      const Device::Scope scope(device);
      for (size_t i; (i = next++) < files.size();) {
        body(i);
        done += record_of(bundle, files[i]).bytes * units_per_byte;
        if (caller) advance(done.exchange(0));
      }
    } catch (...) {
      next = files.size();
      const std::lock_guard lock(mutex);
      if (failure == nullptr) failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  const size_t count = std::min<size_t>({files.size(), static_cast<size_t>(thread_count()), most_threads});
  for (size_t i = 1; i < count; i++) threads.emplace_back(work, false);
  work(true);
  for (std::thread& thread : threads) thread.join();
  if (failure != nullptr) std::rethrow_exception(failure);
  advance(done.exchange(0));
}

// A text, assembled by the driver's linker.
Bytes assembled(const Cuda& device, const Bundle& bundle, const TargetPlans& target, const std::string& file) {
  struct Link {
    const cuda::Driver& driver;
    cuda::LinkState state = nullptr;
    ~Link() {
      if (state != nullptr) driver.link_destroy(state);
    }
  };
  const cuda::Driver& driver = device.driver();
  Bytes text = text_of(bundle, file);
  Log log;
  Link link{driver};
  void* code = nullptr;
  size_t bytes = 0;
  cuda::Result result = driver.link_create(log.count(), log.options(), log.values(), &link.state);
  if (result == 0) result = driver.link_add(link.state, cuda::input_ptx, text.data(), text.size(), file.c_str(), 0, nullptr, nullptr);
  if (result == 0) result = driver.link_complete(link.state, &code, &bytes);
  if (result != 0) refused(device, bundle, target, file, result, log.said());
  const auto* at = static_cast<const uint8_t*>(code);
  return {at, at + bytes};
}

}  // namespace

Modules::Modules(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance)
    : device_(device), kept_(bundle.files().path(), kind_of(device)), files_(files_of(target)), loaded_(files_.size()) {
  for_each_file(device, bundle, files_, advance, [&](size_t i) { load(bundle, target, i); });
}

Modules::~Modules() {
  const cuda::Driver& driver = device_.driver();
  try {
    const Device::Scope scope(device_);
    for (const Loaded& loaded : loaded_)
      if (loaded.library != nullptr) driver.library_unload(loaded.library);
      else if (loaded.module != nullptr) driver.module_unload(loaded.module);
  } catch (const Error&) {
    // A dead device: its modules went with it.
  }
}

cuda::Module Modules::of(const std::string& file) const {
  return loaded_[static_cast<size_t>(std::lower_bound(files_.begin(), files_.end(), file) - files_.begin())].module;
}

void Modules::load(const Bundle& bundle, const TargetPlans& target, size_t index) {
  const std::string& file = files_[index];
  const std::string hash = hash_of(bundle, file);
  if (const auto kept = kept_.find(hash)) {
    const cuda::Result result = load_code(*kept, nullptr, loaded_[index]);
    if (result == 0) return;
    // Out of memory, or a lost device, are not the file's fault.
    if (std::string(cuda::meaning_of(result).code) != "E_MODULE") device_.throw_failure(result, "loading " + quoted(file));
    kept_.throw_away(hash, "is not what this driver takes");
  }
  std::string log;
  const cuda::Result result = load_code(text_of(bundle, file), &log, loaded_[index]);
  if (result != 0) refused(device_, bundle, target, file, result, log);
}

// A library's text is assembled without the lock that a module's takes, so that several are at once.
cuda::Result Modules::load_code(const Bytes& code, std::string* said, Loaded& out) {
  const cuda::Driver& driver = device_.driver();
  Log log;
  cuda::Result result;
  if (driver.library_load == nullptr || driver.library_module == nullptr || driver.library_unload == nullptr) {
    result = driver.module_load(&out.module, code.data(), log.count(), log.options(), log.values());
  } else {
    result = driver.library_load(&out.library, code.data(), log.options(), log.values(), log.count(), nullptr, nullptr, 0);
    if (result == 0) {
      result = driver.library_module(&out.module, out.library);
      if (result != 0) driver.library_unload(out.library);
    }
  }
  if (result == 0) return 0;
  out = {};
  if (said != nullptr) *said = log.said();
  return result;
}

Warmed warm_cuda(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance) {
  Kept kept(bundle.files().path(), kind_of(device));
  const std::vector<std::string> files = files_of(target);
  std::atomic<uint64_t> bytes = 0;
  std::atomic<size_t> made = 0;
  for_each_file(device, bundle, files, advance, [&](size_t i) {
    const std::string hash = hash_of(bundle, files[i]);
    if (const auto known = kept.find(hash)) {
      bytes += known->size();
      return;
    }
    const Bytes code = assembled(device, bundle, target, files[i]);
    kept.keep(hash, code);
    bytes += code.size();
    made++;
  });
  return {kept.directory(), files.size(), made, bytes};
}

uint64_t cuda_load_units(const Bundle& bundle, const TargetPlans& target) {
  uint64_t units = 0;
  for (const std::string& file : files_of(target)) units += record_of(bundle, file).bytes * units_per_byte;
  return units;
}

}  // namespace farrier
