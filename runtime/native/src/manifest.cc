#include "manifest.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "error.h"
#include "json.h"
#include "pool.h"
#include "sha256.h"

namespace farrier {
namespace {

constexpr const char* format_code = "E_BUNDLE_FORMAT";
constexpr uint64_t max_manifest = uint64_t{64} << 20;

std::vector<std::string> names(const json::Field& field) {
  std::vector<std::string> out;
  for (size_t i = 0; i < field.size(); i++) out.push_back(field[i].string());
  return out;
}

std::string hash(const json::Field& field) {
  const std::string& text = field.string();
  const bool good = text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!good) field.refuse("64 lower-case hexadecimal digits");
  return text;
}

FileRecord record(const json::Field& field, bool needs_hash) {
  FileRecord out;
  out.bytes = static_cast<uint64_t>(field["bytes"].integer(0, int64_t{1} << 62));
  if (field.has("chunks")) {
    const json::Field chunks = field["chunks"];
    for (size_t i = 0; i < chunks.size(); i++) out.chunks.push_back(hash(chunks[i]));
    const uint64_t wanted = (out.bytes + chunk_bytes - 1) / chunk_bytes;
    if (out.chunks.size() != wanted) chunks.refuse(std::to_string(wanted) + " hashes, one for each 64 MiB");
  } else if (field.has("sha256")) {
    out.sha256 = hash(field["sha256"]);
  } else if (needs_hash) {
    field.refuse("sha256 or chunks");
  }
  return out;
}

Manifest parse(std::string text) {
  const json::Value root = json::parse(text, {format_code, "manifest.json"});
  const json::Field at(root, "manifest.json", format_code);
  const int64_t format = at["format"].integer();
  if (format != 1)
    fail(format_code, "manifest.json: format " + std::to_string(format) + " is not supported, only 1 is",
         format > 1 ? "use a newer farrier to run this bundle" : "compile the model again");
  Manifest out;
  at["farrier"].string();
  out.entries = names(at["entries"]);
  out.targets = names(at["targets"]);
  out.native = at["native"].boolean();
  if (out.native) out.machine = hash(at["machine"]);
  if (at.has("needs")) {
    const json::Field needs = at["needs"];
    for (const json::Member& target : needs.members()) {
      const json::Field need = needs.member(target);
      if (need.has("driver")) out.driver[target.first] = need["driver"].string();
    }
  }
  const json::Field files = at["files"];
  std::set<std::string> folded;
  for (const json::Member& file : files.members()) {
    check_path(file.first);
    std::string lower = file.first;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (lower == "manifest.json" || !folded.insert(lower).second)
      fail("E_BUNDLE_PATH", "manifest.json: path " + quoted(file.first) + " names the same file as another");
    out.files[file.first] = record(files.member(file), true);
  }
  if (at.has("references")) {
    const json::Field references = at["references"];
    for (const json::Member& file : references.members()) out.references[file.first] = record(references.member(file), false);
  }
  out.text = std::move(text);
  return out;
}

Manifest load(const Directory& directory) {
  uint64_t bytes = 0;
  Fd fd;
  try {
    fd = directory.open("manifest.json", bytes);
  } catch (const Error& error) {
    if (error.code() != "E_BUNDLE_MISSING") throw;
    fail(format_code, quoted(directory.path()) + " has no manifest.json", "a bundle is the directory that `farrier compile` wrote");
  }
  if (bytes > max_manifest) fail(format_code, "manifest.json: larger than 64 MiB");
  const Bytes content = read_all(fd, bytes, "manifest.json");
  return parse(std::string(content.begin(), content.end()));
}

[[noreturn]] void wrong_hash(const std::string& name, const std::string& wanted, const std::string& found) {
  fail("E_BUNDLE_HASH", quoted(name) + " was changed: SHA-256 is " + found + ", the manifest says " + wanted,
       "copy the bundle again or compile again");
}

void check_size(const std::string& name, uint64_t wanted, uint64_t found) {
  if (wanted != found)
    fail("E_BUNDLE_SIZE", quoted(name) + " has " + std::to_string(found) + " bytes, the manifest says " + std::to_string(wanted),
         "copy the bundle again or compile again");
}

}  // namespace

