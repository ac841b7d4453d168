// Bundles, devices, weights and states.
#include <chrono>

#include "job.h"

namespace farrier_addon {
namespace {

template <class T>
Handle::Release releaser(int (*release)(T*)) {
  return reinterpret_cast<Handle::Release>(release);
}

// openBundle(path, flags): Promise<handle>
Napi::Value open_bundle(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString();
  const auto flags = static_cast<uint32_t>(count_of(info[1]));
  auto bundle = std::make_shared<farrier_bundle*>();
  return Job::start(
      info.Env(), info.Env().Undefined(),
      [=] {
        const farrier_open_options options = {sizeof(farrier_open_options), flags};
        return farrier_bundle_open(path.c_str(), &options, bundle.get());
      },
      [=](Napi::Env env) { return wrap(env, *bundle, releaser(farrier_bundle_release)); });
}

// describe(bundle): string
Napi::Value describe(const Napi::CallbackInfo& info) {
  const char* json = "";
  size_t bytes = 0;
  check(info.Env(), farrier_bundle_describe(raw<farrier_bundle>(info[0]), &json, &bytes));
  return Napi::String::New(info.Env(), json, bytes);
}

Napi::Array shapes_to(Napi::Env env, const std::vector<farrier_shape>& shapes) {
  Napi::Array out = Napi::Array::New(env, shapes.size());
  for (uint32_t i = 0; i < shapes.size(); i++) {
    Napi::Array dims = Napi::Array::New(env, static_cast<size_t>(shapes[i].ndim));
    for (uint32_t d = 0; d < static_cast<uint32_t>(shapes[i].ndim); d++) dims.Set(d, static_cast<double>(shapes[i].dims[d]));
    Napi::Object shape = Napi::Object::New(env);
    shape.Set("shape", dims);
    shape.Set("bytes", static_cast<double>(shapes[i].bytes));
    out.Set(i, shape);
  }
  return out;
}

// inferShapes(bundle, entry, inputs, outputs: number): { inputs, outputs }
Napi::Value infer_shapes(const Napi::CallbackInfo& info) {
  Tensors inputs;
  inputs.read(info[2], FARRIER_CPU, 0);
  std::vector<farrier_shape> in(inputs.size()), out(count_of(info[3]));
  const std::string entry = info[1].ToString();
  check(info.Env(), farrier_infer_shapes(raw<farrier_bundle>(info[0]), entry.c_str(), inputs.data(), inputs.size(), in.data(), out.data()));
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("inputs", shapes_to(info.Env(), in));
  result.Set("outputs", shapes_to(info.Env(), out));
  return result;
}

// openDevice(type, id): Promise<handle>
Napi::Value open_device(const Napi::CallbackInfo& info) {
  const auto type = static_cast<int32_t>(count_of(info[0])), id = static_cast<int32_t>(count_of(info[1]));
  auto device = std::make_shared<farrier_device*>();
  return Job::start(
      info.Env(), info.Env().Undefined(), [=] { return farrier_device_open(type, id, device.get()); },
      [=](Napi::Env env) { return wrap(env, *device, releaser(farrier_device_release)); });
}

// deviceInfo(device): string
Napi::Value device_info(const Napi::CallbackInfo& info) {
  const char* json = "";
  size_t bytes = 0;
  check(info.Env(), farrier_device_describe(raw<farrier_device>(info[0]), &json, &bytes));
  return Napi::String::New(info.Env(), json, bytes);
}

// alloc(device, bytes): bigint
Napi::Value alloc(const Napi::CallbackInfo& info) {
  void* address = nullptr;
  check(info.Env(), farrier_device_alloc(raw<farrier_device>(info[0]), count_of(info[1]), &address));
  return address_to(info.Env(), address);
}

// free(device, address)
void free(const Napi::CallbackInfo& info) {
  check(info.Env(), farrier_device_free(raw<farrier_device>(info[0]), reinterpret_cast<void*>(static_cast<uintptr_t>(address_of(info[1])))));
}

// createStream(device): bigint
Napi::Value create_stream(const Napi::CallbackInfo& info) {
  farrier_stream stream = nullptr;
  check(info.Env(), farrier_stream_create(raw<farrier_device>(info[0]), &stream));
  return address_to(info.Env(), stream);
}

// destroyStream(device, stream)
void destroy_stream(const Napi::CallbackInfo& info) {
  check(info.Env(), farrier_stream_destroy(raw<farrier_device>(info[0]), reinterpret_cast<void*>(static_cast<uintptr_t>(address_of(info[1])))));
}

// Progress from the binding thread to JavaScript, at most some twenty times a second.
class Reporter {
 public:
  Reporter(Napi::Env env, const Napi::Value& callback) {
    if (callback.IsFunction())
      function_ = Napi::ThreadSafeFunction::New(env, callback.As<Napi::Function>(), "farrier progress", 0, 1);
  }
  static int progress(void* reporter, uint64_t done, uint64_t total) {
    static_cast<Reporter*>(reporter)->report(done, total);
    return 0;
  }
  void report(uint64_t done, uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!function_ || (done != total && now - last_ < std::chrono::milliseconds(50))) return;
    last_ = now;
    function_.NonBlockingCall([done, total](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::Number::New(env, static_cast<double>(done)), Napi::Number::New(env, static_cast<double>(total))});
    });
  }
  void finish() {
    if (function_) function_.Release();
  }

 private:
  Napi::ThreadSafeFunction function_;
  std::chrono::steady_clock::time_point last_;
};

