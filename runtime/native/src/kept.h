// Assembled kernels, kept beside a bundle: farrier_warm writes them, loading reads them.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "files.h"

namespace farrier {

/*
 * `BUNDLE.warm/KIND/`, or below FARRIER_WARM_DIR, a file for each text by its SHA-256. A file is the SHA-256 of what follows,
 * in hexadecimal, a line feed, and the assembled kernel. What is not as it was written is removed, with a notice. Threads may
 * use one together.
 */
class Kept {
 public:
  // `kind`: what else an assembled kernel depends on.
  Kept(const std::string& bundle, const std::string& kind);

  const std::string& directory() const { return directory_; }
  // What was kept of the text with this hash.
  std::optional<Bytes> find(const std::string& text_hash);
  void keep(const std::string& text_hash, const Bytes& assembled);  // E_IO
  void throw_away(const std::string& text_hash, const std::string& why);
  // What was thrown away, for people; "" if nothing.
  std::string notice() const { return notice_; }

 private:
  std::string path_of(const std::string& text_hash) const { return directory_ + "/" + text_hash; }

  std::string directory_;
  bool readable_;
  mutable std::mutex mutex_;
  std::string notice_;
};

}  // namespace farrier
