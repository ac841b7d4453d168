// Execs, runs, graphs and times.
#include "job.h"

namespace farrier_addon {
namespace {

void* pointer(const Napi::Value& value) { return reinterpret_cast<void*>(static_cast<uintptr_t>(address_of(value))); }

// createExec(weights, entry, state | null): handle
Napi::Value create_exec(const Napi::CallbackInfo& info) {
  auto* state = info[2].IsExternal() ? raw<farrier_state>(info[2]) : nullptr;
  const std::string entry = info[1].ToString();
  farrier_exec* exec = nullptr;
  check(info.Env(), farrier_exec_create(raw<farrier_weights>(info[0]), entry.c_str(), state, &exec));
  return wrap(info.Env(), exec, reinterpret_cast<Handle::Release>(farrier_exec_release));
}

// workspace(exec, inputs): { plan, bytes }
Napi::Value workspace(const Napi::CallbackInfo& info) {
  Tensors inputs;
  inputs.read(info[1], FARRIER_CPU, 0);
  int32_t plan = 0;
  uint64_t bytes = 0;
  check(info.Env(), farrier_exec_workspace(raw<farrier_exec>(info[0]), inputs.data(), inputs.size(), &plan, &bytes));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("plan", plan);
  out.Set("bytes", static_cast<double>(bytes));
  return out;
}

struct Copy {
  void* device;
  uint8_t* host;
  size_t bytes;
};

// A run as JavaScript describes it: see `RunSpec` in runtime/node/addon.ts.
struct Run {
  explicit Run(const Napi::Object& spec) {
    const auto type = static_cast<int32_t>(count_of(spec.Get("deviceType")));
    const auto id = static_cast<int32_t>(count_of(spec.Get("deviceId")));
    device = raw<farrier_device>(spec.Get("device"));
    inputs.read(spec.Get("inputs"), type, id);
    outputs.read(spec.Get("outputs"), type, id);
    workspace = pointer(spec.Get("workspace"));
    workspace_bytes = count_of(spec.Get("workspaceBytes"));
    stream = pointer(spec.Get("stream"));
    read_copies(spec.Get("uploads"), uploads);
    read_copies(spec.Get("downloads"), downloads);
  }

  int upload() const {
    for (const Copy& copy : uploads)
      if (const int result = farrier_device_copy_in(device, copy.device, copy.host, copy.bytes, stream); result != FARRIER_OK) return result;
    return FARRIER_OK;
  }
  int download() const {
    for (const Copy& copy : downloads)
      if (const int result = farrier_device_copy_out(device, copy.host, copy.device, copy.bytes, stream); result != FARRIER_OK) return result;
    return FARRIER_OK;
  }

  // Copies that were started must not lose their memory, whatever failed after them.
  Failure settled(int result) const {
    Failure failure(result);
    if (result != FARRIER_OK) farrier_stream_sync(device, stream);
    return failure;
  }

  farrier_device* device = nullptr;
  Tensors inputs, outputs;
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
  farrier_stream stream = nullptr;
  std::vector<Copy> uploads, downloads;

