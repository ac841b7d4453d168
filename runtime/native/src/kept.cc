#include "kept.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "error.h"
#include "sha256.h"

namespace farrier {
namespace {

constexpr size_t hash_digits = 64;

std::string root_of(const std::string& bundle) {
  const char* named = std::getenv("FARRIER_WARM_DIR");
  if (named != nullptr && *named != '\0') return named;
  char whole[PATH_MAX];
  return (realpath(bundle.c_str(), whole) == nullptr ? bundle : std::string(whole)) + ".warm";
}

uid_t owner_of(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? info.st_uid : 0;
}

}  // namespace

Kept::Kept(const std::string& bundle, const std::string& kind) : directory_(root_of(bundle) + "/" + kind) {
  struct stat info = {};
  readable_ = stat(directory_.c_str(), &info) == 0;
  if (!readable_) return;
  // Code for the GPU: of nobody who could not have changed the bundle.
  const bool ours = info.st_uid == 0 || info.st_uid == geteuid() || info.st_uid == owner_of(bundle);
  readable_ = ours && (info.st_mode & S_IWOTH) == 0;
  if (!readable_) notice_ = quoted(directory_) + " is another user's, or any user may write to it: what is in it is not used";
}

std::optional<Bytes> Kept::find(const std::string& text_hash) {
  if (!readable_) return std::nullopt;
  try {
    uint64_t bytes = 0;
    const Fd fd = Directory(directory_).open(text_hash, bytes);
    Bytes whole = read_all(fd, bytes, path_of(text_hash));
    const auto body = whole.begin() + static_cast<ptrdiff_t>(std::min(whole.size(), hash_digits + 1));
    Bytes assembled(body, whole.end());
    if (std::string(whole.begin(), body) == sha256(assembled.data(), assembled.size()) + "\n") return assembled;
  } catch (const Error& error) {
    if (error.code() == "E_BUNDLE_MISSING") return std::nullopt;
  }
  throw_away(text_hash, "is damaged");
  return std::nullopt;
}

void Kept::keep(const std::string& text_hash, const Bytes& assembled) {
  const std::string hash = sha256(assembled.data(), assembled.size()) + "\n";
  Bytes whole(hash.begin(), hash.end());
  whole.insert(whole.end(), assembled.begin(), assembled.end());
  write_whole(path_of(text_hash), whole.data(), whole.size(), "set FARRIER_WARM_DIR to a directory that can be written to");
}

void Kept::throw_away(const std::string& text_hash, const std::string& why) {
  unlink(path_of(text_hash).c_str());
  const std::lock_guard lock(mutex_);
  if (!notice_.empty()) notice_ += '\n';
  notice_ += quoted(path_of(text_hash));
  notice_ += " " + why + " and was removed: its kernel is assembled from the text (run farrier warm again)";
}

}  // namespace farrier
