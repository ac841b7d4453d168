// Long work on a thread of libuv's pool, as a promise.
#pragma once

#include <functional>

#include "convert.h"

namespace farrier_addon {

class Job : public Napi::AsyncWorker {
 public:
  using Work = std::function<Failure()>;               // on another thread: calls of the C header
  using Result = std::function<Napi::Value(Napi::Env)>;  // back on JavaScript's

  // `keep` stays alive until the work is done. Deletes itself.
  static Napi::Promise start(Napi::Env env, const Napi::Value& keep, Work work, Result result) {
    auto* job = new Job(env, std::move(work), std::move(result));
    if (keep.IsObject()) job->keep_ = Napi::Persistent(keep.As<Napi::Object>());
    const Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

 protected:
  void Execute() override { failure_ = work_(); }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (failure_.status == FARRIER_OK) deferred_.Resolve(result_(Env()));
    else deferred_.Reject(error_of(Env(), failure_).Value());
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Job(Napi::Env env, Work work, Result result)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), result_(std::move(result)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Result result_;
  Failure failure_;
  Napi::ObjectReference keep_;
};

inline Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

// Functions of each file, put into the module's exports.
void add_open(Napi::Env env, Napi::Object exports);
void add_run(Napi::Env env, Napi::Object exports);

}  // namespace farrier_addon