ChunkedFile::ChunkedFile(Mapping mapping, FileRecord record, std::string name)
    : mapping_(std::move(mapping)), record_(std::move(record)), name_(std::move(name)) {
  if (record_.chunks.empty() && !record_.sha256.empty()) {
    const std::string found = sha256(mapping_.data(), mapping_.bytes());
    if (found != record_.sha256) wrong_hash(name_, record_.sha256, found);
  }
  checked_.resize(record_.chunks.size(), false);
}

const uint8_t* ChunkedFile::range(uint64_t offset, uint64_t bytes) {
  if (offset > mapping_.bytes() || bytes > mapping_.bytes() - offset)
    fail("E_BUNDLE_SIZE", quoted(name_) + " ends at " + std::to_string(mapping_.bytes()) + ", bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " are needed");
  if (!checked_.empty() && bytes > 0) {
    const std::lock_guard lock(mutex_);
    std::vector<uint64_t> todo;
    for (uint64_t c = offset / chunk_bytes; c <= (offset + bytes - 1) / chunk_bytes; c++)
      if (!checked_[c]) todo.push_back(c);
    std::vector<std::string> found(todo.size());
    parallel(static_cast<int64_t>(todo.size()), [&](int64_t i) {
      const uint64_t from = todo[static_cast<size_t>(i)] * chunk_bytes;
      found[static_cast<size_t>(i)] = sha256(mapping_.data() + from, std::min(chunk_bytes, mapping_.bytes() - from));
    });
    for (size_t i = 0; i < todo.size(); i++) {
      if (found[i] != record_.chunks[todo[i]])
        wrong_hash(name_ + ", chunk " + std::to_string(todo[i]), record_.chunks[todo[i]], found[i]);
      checked_[todo[i]] = true;
    }
  }
  return mapping_.data() + offset;
}

CheckedFiles::CheckedFiles(const std::string& path, bool all) : directory_(path), manifest_(load(directory_)) {
  check_listing();
  check_content(all);
}

void CheckedFiles::check_listing() const {
  for (const std::string& found : directory_.list())
    if (found != "manifest.json" && manifest_.files.count(found) == 0)
      fail("E_BUNDLE_EXTRA", quoted(found) + " is in the bundle's directory, but not in its manifest", "nothing may be added to a bundle: remove it, or compile again");
  for (const auto& [name, wanted] : manifest_.files) {
    uint64_t bytes = 0;
    directory_.open(name, bytes);
    check_size(name, wanted.bytes, bytes);
  }
}

void CheckedFiles::check_content(bool all) const {
  for (const auto& [name, wanted] : manifest_.files) {
    if (!wanted.sha256.empty()) map(name);
    else if (all) map(name)->range(0, wanted.bytes);
  }
}

Bytes CheckedFiles::read(const std::string& file) const {
  const auto wanted = manifest_.files.find(file);
  if (wanted == manifest_.files.end()) fail(format_code, "plan.json needs " + quoted(file) + ", which the manifest does not list");
  uint64_t bytes = 0;
  const Fd fd = directory_.open(file, bytes);
  check_size(file, wanted->second.bytes, bytes);
  Bytes content = read_all(fd, bytes, file);
  if (wanted->second.sha256.empty()) fail(format_code, "manifest.json: " + quoted(file) + " needs sha256, not chunks");
  const std::string found = sha256(content.data(), content.size());
  if (found != wanted->second.sha256) wrong_hash(file, wanted->second.sha256, found);
  return content;
}

std::unique_ptr<ChunkedFile> CheckedFiles::map(const std::string& file) const {
  const auto wanted = manifest_.files.find(file);
  if (wanted == manifest_.files.end()) fail(format_code, "plan.json needs " + quoted(file) + ", which the manifest does not list");
  uint64_t bytes = 0;
  const Fd fd = directory_.open(file, bytes);
  check_size(file, wanted->second.bytes, bytes);
  return std::make_unique<ChunkedFile>(Mapping(fd, bytes, file), wanted->second, directory_.path() + "/" + file);
}

}  // namespace farrier
