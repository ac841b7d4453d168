#include "weights.h"

#include <algorithm>
#include <limits>

#include "sources.h"

namespace farrier {
namespace {

constexpr size_t kept = std::numeric_limits<size_t>::max();
constexpr size_t unused = kept - 1;
constexpr uint64_t piece_bytes = uint64_t{64} << 20;

class Progress {
 public:
  Progress(const farrier_bind_options& options, uint64_t total) : options_(options), total_(total) { advance(0); }
  void advance(uint64_t units) {
    done_ += units;
    if (options_.progress != nullptr && options_.progress(options_.user, std::min(done_, total_), total_) != 0)
      fail("E_CANCELLED", "binding was cancelled by the caller");
  }

 private:
  const farrier_bind_options& options_;
  uint64_t done_ = 0, total_;
};

}  // namespace

Weights::Weights(std::shared_ptr<Bundle> bundle, std::shared_ptr<Device> device, const farrier_bind_options& options)
    : Object(Kind::weights), bundle_(std::move(bundle)), device_(std::move(device)), target_(device_->choose(*bundle_)) {
  const PlanFile& plan = bundle_->plan();
  source_memory_.resize(plan.sources.size());
  source_at_.resize(plan.sources.size());
  weight_memory_.resize(target().weights.size());
  weight_at_.resize(target().weights.size());
  for (const Symbol& symbol : plan.symbols) symbols_.push_back(symbol.min);
  find_last_uses();

  uint64_t total = device_->load_units(*bundle_, target());
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (last_use_[i] != unused) total += plan.sources[i].bytes;
  Progress progress(options, total);
  const Advance advance = [&](uint64_t units) { progress.advance(units); };

  Sources sources(*bundle_, options.reference_dir == nullptr ? "" : options.reference_dir);
  // Before anything slow: tensors without values are known to be.
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (last_use_[i] != unused && plan.sources[i].from == SourceSpec::From::none) sources.range(i, 0, 0);
  kernels_ = device_->load(*bundle_, target(), advance);
  for (size_t i = 0; i < target().weights.size(); i++) bind(i, sources, advance);
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (last_use_[i] == kept) need(i, sources, advance);
  for (const auto* memories : {&source_memory_, &weight_memory_})
    for (const Memory& memory : *memories) bytes_ += memory.bytes();
}

void Weights::find_last_uses() {
  last_use_.assign(bundle_->plan().sources.size(), unused);
  const auto visit = [&](const Step& step, size_t use) {
    for (const Buffer& buffer : step.buffers)
      if (buffer.kind == Buffer::Kind::source) last_use_[buffer.index] = use;
  };
  for (size_t i = 0; i < target().weights.size(); i++)
    for (const Step& step : target().weights[i].steps) visit(step, i);
  for (const WeightSpec& weight : target().weights)
    if (weight.alias >= 0) last_use_[static_cast<size_t>(weight.alias)] = kept;
  for (const auto& entry : target().plans)
    for (const Plan& plan : entry)
      for (const Step& step : plan.steps) visit(step, kept);
}

void Weights::bind(size_t index, Sources& sources, const Advance& advance) {
  const WeightSpec& spec = target().weights[index];
  if (spec.alias >= 0) {
    need(static_cast<size_t>(spec.alias), sources, advance);
    weight_at_[index] = source_at_[static_cast<size_t>(spec.alias)];
    return;
  }
  const Device::Scope scope(*device_);
  weight_memory_[index] = Memory(device_, spec.bytes);
  weight_at_[index] = weight_memory_[index].at();
  device_->zero(weight_at_[index], spec.bytes, nullptr);
  const Memory arena = spec.arena_bytes > 0 ? Memory(device_, spec.arena_bytes) : Memory();
  for (const Step& step : spec.steps) {
    for (const Buffer& buffer : step.buffers)
      if (buffer.kind == Buffer::Kind::source) need(buffer.index, sources, advance);
    run_step(step, arena.at());
  }
  device_->sync(nullptr);
  drop_after(index);
}

void Weights::run_step(const Step& step, void* arena) {
  std::vector<void*> buffers;
  for (const Buffer& buffer : step.buffers) {
    if (buffer.kind == Buffer::Kind::arena) buffers.push_back(static_cast<uint8_t*>(arena) + buffer.offset);
    else buffers.push_back(buffer.kind == Buffer::Kind::weight ? weight_at_[buffer.index] : source_at_[buffer.index]);
  }
  std::vector<int64_t> scalars;
  for (const Expr& scalar : step.scalars) scalars.push_back(scalar.eval(symbols_));
  Launch launch{step.kernel, buffers.data(), buffers.size(), scalars.data(), scalars.size(), {}, step.label.c_str()};
  for (int i = 0; i < 3; i++) launch.grid[i] = step.grid[i].eval(symbols_);
  kernels_->launch(launch, nullptr);
}

void Weights::need(size_t index, Sources& sources, const Advance& advance) {
  if (source_at_[index] != nullptr) return;
  const SourceSpec& spec = bundle_->plan().sources[index];
  const Device::Scope scope(*device_);
  // A source that a CPU needs for a moment is read where it is: no copy of the checkpoint is made.
  if (device_->is_cpu() && last_use_[index] != kept && sources.is_mapped(index) && spec.bytes > 0) {
    const HostBytes host = sources.range(index, 0, spec.bytes);
    if (reinterpret_cast<uintptr_t>(host.data) % device_->tensor_align(*spec.dtype) == 0) {
      source_at_[index] = const_cast<uint8_t*>(host.data);
      advance(spec.bytes);
      return;
    }
  }
  Memory memory(device_, spec.bytes);
  for (uint64_t at = 0; at < spec.bytes; at += piece_bytes) {
    const uint64_t bytes = std::min(piece_bytes, spec.bytes - at);
    const HostBytes host = sources.range(index, at, bytes);
    device_->copy_in(static_cast<uint8_t*>(memory.at()) + at, host.data, bytes, nullptr);
    device_->sync(nullptr);
    advance(bytes);
  }
  source_memory_[index] = std::move(memory);
  source_at_[index] = source_memory_[index].at();
}

void Weights::drop_after(size_t weight) {
  for (size_t i = 0; i < last_use_.size(); i++) {
    if (last_use_[i] != weight) continue;
    source_at_[i] = nullptr;
    source_memory_[i] = Memory();
  }
}

State::State(std::shared_ptr<Weights> weights) : Object(Kind::state), weights_(std::move(weights)) {
  const Device::Scope scope(*weights_->device());
  for (const StateSpec& spec : weights_->bundle().plan().states) memory_.emplace_back(weights_->device(), spec.bytes);
  reset(nullptr);
  weights_->device()->sync(nullptr);
}

void State::reset(Stream stream) {
  for (const Memory& memory : memory_) weights_->device()->zero(memory.at(), memory.bytes(), stream);
}

}  // namespace farrier
