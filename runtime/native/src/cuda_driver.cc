#include "cuda_driver.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

#include "error.h"

namespace farrier::cuda {
namespace {

constexpr const char* cpu_hint = "use --device cpu, or install NVIDIA's driver";

void find(void* library, const char* name, void** at) { *at = dlsym(library, name); }

}  // namespace

Meaning meaning_of(Result result) {
  switch (result) {
    case 2: return {"E_RT_OOM", false};
    case 3: case 34: case 35: case 100: case 101: case 802: case 803: case 804: case 805:
      return {"E_NO_DEVICE", false};
    case 200: case 209: case 218: case 221: case 223: case 300: case 301: case 302: case 303: case 500:
      return {"E_MODULE", false};
    case 222: return {"E_TARGET", false};
    // Device unavailable, ECC, NVLink, contained, launch timeout, hardware stack error.
    case 46: case 214: case 220: case 226: case 702: case 714: return {"E_DEVICE_LOST", true};
    // Illegal address, assert, illegal instruction, misaligned address, address space, program counter, launch failed.
    case 700: case 710: case 715: case 716: case 717: case 718: case 719: return {"E_LAUNCH", true};
    case 701: case 720: return {"E_LAUNCH", false};
    // The context was destroyed under us.
    case 4: case 201: case 709: return {"E_RT_DEAD", true};
    default: return {"E_RT_DEVICE", false};
  }
}

std::string text_of(const Driver& d, Result result) {
  const char *name = nullptr, *text = nullptr;
  if (d.get_error_name != nullptr) d.get_error_name(result, &name);
  if (d.get_error_string != nullptr) d.get_error_string(result, &text);
  std::string out = name == nullptr ? "CUDA error" : name;
  out += " (" + std::to_string(result) + ")";
  if (text != nullptr) out.append(": ").append(text);
  return out;
}

const Driver& driver() {
  static std::mutex mutex;
  static Driver found;
  static bool ready = false;
  const std::lock_guard lock(mutex);
  if (ready) return found;
  const char* forced = std::getenv("FARRIER_CUDA_LIBRARY");
  const char* path = forced != nullptr && *forced != '\0' ? forced : "libcuda.so.1";
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    fail("E_NO_DEVICE", std::string("no NVIDIA driver: ") + (why == nullptr ? path : why), cpu_hint);
  }
  Driver d;
#define FARRIER_FIND(member, name, parameters) find(library, name, reinterpret_cast<void**>(&d.member));
#define FARRIER_NEED(member, name, parameters) \
  FARRIER_FIND(member, name, parameters)       \
  if (d.member == nullptr) fail("E_NO_DEVICE", std::string("the NVIDIA driver is too old: it has no ") + name, "install driver 470 or newer");
  FARRIER_CUDA_FUNCTIONS(FARRIER_NEED)
  FARRIER_CUDA_OPTIONAL(FARRIER_FIND)
#undef FARRIER_NEED
#undef FARRIER_FIND
  if (const Result result = d.init(0); result != 0) fail("E_NO_DEVICE", "the NVIDIA driver does not start: " + text_of(d, result), "use --device cpu, or see that a GPU is visible (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  if (d.driver_version(&d.version) != 0) d.version = 0;
  found = d;
  ready = true;
  return found;
}

}  // namespace farrier::cuda
