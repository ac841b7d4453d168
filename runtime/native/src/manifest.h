// manifest.json and the checked files of a bundle.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "files.h"

namespace farrier {

constexpr uint64_t chunk_bytes = uint64_t{64} << 20;

struct FileRecord {
  uint64_t bytes = 0;
  std::string sha256;               // "" if there are chunks
  std::vector<std::string> chunks;  // "" in `references` without a hash
};

struct Manifest {
  std::string text;
  std::vector<std::string> entries, targets;
  bool native = false;
  std::string machine;
  std::map<std::string, std::string> driver;  // target -> lowest driver version
  std::map<std::string, FileRecord> files, references;
};

// A large file that is mapped, and hashed by chunks as ranges of it are asked for.
class ChunkedFile {
 public:
  ChunkedFile(Mapping mapping, FileRecord record, std::string name);
  uint64_t bytes() const { return mapping_.bytes(); }
  const std::string& name() const { return name_; }
  // The bytes of a range, their chunks verified first. E_BUNDLE_HASH.
  const uint8_t* range(uint64_t offset, uint64_t bytes);

 private:
  Mapping mapping_;
  FileRecord record_;
  std::string name_;
  std::mutex mutex_;
  std::vector<bool> checked_;
};

class CheckedFiles {
 public:
  // Manifest, paths, listing, sizes, hashes: in this order. `all`: chunked files too.
  CheckedFiles(const std::string& path, bool all);

  const Manifest& manifest() const { return manifest_; }
  const std::string& path() const { return directory_.path(); }
  // The file's bytes, just hashed. E_BUNDLE_SIZE, E_BUNDLE_HASH.
  Bytes read(const std::string& file) const;
  std::unique_ptr<ChunkedFile> map(const std::string& file) const;

 private:
  void check_listing() const;
  void check_content(bool all) const;

  Directory directory_;
  Manifest manifest_;
};

}  // namespace farrier
