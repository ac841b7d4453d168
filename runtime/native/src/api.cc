// The C header over the runtime's objects: bundles, weights, execs, graphs.
#include "exec.h"
#include "options.h"
#include "pool.h"
#include "progress.h"

using namespace farrier;

namespace {

template <class T, class Handle>
void put(Handle** out, std::shared_ptr<T> object) {
  *out = static_cast<Handle*>(static_cast<void*>(open_handle(std::move(object))));
}

int release(const void* handle, Kind kind) {
  return guard([&] { close_handle(handle, kind); });
}

farrier_shape shape_of(const TensorSpec& spec, const std::vector<int64_t>& symbols) {
  farrier_shape out = {};
  out.dtype = spec.dtype->dl;
  out.ndim = static_cast<int32_t>(spec.shape.size());
  std::vector<int64_t> dims;
  for (const Expr& dim : spec.shape) dims.push_back(dim.eval(symbols));
  std::copy(dims.begin(), dims.end(), out.dims);
  int64_t bytes = 0;
  if (!byte_size(*spec.dtype, dims, bytes)) fail("E_SIZE_OVERFLOW", quoted(spec.name) + " has shape " + shape_text(dims.data(), dims.size()));
  out.bytes = static_cast<uint64_t>(bytes);
  return out;
}

void check_known(const PlanFile& plan, const std::vector<TensorSpec>& tensors, const Symbols& symbols) {
  std::vector<bool> used(plan.symbols.size());
  for (const TensorSpec& tensor : tensors)
    for (const Expr& dim : tensor.shape) dim.collect(used);
  for (size_t i = 0; i < used.size(); i++)
    if (used[i] && !symbols.known[i])
      fail("E_RT_INPUT", "the inputs given do not tell " + plan.symbol_names[i], "give an input that has it as a dimension");
}

}  // namespace

extern "C" {

uint32_t farrier_abi_version(void) { return FARRIER_ABI; }
const char* farrier_last_error(void) { return last_text(); }
const char* farrier_last_code(void) { return last_code(); }

const char* farrier_machine(void) {
  const char* out = "";
  guard([&] { out = machine_fingerprint().c_str(); });
  return out;
}

int32_t farrier_threads(void) {
  int32_t out = 0;
  guard([&] { out = thread_count(); });
  return out;
}

const char* farrier_isa(void) {
  static const std::string* isa = nullptr;
  guard([&] {
    static const std::string best = best_isa();
    isa = &best;
  });
  return isa == nullptr ? "" : isa->c_str();
}

int farrier_bundle_open(const char* path, const farrier_open_options* options, farrier_bundle** bundle) {
  return guard([&] {
    given(bundle, "bundle");
    put(bundle, std::make_shared<Bundle>(&given(path, "path"), read_options(options).flags));
  });
}
int farrier_bundle_release(farrier_bundle* bundle) { return release(bundle, Kind::bundle); }

int farrier_bundle_describe(const farrier_bundle* bundle, const char** json, size_t* bytes) {
  return guard([&] {
    const auto object = object_of<Bundle>(bundle);
    given(json, "json") = object->description().c_str();
    if (bytes != nullptr) *bytes = object->description().size();
  });
}

int farrier_infer_shapes(const farrier_bundle* bundle, const char* entry, const farrier_tensor* const* inputs, size_t n_inputs,
                         farrier_shape* input_shapes, farrier_shape* output_shapes) {
  return guard([&] {
    const auto object = object_of<Bundle>(bundle);
    const PlanFile& plan = object->plan();
    const Entry& e = plan.entries[plan.entry(&given(entry, "entry"))];
    Symbols symbols;
    bind_symbols(plan, e, inputs, n_inputs, true, symbols);
    const auto infer = [&](const std::vector<TensorSpec>& tensors, farrier_shape* out) {
      if (out == nullptr) return;
      check_known(plan, tensors, symbols);
      for (size_t i = 0; i < tensors.size(); i++) out[i] = shape_of(tensors[i], symbols.values);
    };
    infer(e.inputs, input_shapes);
    infer(e.outputs, output_shapes);
  });
}

int farrier_weights_bind(farrier_bundle* bundle, farrier_device* device, const farrier_bind_options* options, farrier_weights** weights) {
  return guard([&] {
    given(weights, "weights");
    put(weights, std::make_shared<Weights>(object_of<Bundle>(bundle), object_of<Device>(device), read_options(options)));
  });
}
int farrier_weights_release(farrier_weights* weights) { return release(weights, Kind::weights); }

int farrier_weights_info(const farrier_weights* weights, const char** target, uint64_t* bytes) {
  return guard([&] {
    const auto object = object_of<Weights>(weights);
    if (target != nullptr) *target = object->target().name.c_str();
    if (bytes != nullptr) *bytes = object->bytes();
  });
}

int farrier_weights_notice(const farrier_weights* weights, const char** text) {
  return guard([&] {
    const auto object = object_of<Weights>(weights);
    given(text, "text") = object->notice().c_str();
  });
}

int farrier_warm(farrier_bundle* bundle, farrier_device* device, farrier_progress progress, void* user, farrier_kept* kept) {
  return guard([&] {
    static thread_local std::string directory;
    const auto from = object_of<Bundle>(bundle);
    const auto on = object_of<Device>(device);
    const TargetPlans& target = from->plan().targets[on->choose(*from)];
    farrier_kept out = kept == nullptr ? farrier_kept{} : read_options(kept);
    Progress told(progress, user, on->load_units(*from, target));
    const Warmed warmed = on->warm(*from, target, [&](uint64_t units) { told.advance(units); });
    directory = warmed.directory;
    out.kernels = warmed.kernels;
    out.made = warmed.made;
    out.bytes = warmed.bytes;
    out.directory = directory.c_str();
    if (kept != nullptr) write_result(out, kept);
  });
}

int farrier_state_create(farrier_weights* weights, farrier_state** state) {
  return guard([&] {
    given(state, "state");
    put(state, std::make_shared<State>(object_of<Weights>(weights)));
  });
}
int farrier_state_bind(farrier_weights* weights, const farrier_tensor* const* tensors, size_t n_tensors, farrier_state** state) {
  return guard([&] {
    given(state, "state");
    put(state, std::make_shared<State>(object_of<Weights>(weights), tensors, n_tensors));
  });
}
int farrier_state_release(farrier_state* state) { return release(state, Kind::state); }

int farrier_state_reset(farrier_state* state, farrier_stream stream) {
  return guard([&] {
    const auto object = object_of<State>(state);
    const Device::Scope scope(*object->weights().device());
    object->reset(stream);
  });
}

int farrier_state_data(const farrier_state* state, size_t index, void** data, uint64_t* bytes) {
  return guard([&] {
    const auto object = object_of<State>(state);
    if (index >= object->size()) fail("E_RT_STATE", "the bundle has " + std::to_string(object->size()) + " states, index " + std::to_string(index) + " was asked for");
    if (data != nullptr) *data = (*object)[index].at;
    if (bytes != nullptr) *bytes = (*object)[index].bytes;
  });
}

int farrier_exec_create(farrier_weights* weights, const char* entry, farrier_state* state, farrier_exec** exec) {
  return guard([&] {
    given(exec, "exec");
    auto object = state == nullptr ? nullptr : object_of<State>(state);
    put(exec, std::make_shared<Exec>(object_of<Weights>(weights), &given(entry, "entry"), std::move(object)));
  });
}
int farrier_exec_release(farrier_exec* exec) { return release(exec, Kind::exec); }

int farrier_exec_set_state(farrier_exec* exec, farrier_state* state) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    object->set_state(state == nullptr ? nullptr : object_of<State>(state));
  });
}

