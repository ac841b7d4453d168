#include "sources.h"

#include <cstring>

namespace farrier {
namespace {

constexpr const char* weights_file = "weights.safetensors";
constexpr uint64_t max_header = 100000000;

[[noreturn]] void damaged(const std::string& what) {
  fail("E_BUNDLE_FORMAT", std::string(weights_file) + ": " + what, "compile the model again");
}

}  // namespace

Sources::Sources(const Bundle& bundle, std::string reference_dir)
    : bundle_(bundle), reference_dir_(reference_dir.empty() ? bundle.files().path() : std::move(reference_dir)) {}

bool Sources::is_mapped(size_t source) const {
  const auto from = bundle_.plan().sources[source].from;
  return from == SourceSpec::From::bundle || from == SourceSpec::From::file;
}

const uint8_t* Sources::range(size_t source, uint64_t offset, uint64_t bytes) {
  const SourceSpec& spec = bundle_.plan().sources[source];
  if (const auto given = given_.find(source); given != given_.end()) return given->second + offset;
  switch (spec.from) {
    case SourceSpec::From::bundle: {
      const uint64_t start = embedded_offset(spec);
      return embedded_->range(start + offset, bytes);
    }
    case SourceSpec::From::file: {
      ChunkedFile& file = reference(spec.file);
      if (spec.offset > file.bytes() || spec.bytes > file.bytes() - spec.offset)
        fail("E_EXT_RANGE", "tensor " + quoted(spec.name) + " ends at byte " + std::to_string(spec.offset + spec.bytes) + " of " +
                                quoted(file.name()) + ", which has " + std::to_string(file.bytes()));
      return file.range(spec.offset + offset, bytes);
    }
    case SourceSpec::From::random: {
      if (made_bytes_ < bytes) {
        made_ = std::make_unique_for_overwrite<uint8_t[]>(bytes);
        made_bytes_ = bytes;
      }
      make_random(spec, offset * 8 / spec.dtype->dl.bits, bytes, made_.get());
      return made_.get();
    }
    case SourceSpec::From::none: break;
  }
  fail("E_WEIGHTS", "tensor " + quoted(spec.name) + " has no values: the bundle was compiled with --weights none",
       "bind it to a model's own tensors, or compile with --weights embed, reference or random:SEED");
}

void Sources::open_embedded() {
  embedded_ = bundle_.files().map(weights_file);
  if (embedded_->bytes() < 8) damaged("shorter than its header's length");
  uint64_t length = 0;
  std::memcpy(&length, embedded_->range(0, 8), 8);
  if (length > max_header || length > embedded_->bytes() - 8) damaged("the header says " + std::to_string(length) + " bytes");
  const std::string_view text(reinterpret_cast<const char*>(embedded_->range(8, length)), length);
  header_ = json::parse(text, {"E_BUNDLE_FORMAT", weights_file});
  for (const json::Member& member : header_.object)
    if (member.first != "__metadata__") tensors_[member.first] = &member.second;
  data_start_ = 8 + length;
}

uint64_t Sources::embedded_offset(const SourceSpec& spec) {
  if (embedded_ == nullptr) open_embedded();
  const auto found = tensors_.find(spec.name);
  if (found == tensors_.end()) damaged("tensor " + quoted(spec.name) + " is absent");
  const json::Field at(*found->second, std::string(weights_file) + "." + spec.name, "E_BUNDLE_FORMAT");
  // A dtype that the format has no name for is stored as bytes.
  if (!spec.dtype->safetensors.empty()) {
    if (at["dtype"].string() != spec.dtype->safetensors) at["dtype"].refuse(std::string(spec.dtype->safetensors));
    const json::Field shape = at["shape"];
    bool same = shape.size() == spec.shape.size();
    for (size_t i = 0; same && i < spec.shape.size(); i++) same = shape[i].integer() == spec.shape[i];
    if (!same) shape.refuse(shape_text(spec.shape.data(), spec.shape.size()));
  }
  const json::Field offsets = at["data_offsets"];
  if (offsets.size() != 2) offsets.refuse("two integers");
  const auto data = static_cast<int64_t>(embedded_->bytes() - data_start_);
  const int64_t begin = offsets[size_t{0}].integer(0, data), end = offsets[1].integer(begin, data);
  if (static_cast<uint64_t>(end - begin) != spec.bytes) offsets.refuse(std::to_string(spec.bytes) + " bytes");
  return data_start_ + static_cast<uint64_t>(begin);
}

ChunkedFile& Sources::reference(const std::string& file) {
  std::unique_ptr<ChunkedFile>& slot = references_[file];
  if (slot != nullptr) return *slot;
  const std::string path = file.empty() || file.front() == '/' ? file : reference_dir_ + "/" + file;
  uint64_t bytes = 0;
  Fd fd;
  try {
    fd = open_outside(path, bytes);
  } catch (const Error& error) {
    if (error.code() == "E_BUNDLE_MISSING")
      fail("E_EXT_MISSING", quoted(path) + ", which holds weights of this bundle, does not exist", "say where it is (referenceDir), or compile with --weights embed");
    if (error.code() == "E_BUNDLE_PATH") fail("E_EXT_NOT_FILE", quoted(path) + " is not a regular file");
    throw;
  }
  FileRecord record;
  if (const auto known = bundle_.manifest().references.find(file); known != bundle_.manifest().references.end()) {
    record = known->second;
    if (record.bytes != bytes)
      fail("E_EXT_SIZE", quoted(path) + " has " + std::to_string(bytes) + " bytes, it had " + std::to_string(record.bytes) + " when the bundle was compiled", "compile again from the file as it is now");
  }
  slot = std::make_unique<ChunkedFile>(Mapping(fd, bytes, path), record, path);
  return *slot;
}

}  // namespace farrier
