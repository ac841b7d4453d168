// Work done, told to the caller, who may stop it.
#pragma once

#include <algorithm>

#include "error.h"

namespace farrier {

class Progress {
 public:
  // `tell` may be nullptr.
  Progress(farrier_progress tell, void* user, uint64_t total) : tell_(tell), user_(user), total_(total) { advance(0); }
  // E_CANCELLED.
  void advance(uint64_t units) {
    done_ += units;
    if (tell_ != nullptr && tell_(user_, std::min(done_, total_), total_) != 0) fail("E_CANCELLED", "the caller stopped it");
  }

 private:
  farrier_progress tell_;
  void* user_;
  uint64_t done_ = 0, total_;
};

}  // namespace farrier