// bind(bundle, device, referenceDir | undefined, progress | undefined): Promise<handle>
Napi::Value bind(const Napi::CallbackInfo& info) {
  auto* bundle = raw<farrier_bundle>(info[0]);
  auto* device = raw<farrier_device>(info[1]);
  const std::string reference = info[2].IsString() ? info[2].ToString().Utf8Value() : std::string();
  auto reporter = std::make_shared<Reporter>(info.Env(), info[3]);
  auto weights = std::make_shared<farrier_weights*>();
  return Job::start(
      info.Env(), info.Env().Undefined(),
      [=] {
        farrier_bind_options options = {};
        options.size = sizeof options;
        options.reference_dir = reference.empty() ? nullptr : reference.c_str();
        options.user = reporter.get();
        options.progress = Reporter::progress;
        const int result = farrier_weights_bind(bundle, device, &options, weights.get());
        reporter->finish();
        return result;
      },
      [=](Napi::Env env) { return wrap(env, *weights, releaser(farrier_weights_release)); });
}

// warm(bundle, device, progress | undefined): Promise<{ directory, kernels, made, bytes }>
Napi::Value warm(const Napi::CallbackInfo& info) {
  auto* bundle = raw<farrier_bundle>(info[0]);
  auto* device = raw<farrier_device>(info[1]);
  auto reporter = std::make_shared<Reporter>(info.Env(), info[2]);
  auto kept = std::make_shared<farrier_kept>();
  auto directory = std::make_shared<std::string>();
  return Job::start(
      info.Env(), info.Env().Undefined(),
      [=] {
        kept->size = sizeof(farrier_kept);
        const int result = farrier_warm(bundle, device, Reporter::progress, reporter.get(), kept.get());
        if (result == FARRIER_OK) *directory = kept->directory;
        reporter->finish();
        return result;
      },
      [=](Napi::Env env) {
        Napi::Object out = Napi::Object::New(env);
        out.Set("directory", *directory);
        out.Set("kernels", static_cast<double>(kept->kernels));
        out.Set("made", static_cast<double>(kept->made));
        out.Set("bytes", static_cast<double>(kept->bytes));
        return out;
      });
}

// weightsInfo(weights): { target, bytes, notice }
Napi::Value weights_info(const Napi::CallbackInfo& info) {
  const char *target = "", *notice = "";
  uint64_t bytes = 0;
  check(info.Env(), farrier_weights_info(raw<farrier_weights>(info[0]), &target, &bytes));
  check(info.Env(), farrier_weights_notice(raw<farrier_weights>(info[0]), &notice));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("target", target);
  out.Set("bytes", static_cast<double>(bytes));
  out.Set("notice", notice);
  return out;
}

// createState(weights): handle
Napi::Value create_state(const Napi::CallbackInfo& info) {
  farrier_state* state = nullptr;
  check(info.Env(), farrier_state_create(raw<farrier_weights>(info[0]), &state));
  return wrap(info.Env(), state, releaser(farrier_state_release));
}

// resetState(state, stream)
void reset_state(const Napi::CallbackInfo& info) {
  check(info.Env(), farrier_state_reset(raw<farrier_state>(info[0]), reinterpret_cast<void*>(static_cast<uintptr_t>(address_of(info[1])))));
}

// stateData(state, index): { address, bytes }
Napi::Value state_data(const Napi::CallbackInfo& info) {
  void* address = nullptr;
  uint64_t bytes = 0;
  check(info.Env(), farrier_state_data(raw<farrier_state>(info[0]), static_cast<size_t>(count_of(info[1])), &address, &bytes));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("address", address_to(info.Env(), address));
  out.Set("bytes", static_cast<double>(bytes));
  return out;
}

// copyOut(device, address, host): of work that was waited for
void copy_out(const Napi::CallbackInfo& info) {
  auto* device = raw<farrier_device>(info[0]);
  const auto [host, bytes] = bytes_of(info[2]);
  const auto* from = reinterpret_cast<const void*>(static_cast<uintptr_t>(address_of(info[1])));
  check(info.Env(), farrier_device_copy_out(device, host, from, bytes, nullptr));
  check(info.Env(), farrier_stream_sync(device, nullptr));
}

// rates(device): Promise<{ bytes, operations }>
Napi::Value rates(const Napi::CallbackInfo& info) {
  auto* device = raw<farrier_device>(info[0]);
  auto found = std::make_shared<farrier_rates>();
  found->size = sizeof(farrier_rates);
  return Job::start(
      info.Env(), info[0], [=] { return farrier_device_rates(device, found.get()); },
      [=](Napi::Env env) {
        Napi::Object out = Napi::Object::New(env);
        out.Set("bytes", found->bytes);
        out.Set("operations", found->operations);
        return out;
      });
}

// release(handle): frees now what the garbage collector would free later
void release(const Napi::CallbackInfo& info) {
  Handle& handle = handle_of(info[0]);
  check(info.Env(), handle.release(handle.raw));
}

}  // namespace

void add_open(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function, name)); };
  exports.Set("machine", farrier_machine());
  exports.Set("isa", farrier_isa());
  exports.Set("abi", farrier_abi_version());
  add("threads", [](const Napi::CallbackInfo& info) -> Napi::Value { return Napi::Number::New(info.Env(), farrier_threads()); });
  add("openBundle", open_bundle);
  add("describe", describe);
  add("inferShapes", infer_shapes);
  add("openDevice", open_device);
  add("deviceInfo", device_info);
  add("alloc", alloc);
  add("free", free);
  add("createStream", create_stream);
  add("destroyStream", destroy_stream);
  add("bind", bind);
  add("warm", warm);
  add("weightsInfo", weights_info);
  add("createState", create_state);
  add("resetState", reset_state);
  add("stateData", state_data);
  add("copyOut", copy_out);
  add("rates", rates);
  add("release", release);
}

}  // namespace farrier_addon