int farrier_exec_workspace(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs, int32_t* plan, uint64_t* bytes) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    size_t index = 0;
    const Plan& chosen = object->choose(inputs, n_inputs, index);
    if (plan != nullptr) *plan = static_cast<int32_t>(index);
    if (bytes != nullptr) *bytes = chosen.arena_bytes;
  });
}

int farrier_run(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs, const farrier_tensor* const* outputs,
                size_t n_outputs, void* workspace, uint64_t workspace_bytes, farrier_stream stream) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    object->run({inputs, n_inputs, outputs, n_outputs, workspace, workspace_bytes}, stream);
  });
}

int farrier_exec_status(farrier_exec* exec) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    object->check_status();
  });
}

int farrier_graph_capture(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs, const farrier_tensor* const* outputs,
                          size_t n_outputs, void* workspace, uint64_t workspace_bytes, farrier_graph** graph) {
  return guard([&] {
    given(graph, "graph");
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    put(graph, std::make_shared<RecordedGraph>(object, Arguments{inputs, n_inputs, outputs, n_outputs, workspace, workspace_bytes}));
  });
}
int farrier_graph_release(farrier_graph* graph) { return release(graph, Kind::graph); }

int farrier_graph_launch(farrier_graph* graph, farrier_stream stream) {
  return guard([&] { object_of<RecordedGraph>(graph)->launch(stream); });
}

int farrier_exec_profile(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs, const farrier_tensor* const* outputs,
                         size_t n_outputs, void* workspace, uint64_t workspace_bytes, farrier_stream stream, farrier_times* times) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    farrier_times wanted = read_options(&given(times, "times"));
    if (wanted.repeats < 1 || wanted.repeats > 100000) fail("E_OPTION", "repeats is " + std::to_string(wanted.repeats), "give 1 to 100000");
    const Times found = object->profile({inputs, n_inputs, outputs, n_outputs, workspace, workspace_bytes}, stream, static_cast<int>(wanted.repeats));
    if (wanted.step_ms != nullptr) std::copy_n(found.steps.begin(), std::min(wanted.capacity, found.steps.size()), wanted.step_ms);
    wanted.n_steps = found.steps.size();
    wanted.run_ms = found.run;
    wanted.mark_ms = found.mark;
    write_result(wanted, times);
  });
}

int farrier_run_steps(farrier_exec* exec, const farrier_tensor* const* inputs, size_t n_inputs, const farrier_tensor* const* outputs,
                      size_t n_outputs, void* workspace, uint64_t workspace_bytes, farrier_stream stream, size_t first, size_t count) {
  return guard([&] {
    const auto object = object_of<Exec>(exec);
    const Exec::Turn turn(*object);
    object->run_steps({inputs, n_inputs, outputs, n_outputs, workspace, workspace_bytes}, stream, first, count);
  });
}

}  // extern "C"
