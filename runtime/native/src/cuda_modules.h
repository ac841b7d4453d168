// Texts of a target as modules of the driver: assembled now, or found assembled beside the bundle.
#pragma once

#include <string>
#include <vector>

#include "cuda.h"
#include "kept.h"

namespace farrier {

// Of one device; within no Scope: each thread that assembles makes its own.
class Modules {
 public:
  // E_MODULE with the driver's log, E_TARGET.
  Modules(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance);
  Modules(const Modules&) = delete;
  Modules& operator=(const Modules&) = delete;
  ~Modules();

  cuda::Module of(const std::string& file) const;
  std::string notice() const { return kept_.notice(); }

 private:
  struct Loaded {
    cuda::Library library = nullptr;  // nullptr with drivers before 12.0
    cuda::Module module = nullptr;
  };

  void load(const Bundle& bundle, const TargetPlans& target, size_t index);
  cuda::Result load_code(const Bytes& code, std::string* log, Loaded& out);

  Cuda& device_;
  Kept kept_;
  std::vector<std::string> files_;
  std::vector<Loaded> loaded_;
};

// Assembles what is not kept yet, and keeps it. E_IO, and what Modules throws.
Warmed warm_cuda(Cuda& device, const Bundle& bundle, const TargetPlans& target, const Advance& advance);
// What Modules takes, in units of progress.
uint64_t cuda_load_units(const Bundle& bundle, const TargetPlans& target);

}  // namespace farrier
