// The only place that opens files: below a directory without following links, regular files only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace farrier {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  int release() { const int fd = fd_; fd_ = -1; return fd; }

 private:
  int fd_ = -1;
};

// A read-only mapping of a whole file.
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Fd& fd, uint64_t bytes, const std::string& name);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  const uint8_t* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  const uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
};

using Bytes = std::vector<uint8_t>;

class Directory {
 public:
  explicit Directory(const std::string& path);

  const std::string& path() const { return path_; }
  // E_BUNDLE_PATH for links and what is no regular file, E_BUNDLE_MISSING; `bytes` is the size.
  Fd open(const std::string& below, uint64_t& bytes) const;
  // Every file below, sorted; E_BUNDLE_PATH for what is neither file nor directory.
  std::vector<std::string> list() const;

 private:
  void list(int fd, const std::string& prefix, int depth, std::vector<std::string>& out) const;

  std::string path_;
  Fd fd_;
};

// E_BUNDLE_PATH unless `path` stays below its directory on every system.
void check_path(std::string_view path);
// A file outside the bundle that the user named: links are followed, devices and pipes refused.
Fd open_outside(const std::string& path, uint64_t& bytes);
Bytes read_all(const Fd& fd, uint64_t bytes, const std::string& name);
// Makes the directories of `path`, writes the file beside its name, and renames it. E_IO with `hint`.
void write_whole(const std::string& path, const void* data, size_t bytes, const std::string& hint);
// Short text of a system file, "" if it cannot be read.
std::string system_text(const char* path);
std::string errno_text();

}  // namespace farrier
