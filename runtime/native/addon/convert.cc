#include "convert.h"

namespace farrier_addon {
namespace {

constexpr double max_safe = 9007199254740991.0;

[[noreturn]] void refuse(Napi::Env env, const std::string& what) { throw Napi::TypeError::New(env, "farrier addon: " + what); }

}  // namespace

Napi::Value wrap(Napi::Env env, void* raw, Handle::Release release) {
  return Napi::External<Handle>::New(env, new Handle{raw, release}, [](Napi::Env, Handle* handle) {
    handle->release(handle->raw);
    delete handle;
  });
}

Handle& handle_of(const Napi::Value& value) {
  if (!value.IsExternal()) refuse(value.Env(), "expected a handle");
  return *value.As<Napi::External<Handle>>().Data();
}

Failure::Failure(int result) : status(result) {
  if (result == FARRIER_OK) return;
  code = farrier_last_code();
  text = farrier_last_error();
}

Napi::Error error_of(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.text);
  error.Value().Set("code", failure.code);
  error.Value().Set("exitStatus", failure.status);
  return error;
}

void check(Napi::Env env, int result) {
  if (result == FARRIER_OK) return;
  throw error_of(env, Failure(result));
}

uint64_t address_of(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return 0;
  if (!value.IsBigInt()) refuse(value.Env(), "expected an address");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

Napi::BigInt address_to(Napi::Env env, const void* address) {
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(address)));
}

uint64_t count_of(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > max_safe || number != static_cast<double>(static_cast<uint64_t>(number)))
    refuse(value.Env(), "expected a whole number");
  return static_cast<uint64_t>(number);
}

std::pair<uint8_t*, size_t> bytes_of(const Napi::Value& value) {
  if (!value.IsTypedArray()) refuse(value.Env(), "expected a typed array");
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

void Tensors::read(const Napi::Value& list, int32_t device_type, int32_t device_id) {
  const auto array = list.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value value = array.Get(i);
    if (value.IsNull() || value.IsUndefined()) {
      pointers_.push_back(nullptr);
      continue;
    }
    const auto object = value.As<Napi::Object>();
    auto item = std::make_unique<Item>();
    farrier_tensor& tensor = item->tensor;
    const auto dtype = object.Get("dtype").As<Napi::Array>();
    tensor.dtype = {static_cast<uint8_t>(count_of(dtype.Get(0u))), static_cast<uint8_t>(count_of(dtype.Get(1u))), 1};
    const auto shape = object.Get("shape").As<Napi::Array>();
    uint64_t bits = tensor.dtype.bits;
    for (uint32_t d = 0; d < shape.Length(); d++) {
      const uint64_t dim = count_of(shape.Get(d));
      item->shape.push_back(static_cast<int64_t>(dim));
      if (__builtin_mul_overflow(bits, dim, &bits)) refuse(list.Env(), "a tensor is too large");
    }
    tensor.ndim = static_cast<int32_t>(item->shape.size());
    tensor.shape = item->shape.data();
    const Napi::Value data = object.Get("data");
    if (data.IsTypedArray()) {
      const auto [at, bytes] = bytes_of(data);
      if (bytes < (bits + 7) / 8) refuse(list.Env(), "an array is shorter than its shape");
      tensor.data = at;
      tensor.device = {FARRIER_CPU, 0};
    } else {
      tensor.data = reinterpret_cast<void*>(static_cast<uintptr_t>(address_of(data)));
      tensor.device = {device_type, device_id};
    }
    pointers_.push_back(&tensor);
    items_.push_back(std::move(item));
  }
}

}  // namespace farrier_addon
