// Whether the steps of a plan find in memory what they read.
#include <algorithm>

#include "error.h"
#include "plan.h"

namespace farrier {
namespace {

struct Span {
  uint64_t offset, bytes;
  bool operator==(const Span& other) const { return offset == other.offset && bytes == other.bytes; }
  bool overlaps(const Span& other) const { return bytes > 0 && other.bytes > 0 && offset < other.offset + other.bytes && other.offset < offset + bytes; }
  std::string text() const { return "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " of the arena"; }
};

bool only_read(const Buffer& buffer, int64_t own_weight) {
  if (buffer.kind == Buffer::Kind::weight) return buffer.index != own_weight;
  return buffer.kind == Buffer::Kind::source || buffer.kind == Buffer::Kind::input;
}

}  // namespace

std::string memory_fault(const std::vector<KernelSpec>& kernels, const std::vector<Step>& steps, int64_t own_weight) {
  std::vector<Span> written;
  for (size_t number = 0; number < steps.size(); number++) {
    const Step& step = steps[number];
    const std::string& access = kernels[step.kernel].access;
    if (access.empty()) return {};  // it may write anything
    const std::string name = "step " + std::to_string(number) + " (" + quoted(step.label) + ") ";
    for (size_t i = 0; i < access.size(); i++) {
      const Buffer& buffer = step.buffers[i];
      if (access[i] != 'r' && only_read(buffer, own_weight)) return name + "writes buffer " + std::to_string(i) + ", which is only read";
      if (buffer.kind != Buffer::Kind::arena || buffer.bytes == 0) continue;
      const Span span{buffer.offset, buffer.bytes};
      if (access[i] == 'r' && std::find(written.begin(), written.end(), span) == written.end()) return name + "reads " + span.text() + ", which hold nothing whole";
      for (size_t j = 0; j < access.size(); j++) {
        const Buffer& other = step.buffers[j];
        const Span second{other.offset, other.bytes};
        if (j != i && access[i] != 'r' && other.kind == Buffer::Kind::arena && span.overlaps(second)) return name + "writes " + span.text() + ", which overlap another of its buffers";
      }
    }
    for (size_t i = 0; i < access.size(); i++) {
      const Buffer& buffer = step.buffers[i];
      if (access[i] == 'r' || buffer.kind != Buffer::Kind::arena || buffer.bytes == 0) continue;
      const Span span{buffer.offset, buffer.bytes};
      written.erase(std::remove_if(written.begin(), written.end(), [&](const Span& old) { return old.overlaps(span); }), written.end());
      written.push_back(span);
    }
  }
  return {};
}

}  // namespace farrier
