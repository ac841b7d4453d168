#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "error.h"

namespace farrier {
namespace {

// A bundle is a few levels and some thousand kernels; what is beyond was made to hurt.
constexpr int max_levels = 16;
constexpr size_t max_files = 1000000;

Fd open_regular(int directory, const char* name, int flags, const std::string& shown, uint64_t& bytes) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  Fd fd(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags));
  if (fd.get() < 0) {
    if (errno == ELOOP) fail("E_BUNDLE_PATH", quoted(shown) + " is a symbolic link", "a bundle holds regular files only");
    if (errno == ENOENT || errno == ENOTDIR) fail("E_BUNDLE_MISSING", quoted(shown) + " does not exist", "compile again or copy the whole directory");
    fail("E_IO", quoted(shown) + " cannot be opened: " + errno_text());
  }
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) fail("E_IO", quoted(shown) + ": " + errno_text());
  if (!S_ISREG(info.st_mode)) fail("E_BUNDLE_PATH", quoted(shown) + " is not a regular file");
  bytes = static_cast<uint64_t>(info.st_size);
  return fd;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Mapping::Mapping(const Fd& fd, uint64_t bytes, const std::string& name) : bytes_(bytes) {
  if (bytes == 0) return;
  void* at = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (at == MAP_FAILED) fail("E_IO", quoted(name) + " cannot be mapped: " + errno_text());
  data_ = static_cast<const uint8_t*>(at);
}
Mapping::Mapping(Mapping&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
Mapping::~Mapping() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), bytes_);
}

Directory::Directory(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_.get() >= 0) return;
  if (errno == ENOTDIR) fail("E_BUNDLE_FORMAT", quoted(path) + " is not a directory", "a bundle is the directory that `farrier compile` wrote");
  fail("E_IO", quoted(path) + ": " + errno_text());
}

Fd Directory::open(const std::string& below, uint64_t& bytes) const {
  check_path(below);
  Fd parent;
  size_t at = 0;
  for (size_t slash; (slash = below.find('/', at)) != std::string::npos; at = slash + 1) {
    const std::string name = below.substr(at, slash - at);
    Fd next(openat(parent.get() < 0 ? fd_.get() : parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (next.get() < 0) {
      // With O_DIRECTORY a link to a directory is ENOTDIR, not ELOOP.
      struct stat info = {};
      const int directory = parent.get() < 0 ? fd_.get() : parent.get();
      if (fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0)
        fail("E_BUNDLE_PATH", quoted(below) + ": " + quoted(name) + " is not a directory");
      fail("E_BUNDLE_MISSING", quoted(path_ + "/" + below) + " does not exist", "compile again or copy the whole directory");
    }
    parent = std::move(next);
  }
  const int directory = parent.get() < 0 ? fd_.get() : parent.get();
  return open_regular(directory, below.c_str() + at, O_NOFOLLOW, path_ + "/" + below, bytes);
}

std::vector<std::string> Directory::list() const {
  std::vector<std::string> out;
  list(fd_.get(), "", 0, out);
  std::sort(out.begin(), out.end());
  return out;
}

void Directory::list(int fd, const std::string& prefix, int depth, std::vector<std::string>& out) const {
  if (depth > max_levels) fail("E_BUNDLE_PATH", quoted(path_ + "/" + prefix) + ": directories nested too deep");
  Fd copy(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* raw = copy.get() < 0 ? nullptr : fdopendir(copy.get());
  if (raw == nullptr) fail("E_IO", quoted(path_ + "/" + prefix) + ": " + errno_text());
  copy.release();
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(raw, closedir);
  while (const dirent* entry = readdir(raw)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info = {};
    if (fstatat(fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) fail("E_IO", quoted(prefix + name) + ": " + errno_text());
    if (S_ISREG(info.st_mode)) {
      out.push_back(prefix + name);
    } else if (S_ISDIR(info.st_mode)) {
      const Fd inner(openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (inner.get() < 0) fail("E_IO", quoted(prefix + name) + ": " + errno_text());
      list(inner.get(), prefix + name + "/", depth + 1, out);
    } else {
      fail("E_BUNDLE_PATH", quoted(path_ + "/" + prefix + name) + " is neither a regular file nor a directory", "a bundle holds regular files only");
    }
    if (out.size() > max_files) fail("E_BUNDLE_PATH", quoted(path_) + " holds too many files");
  }
}

void check_path(std::string_view path) {
  const auto refuse = [&](const char* why) { fail("E_BUNDLE_PATH", "path " + quoted(path) + " " + why); };
  if (path.empty() || path.size() > 1024) refuse("is empty or too long");
  if (path.front() == '/') refuse("is absolute");
  for (const char c : path)
    if (c < 0x20 || c > 0x7e || c == '\\' || c == ':') refuse("has a character that paths in a bundle may not have");
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    if (part.empty() || part == "." || part == "..") refuse("leaves the bundle");
    at = slash + 1;
  }
}

Fd open_outside(const std::string& path, uint64_t& bytes) {
  if (path.find('\0') != std::string::npos) fail("E_EXT_PATH", "path " + quoted(path) + " has a NUL");
  return open_regular(AT_FDCWD, path.c_str(), 0, path, bytes);
}

Bytes read_all(const Fd& fd, uint64_t bytes, const std::string& name) {
  Bytes out(bytes);
  for (uint64_t at = 0; at < bytes;) {
    const ssize_t got = pread(fd.get(), out.data() + at, bytes - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("E_IO", quoted(name) + ": " + errno_text());
    if (got == 0) fail("E_BUNDLE_SIZE", quoted(name) + " became shorter while it was read");
    at += static_cast<uint64_t>(got);
  }
  return out;
}

void write_whole(const std::string& path, const void* data, size_t bytes, const std::string& hint) {
  const auto refuse = [&](const std::string& what) { fail("E_IO", quoted(what) + " cannot be written: " + errno_text(), hint); };
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string directory = path.substr(0, slash);
    if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) refuse(directory);
  }
  std::string name = path + ".XXXXXX";
  const Fd fd(mkostemp(name.data(), O_CLOEXEC));
  if (fd.get() < 0) refuse(path);
  const auto* at = static_cast<const uint8_t*>(data);
  bool good = fchmod(fd.get(), 0644) == 0;
  for (size_t done = 0; good && done < bytes;) {
    const ssize_t wrote = write(fd.get(), at + done, bytes - done);
    if (wrote > 0) done += static_cast<size_t>(wrote);
    else good = wrote < 0 && errno == EINTR;
  }
  good = good && fsync(fd.get()) == 0 && rename(name.c_str(), path.c_str()) == 0;
  if (good) return;
  const int why = errno;
  unlink(name.c_str());
  errno = why;
  refuse(path);
}

std::string system_text(const char* path) {
  std::string out;
  const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return out;
  char buffer[4096];
  for (ssize_t got; out.size() < 65536 && (got = read(fd.get(), buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<size_t>(got));
  return out;
}

std::string errno_text() {
  char buffer[256] = "";
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
  return strerror_r(errno, buffer, sizeof buffer);
#else
  return strerror_r(errno, buffer, sizeof buffer) == 0 ? buffer : "unknown error";
#endif
}

}  // namespace farrier
