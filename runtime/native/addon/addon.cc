#include "job.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  farrier_addon::add_open(env, exports);
  farrier_addon::add_run(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(farrier_addon, init)
