#include "weights.h"

#include <algorithm>
#include <limits>

#include "progress.h"
#include "sources.h"

namespace farrier {
namespace {

constexpr size_t kept = std::numeric_limits<size_t>::max();
constexpr size_t unused = kept - 1;
constexpr uint64_t piece_bytes = uint64_t{64} << 20;

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

  Sources sources(*bundle_, options.reference_dir == nullptr ? "" : options.reference_dir);
  if (options.tensors == nullptr && options.n_tensors > 0) fail("E_OPTION", "tensors is NULL");
  for (size_t i = 0; i < options.n_tensors; i++) take(options.tensors[i], sources);

  const auto missing = [&](size_t i) { return last_use_[i] != unused && source_at_[i] == nullptr; };
  uint64_t total = device_->load_units(*bundle_, target());
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (missing(i)) total += plan.sources[i].bytes;
  Progress progress(options.progress, options.user, total);
  const Advance advance = [&](uint64_t units) { progress.advance(units); };

  // Before anything slow: tensors without values are known to be.
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (missing(i) && plan.sources[i].from == SourceSpec::From::none) sources.range(i, 0, 0);
  kernels_ = device_->load(*bundle_, target(), advance);
  notice_ = kernels_->notice();
  for (size_t i = 0; i < target().weights.size(); i++) bind(i, sources, advance);
  for (size_t i = 0; i < plan.sources.size(); i++)
    if (last_use_[i] == kept) need(i, sources, advance);
  for (const auto* memories : {&source_memory_, &weight_memory_})
    for (const Memory& memory : *memories) bytes_ += memory.bytes();
}

void Weights::take(const farrier_named_tensor& given, Sources& sources) {
  if (given.name == nullptr || given.tensor == nullptr) fail("E_OPTION", "a tensor of the caller or its name is NULL");
  const std::vector<SourceSpec>& specs = bundle_->plan().sources;
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const SourceSpec& s) { return s.name == given.name; });
  const std::string name = "tensor " + quoted(given.name);
  if (found == specs.end()) fail("E_WEIGHTS", "the bundle has no " + name);
  // Constants that were folded from embedded values would stay as they are.
  if (found->from != SourceSpec::From::none) fail("E_WEIGHTS", name + " has values of the bundle's own", "compile with --weights none to bind a model's tensors");
  const farrier_tensor& tensor = *given.tensor;
  const int32_t rank = tensor.shape == nullptr || tensor.ndim < 0 ? 0 : tensor.ndim;
  if (!same_dtype(*found->dtype, tensor.dtype) || !std::equal(tensor.shape, tensor.shape + rank, found->shape.begin(), found->shape.end()))
    fail("E_WEIGHTS", name + " is " + dtype_text(tensor.dtype) + shape_text(tensor.shape, static_cast<size_t>(rank)) + ", the bundle was compiled for " +
                          std::string(found->dtype->name) + shape_text(found->shape.data(), found->shape.size()));
  if (!is_dense(tensor)) fail("E_WEIGHTS", name + " is not dense and row-major", "give a contiguous copy");
  void* const at = static_cast<uint8_t*>(tensor.data) + tensor.byte_offset;
  const auto source = static_cast<size_t>(found - specs.begin());
  if (found->bytes > 0 && tensor.data == nullptr) fail("E_WEIGHTS", name + " has no data");
  const bool ours = device_->owns(tensor.device.device_type, tensor.device.device_id);
  if (!ours && tensor.device.device_type != 1 && tensor.device.device_type != 3)
    fail("E_WEIGHTS", name + " is on another device than the weights", "copy it to that device, or to the host");
  if (!ours || found->bytes == 0) {
    sources.give(source, at);
    return;
  }
  if (reinterpret_cast<uintptr_t>(at) % device_->tensor_align(*found->dtype) != 0)
    fail("E_WEIGHTS", name + " is not aligned to " + std::to_string(device_->tensor_align(*found->dtype)) + " bytes", "give a copy with memory of its own");
  source_at_[source] = at;
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
    const uint8_t* const host = sources.range(index, 0, spec.bytes);
    if (reinterpret_cast<uintptr_t>(host) % device_->tensor_align(*spec.dtype) == 0) {
      source_at_[index] = const_cast<uint8_t*>(host);
      advance(spec.bytes);
      return;
    }
  }
  Memory memory(device_, spec.bytes);
  for (uint64_t at = 0; at < spec.bytes; at += piece_bytes) {
    const uint64_t bytes = std::min(piece_bytes, spec.bytes - at);
    const uint8_t* const host = sources.range(index, at, bytes);
    device_->copy_in(static_cast<uint8_t*>(memory.at()) + at, host, bytes, nullptr);
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
  for (const StateSpec& spec : weights_->bundle().plan().states) {
    memory_.emplace_back(weights_->device(), spec.bytes);
    tensors_.push_back({memory_.back().at(), spec.bytes});
  }
  reset(nullptr);
  weights_->device()->sync(nullptr);
}

State::State(std::shared_ptr<Weights> weights, const farrier_tensor* const* tensors, size_t count) : Object(Kind::state), weights_(std::move(weights)) {
  constexpr uintptr_t align = 16;
  const std::vector<StateSpec>& specs = weights_->bundle().plan().states;
  if (count != specs.size()) fail("E_RT_STATE", "the bundle has " + std::to_string(specs.size()) + " states, " + std::to_string(count) + " tensors were given");
  for (size_t i = 0; i < count; i++) {
    const std::string name = "state " + quoted(specs[i].name);
    if (tensors == nullptr || tensors[i] == nullptr) fail("E_RT_STATE", name + " is absent");
    const farrier_tensor& tensor = *tensors[i];
    uint64_t bytes = 0;
    if ((tensor.ndim > 0 && tensor.shape == nullptr) || !tensor_bytes(tensor, bytes) || bytes != specs[i].bytes)
      fail("E_RT_STATE", name + " has " + std::to_string(bytes) + " bytes, expected " + std::to_string(specs[i].bytes));
    if (!is_dense(tensor)) fail("E_RT_STATE", name + " is not dense and row-major");
    if (!weights_->device()->owns(tensor.device.device_type, tensor.device.device_id)) fail("E_RT_STATE", name + " is on another device than the weights");
    void* const at = static_cast<uint8_t*>(tensor.data) + tensor.byte_offset;
    if (bytes > 0 && (tensor.data == nullptr || reinterpret_cast<uintptr_t>(at) % align != 0))
      fail("E_RT_STATE", name + " has no data, or is not aligned to " + std::to_string(align) + " bytes");
    tensors_.push_back({at, bytes});
  }
}

void State::reset(Stream stream) {
  for (const Tensor& tensor : tensors_) weights_->device()->zero(tensor.at, tensor.bytes, stream);
}

}  // namespace farrier