 private:
  // [{ address, host }]
  static void read_copies(const Napi::Value& list, std::vector<Copy>& out) {
    const auto array = list.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++) {
      const auto copy = array.Get(i).As<Napi::Object>();
      const auto [host, bytes] = bytes_of(copy.Get("host"));
      out.push_back({pointer(copy.Get("address")), host, bytes});
    }
  }
};

// runHere(exec, spec): void: on the CPU, on JavaScript's own thread.
Napi::Value run_here(const Napi::CallbackInfo& info) {
  auto* exec = raw<farrier_exec>(info[0]);
  const Run r(info[1].As<Napi::Object>());
  check(info.Env(), farrier_run(exec, r.inputs.data(), r.inputs.size(), r.outputs.data(), r.outputs.size(), r.workspace, r.workspace_bytes, r.stream));
  check(info.Env(), farrier_exec_status(exec));
  return info.Env().Undefined();
}

// run(exec, spec, graph | null): Promise<void>: uploads, runs or launches the graph, waits, downloads.
Napi::Value run(const Napi::CallbackInfo& info) {
  auto* exec = raw<farrier_exec>(info[0]);
  auto* graph = info[2].IsExternal() ? raw<farrier_graph>(info[2]) : nullptr;
  auto r = std::make_shared<Run>(info[1].As<Napi::Object>());
  return Job::start(
      info.Env(), info[1],
      [=] {
        int result = r->upload();
        if (result == FARRIER_OK)
          result = graph != nullptr ? farrier_graph_launch(graph, r->stream)
                                    : farrier_run(exec, r->inputs.data(), r->inputs.size(), r->outputs.data(), r->outputs.size(), r->workspace,
                                                  r->workspace_bytes, r->stream);
        if (result == FARRIER_OK) result = r->download();
        return r->settled(result == FARRIER_OK ? farrier_exec_status(exec) : result);
      },
      undefined);
}

// capture(exec, spec): Promise<handle>
Napi::Value capture(const Napi::CallbackInfo& info) {
  auto* exec = raw<farrier_exec>(info[0]);
  auto r = std::make_shared<Run>(info[1].As<Napi::Object>());
  auto graph = std::make_shared<farrier_graph*>();
  return Job::start(
      info.Env(), info[1],
      [=] {
        return farrier_graph_capture(exec, r->inputs.data(), r->inputs.size(), r->outputs.data(), r->outputs.size(), r->workspace, r->workspace_bytes,
                                     graph.get());
      },
      [=](Napi::Env env) { return wrap(env, *graph, reinterpret_cast<Handle::Release>(farrier_graph_release)); });
}

// profile(exec, spec, repeats): Promise<{ steps: Float64Array, run, mark }>
Napi::Value profile(const Napi::CallbackInfo& info) {
  constexpr size_t most = 1 << 20;
  auto* exec = raw<farrier_exec>(info[0]);
  auto r = std::make_shared<Run>(info[1].As<Napi::Object>());
  const auto repeats = static_cast<uint32_t>(std::min<uint64_t>(count_of(info[2]), UINT32_MAX));
  auto steps = std::make_shared<std::vector<double>>();
  auto times = std::make_shared<farrier_times>();
  return Job::start(
      info.Env(), info[1],
      [=] {
        if (const int result = r->upload(); result != FARRIER_OK) return r->settled(result);
        steps->resize(most);
        *times = {sizeof(farrier_times), repeats, steps->data(), most, 0, 0, 0};
        const int result = farrier_exec_profile(exec, r->inputs.data(), r->inputs.size(), r->outputs.data(), r->outputs.size(), r->workspace,
                                                r->workspace_bytes, r->stream, times.get());
        steps->resize(std::min(times->n_steps, most));
        return r->settled(result == FARRIER_OK ? farrier_exec_status(exec) : result);
      },
      [=](Napi::Env env) -> Napi::Value {
        Napi::Float64Array list = Napi::Float64Array::New(env, steps->size());
        std::copy(steps->begin(), steps->end(), list.Data());
        Napi::Object out = Napi::Object::New(env);
        out.Set("steps", list);
        out.Set("run", times->run_ms);
        out.Set("mark", times->mark_ms);
        return out;
      });
}

// runStep(exec, spec, step): Promise<void>: uploads before the first; waits.
Napi::Value run_step(const Napi::CallbackInfo& info) {
  auto* exec = raw<farrier_exec>(info[0]);
  auto r = std::make_shared<Run>(info[1].As<Napi::Object>());
  const auto step = static_cast<size_t>(count_of(info[2]));
  return Job::start(
      info.Env(), info[1],
      [=] {
        int result = step == 0 ? r->upload() : FARRIER_OK;
        if (result == FARRIER_OK)
          result = farrier_run_steps(exec, r->inputs.data(), r->inputs.size(), r->outputs.data(), r->outputs.size(), r->workspace, r->workspace_bytes,
                                     r->stream, step, 1);
        return r->settled(result == FARRIER_OK ? farrier_exec_status(exec) : result);
      },
      undefined);
}

}  // namespace

void add_run(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function, name)); };
  add("createExec", create_exec);
  add("workspace", workspace);
  add("run", run);
  add("runHere", run_here);
  add("capture", capture);
  add("profile", profile);
  add("runStep", run_step);
}

}  // namespace farrier_addon
