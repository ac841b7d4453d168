// An opened bundle: checked files and the parsed plan.
#pragma once

#include <string>

#include "manifest.h"
#include "object.h"
#include "plan.h"

namespace farrier {

class Bundle : public Object {
 public:
  static constexpr Kind object_kind = Kind::bundle;
  Bundle(const std::string& path, uint32_t flags);

  const CheckedFiles& files() const { return files_; }
  const Manifest& manifest() const { return files_.manifest(); }
  const PlanFile& plan() const { return plan_; }
  const std::string& description() const { return description_; }
  // Throws unless the host code of this bundle may be loaded. E_BUNDLE_NATIVE.
  void check_native() const;

 private:
  void check_agreement() const;

  CheckedFiles files_;
  std::string description_;  // plan.json alone while it is parsed
  PlanFile plan_;
  bool allow_native_;
};

}  // namespace farrier
