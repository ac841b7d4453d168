// Values of a bundle's source tensors, from wherever they come.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bundle.h"

namespace farrier {

class Sources {
 public:
  Sources(const Bundle& bundle, std::string reference_dir);

  // A range of the source's bytes, verified; values that are made stand there until the next call, and start at
  // multiples of 8 elements. E_WEIGHTS, E_BUNDLE_*.
  const uint8_t* range(size_t source, uint64_t offset, uint64_t bytes);
  // From now on the source's bytes are the caller's, on the host.
  void give(size_t source, const void* host) { given_[source] = static_cast<const uint8_t*>(host); }
  // Whether `range` lends the file's own pages.
  bool is_mapped(size_t source) const;

 private:
  struct Place {
    uint64_t offset = 0;
    const json::Value* entry = nullptr;
  };
  void open_embedded();
  uint64_t embedded_offset(const SourceSpec& spec);
  ChunkedFile& reference(const std::string& file);

  const Bundle& bundle_;
  std::string reference_dir_;
  std::map<size_t, const uint8_t*> given_;
  std::unique_ptr<ChunkedFile> embedded_;
  json::Value header_;
  std::map<std::string, const json::Value*> tensors_;
  uint64_t data_start_ = 0;
  std::map<std::string, std::unique_ptr<ChunkedFile>> references_;
  // Made values. Pages that the system gives anew each time cost more than the values.
  std::unique_ptr<uint8_t[]> made_;
  uint64_t made_bytes_ = 0;
};

// Elements `first` … of a random source, `bytes` of them: docs/bundle.md has the formula.
void make_random(const SourceSpec& spec, uint64_t first, uint64_t bytes, uint8_t* out);

}  // namespace farrier
