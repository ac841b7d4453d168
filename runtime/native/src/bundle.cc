#include "bundle.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "pool.h"

namespace farrier {
namespace {

std::string text_of(const CheckedFiles& files) {
  const Bytes bytes = files.read("plan.json");
  return {bytes.begin(), bytes.end()};
}

template <class Items>
void check_names(const char* what, const std::vector<std::string>& manifest, const Items& plan) {
  bool same = manifest.size() == plan.size();
  for (const auto& item : plan) same = same && std::count(manifest.begin(), manifest.end(), item.name) == 1;
  if (!same) fail("E_BUNDLE_FORMAT", std::string("manifest.json and plan.json name different ") + what, "compile the model again");
}

}  // namespace

Bundle::Bundle(const std::string& path, uint32_t flags)
    : Object(Kind::bundle),
      files_(path, (flags & FARRIER_OPEN_VERIFY_ALL) != 0),
      description_(text_of(files_)),
      plan_(description_),
      allow_native_((flags & FARRIER_OPEN_ALLOW_NATIVE) != 0) {
  description_ = "{\"manifest\":" + manifest().text + ",\"plan\":" + description_ + "}";
  check_agreement();
}

void Bundle::check_agreement() const {
  check_names("entries", manifest().entries, plan_.entries);
  check_names("targets", manifest().targets, plan_.targets);
  bool native = false;
  const auto listed = [&](const std::string& file) {
    if (manifest().files.count(file) == 0) fail("E_BUNDLE_FORMAT", "plan.json needs " + quoted(file) + ", which the manifest does not list");
  };
  for (const TargetPlans& target : plan_.targets) {
    for (const auto& library : target.libraries) listed(library.second);
    for (const KernelSpec& kernel : target.kernels) listed(kernel.file);
    native = native || !target.libraries.empty();
  }
  if (native != manifest().native) fail("E_BUNDLE_FORMAT", "manifest.json: native must say whether a target has libraries");
}

void Bundle::check_native() const {
  if (allow_native_ || manifest().machine == machine_fingerprint()) return;
  const char* allowed = std::getenv("FARRIER_ALLOW_NATIVE");
  if (allowed != nullptr && std::strcmp(allowed, "1") == 0) return;
  fail("E_BUNDLE_NATIVE", quoted(files_.path()) + " holds host code that was built on another machine",
       "compile it here, or allow it if you trust its author: allowNative, FARRIER_OPEN_ALLOW_NATIVE, or FARRIER_ALLOW_NATIVE=1");
}

}  // namespace farrier
