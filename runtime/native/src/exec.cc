#include "exec.h"

#include <cfenv>
#include <cstring>

namespace farrier {
namespace {

// Kernels see the default rounding and keep denormals, whatever the host set for its thread.
class FloatEnvironment {
 public:
  FloatEnvironment() {
    fegetenv(&saved_);
    fesetenv(FE_DFL_ENV);
  }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;
  ~FloatEnvironment() { fesetenv(&saved_); }

 private:
  fenv_t saved_ = {};
};

bool overlap(const void* a, uint64_t a_bytes, const void* b, uint64_t b_bytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return a_bytes > 0 && b_bytes > 0 && x < y + b_bytes && y < x + a_bytes;
}

// A status word tells site and index: site * 2^40 + 2^39 + index, no index further from 0 than that.
constexpr int64_t furthest_index = int64_t{1} << 39;

// The status word, then the tickets.
uint64_t status_bytes(uint32_t tickets) { return sizeof(int64_t) + sizeof(uint32_t) * static_cast<uint64_t>(tickets); }

}  // namespace

Exec::Exec(std::shared_ptr<Weights> weights, const std::string& entry, std::shared_ptr<State> state)
    : Object(Kind::exec), weights_(std::move(weights)), entry_(weights_->bundle().plan().entry(entry)) {
  set_state(std::move(state));
  const Device::Scope scope(device());
  bool status = false;
  uint32_t tickets = 0;
  size_t buffers = 0, scalars = 0;
  for (const Plan& plan : weights_->plans(entry_)) {
    status = status || plan.uses_status;
    tickets = std::max(tickets, plan.tickets);
    for (const Step& s : plan.steps) {
      buffers = std::max(buffers, s.buffers.size());
      scalars = std::max(scalars, s.scalars.size());
    }
  }
  if (status || tickets > 0) status_ = Memory(weights_->device(), status_bytes(tickets));
  buffers_.resize(buffers);
  scalars_.resize(scalars);
  inputs_.resize(this->entry().inputs.size());
  input_bytes_.resize(inputs_.size());
  outputs_.resize(this->entry().outputs.size());
  output_bytes_.resize(outputs_.size());
}

void Exec::set_state(std::shared_ptr<State> state) {
  if (state != nullptr && &state->weights() != weights_.get())
    fail("E_RT_STATE", "the state was made for other weights", "make it from the weights that the exec was made from");
  state_ = std::move(state);
}

const Plan& Exec::choose(const farrier_tensor* const* inputs, size_t count, size_t& index) {
  const PlanFile& file = weights_->bundle().plan();
  bind_symbols(file, entry(), inputs, count, false, symbols_);
  index = choose_plan(file, weights_->plans(entry_), symbols_);
  return weights_->plans(entry_)[index];
}

void Exec::check_memory(const TensorSpec& spec, const farrier_tensor& tensor, const char* what, void*& at, uint64_t& bytes) const {
  const auto name = [&] { return std::string(what) + " " + quoted(spec.name); };
  if (!tensor_bytes(tensor, bytes)) fail("E_SIZE_OVERFLOW", name() + " has shape " + shape_text(tensor.shape, spec.shape.size()) + ", which no memory holds");
  if (!is_dense(tensor)) fail("E_RT_INPUT", name() + " is not dense and row-major", "copy it to a contiguous tensor");
  at = static_cast<uint8_t*>(tensor.data) + tensor.byte_offset;
  if (bytes == 0) return;
  if (!device().owns(tensor.device.device_type, tensor.device.device_id))
    fail("E_RT_INPUT", name() + " is on device type " + std::to_string(tensor.device.device_type) + ", id " + std::to_string(tensor.device.device_id) +
                           ", the exec runs on " + (device().is_cpu() ? "the CPU" : "a GPU"), "copy it to that device");
  if (tensor.data == nullptr) fail("E_RT_INPUT", name() + " has no data");
  const uint64_t align = device().tensor_align(*spec.dtype);
  if (reinterpret_cast<uintptr_t>(at) % align != 0) fail("E_RT_INPUT", name() + " is not aligned to " + std::to_string(align) + " bytes");
}

void Exec::check_outputs(const Arguments& a) {
  const Entry& e = entry();
  if (a.n_outputs != e.outputs.size())
    fail("E_RT_INPUT", "entry " + quoted(e.name) + " has " + std::to_string(e.outputs.size()) + " outputs, " + std::to_string(a.n_outputs) + " were given");
  for (size_t i = 0; i < a.n_outputs; i++) {
    const TensorSpec& spec = e.outputs[i];
    const auto name = [&] { return "output " + quoted(spec.name); };
    if (a.outputs[i] == nullptr) fail("E_RT_INPUT", name() + " is absent");
    const farrier_tensor& tensor = *a.outputs[i];
    if (!same_dtype(*spec.dtype, tensor.dtype))
      fail("E_RT_INPUT", name() + " is " + dtype_text(tensor.dtype) + ", expected " + std::string(spec.dtype->name));
    if (tensor.ndim < 0 || static_cast<size_t>(tensor.ndim) != spec.shape.size())
      fail("E_RT_INPUT", name() + " has " + std::to_string(tensor.ndim) + " dimensions, expected " + std::to_string(spec.shape.size()));
    for (size_t d = 0; d < spec.shape.size(); d++)
      if (const int64_t wanted = spec.shape[d].eval(symbols_.values); wanted != tensor.shape[d])
        fail("E_RT_INPUT", name() + ": dimension " + std::to_string(d) + " is " + std::to_string(tensor.shape[d]) + ", expected " + std::to_string(wanted));
    check_memory(spec, tensor, "output", outputs_[i], output_bytes_[i]);
  }
}

void Exec::check_aliases(const Plan& plan, const Arguments& a) const {
  const auto& in = entry().inputs;
  const auto& out = entry().outputs;
  for (size_t i = 0; i < out.size(); i++) {
    const auto refuse = [&](const std::string& other) {
      fail("E_RT_ALIAS", "output " + quoted(out[i].name) + " overlaps " + other, "give it memory of its own");
    };
    for (size_t j = 0; j < in.size(); j++)
      if (overlap(outputs_[i], output_bytes_[i], inputs_[j], input_bytes_[j])) refuse("input " + quoted(in[j].name));
    for (size_t j = 0; j < i; j++)
      if (overlap(outputs_[i], output_bytes_[i], outputs_[j], output_bytes_[j])) refuse("output " + quoted(out[j].name));
    if (overlap(outputs_[i], output_bytes_[i], a.workspace, plan.arena_bytes)) refuse("the workspace");
  }
  for (size_t j = 0; j < in.size(); j++)
    if (overlap(inputs_[j], input_bytes_[j], a.workspace, plan.arena_bytes))
      fail("E_RT_ALIAS", "input " + quoted(in[j].name) + " overlaps the workspace", "give it memory of its own");
}

const Plan& Exec::prepare(const Arguments& a) {
  size_t index = 0;
  const Plan& plan = choose(a.inputs, a.n_inputs, index);
  for (size_t i = 0; i < a.n_inputs; i++) check_memory(entry().inputs[i], *a.inputs[i], "input", inputs_[i], input_bytes_[i]);
  check_outputs(a);
  if (a.workspace_bytes < plan.arena_bytes || (a.workspace == nullptr && plan.arena_bytes > 0))
    fail("E_RT_WORKSPACE", "the workspace has " + std::to_string(a.workspace == nullptr ? 0 : a.workspace_bytes) + " bytes, these shapes need " + std::to_string(plan.arena_bytes), "farrier_exec_workspace tells");
  if (plan.arena_bytes > 0 && reinterpret_cast<uintptr_t>(a.workspace) % device().workspace_align() != 0)
    fail("E_RT_WORKSPACE", "the workspace is not aligned to " + std::to_string(device().workspace_align()) + " bytes");
  check_aliases(plan, a);
  if (plan.uses_state && state_ == nullptr) fail("E_RT_STATE", "entry " + quoted(entry().name) + " needs a state", "farrier_state_create makes one");
  arena_ = static_cast<uint8_t*>(a.workspace);
  return plan;
}

void* Exec::address(const Buffer& buffer) const {
  switch (buffer.kind) {
    case Buffer::Kind::arena: return arena_ + buffer.offset;
    case Buffer::Kind::weight: return weights_->weight(buffer.index);
    case Buffer::Kind::source: return weights_->source(buffer.index);
    case Buffer::Kind::input: return inputs_[buffer.index];
    case Buffer::Kind::output: return outputs_[buffer.index];
    case Buffer::Kind::state: return (*state_)[buffer.index].at;
    case Buffer::Kind::tickets: return static_cast<int64_t*>(status_.at()) + 1;
    case Buffer::Kind::status: break;
  }
  return status_.at();
}

bool Exec::step(const Step& s, Stream stream, bool after_kernel) {
  for (size_t i = 0; i < s.buffers.size(); i++) buffers_[i] = address(s.buffers[i]);
  for (size_t i = 0; i < s.scalars.size(); i++) scalars_[i] = s.scalars[i].eval(symbols_.values);
  Launch launch{s.kernel, buffers_.data(), s.buffers.size(), scalars_.data(), s.scalars.size(), {}, s.label.c_str(), after_kernel};
  for (int i = 0; i < 3; i++) launch.grid[i] = s.grid[i].eval(symbols_.values);
  return weights_->kernels().launch(launch, stream);
}

void Exec::steps(const Plan& plan, Stream stream) {
  // What is in the stream before the first kernel is the caller's: it may write weights.
  bool after_kernel = false;
  for (const Step& s : plan.steps) after_kernel = step(s, stream, after_kernel) || after_kernel;
}

void Exec::clear_status(const Plan& plan, Stream stream) {
  if (plan.uses_status || plan.tickets > 0) device().zero(status_.at(), status_bytes(plan.tickets), stream);
  checks_ = plan.uses_status;
  last_stream_ = stream;
}

void Exec::run(const Arguments& arguments, Stream stream) {
  const Device::Scope scope(device());
  const FloatEnvironment environment;
  const Plan& plan = prepare(arguments);
  clear_status(plan, stream);
  steps(plan, stream);
  if (device().is_cpu()) read_status();
}

void Exec::check_status() {
  const Device::Scope scope(device());
  read_status();
}

void Exec::read_status() {
  int64_t word = 0;
  if (checks_) device().copy_out(&word, status_.at(), sizeof word, last_stream_);
  device().sync(last_stream_);
  if (word == 0) return;
  const int64_t failed = word >> 40, index = word - failed * (int64_t{1} << 40) - furthest_index;
  const bool far = index == -furthest_index || index == furthest_index - 1;
  const std::string found = ": found " + std::to_string(index) + (far ? ", or further from 0" : "");
  for (const auto& [site, text] : weights_->bundle().plan().checks)
    if (site == failed) fail("E_RT_INDEX", text + found);
  fail("E_RT_INDEX", "a kernel reported site " + std::to_string(failed) + found, "the plan has no text for it");
}

std::unique_ptr<Graph> Exec::capture(const Arguments& arguments) {
  const Device::Scope scope(device());
  const Plan& plan = prepare(arguments);
  return device().capture([&](Stream stream) {
    clear_status(plan, stream);
    steps(plan, stream);
    last_stream_ = nullptr;
  });
}

Times Exec::profile(const Arguments& arguments, Stream stream, int repeats) {
  const Device::Scope scope(device());
  const FloatEnvironment environment;
  const Plan& plan = prepare(arguments);
  clear_status(plan, stream);
  steps(plan, stream);  // warm
  const Timed work{plan.steps.size(), [&](Stream to, size_t i) { step(plan.steps[i], to, false); }, [&](Stream to) { steps(plan, to); }};
  return device().time(work, repeats, stream);
}

void Exec::run_steps(const Arguments& arguments, Stream stream, size_t first, size_t count) {
  const Device::Scope scope(device());
  const FloatEnvironment environment;
  const Plan& plan = prepare(arguments);
  if (first > plan.steps.size() || count > plan.steps.size() - first)
    fail("E_OPTION", "steps " + std::to_string(first) + " to before " + std::to_string(first + count) + " of a plan of " + std::to_string(plan.steps.size()));
  if (first == 0) clear_status(plan, stream);
  for (size_t i = first; i < first + count; i++) step(plan.steps[i], stream, false);
}

RecordedGraph::RecordedGraph(std::shared_ptr<Exec> exec, const Arguments& arguments)
    : Object(Kind::graph), exec_(std::move(exec)), graph_(exec_->capture(arguments)) {}

void RecordedGraph::launch(Stream stream) {
  const Exec::Turn turn(*exec_);
  const Device::Scope scope(exec_->device());
  graph_->launch(stream);
  exec_->graph_launched(stream);
}

}  // namespace farrier
