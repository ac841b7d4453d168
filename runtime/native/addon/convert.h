// Values between JavaScript and the C header. Exceptions live only in this folder.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "farrier.h"

namespace farrier_addon {

// A handle of the C header, released with its JavaScript object at the latest.
struct Handle {
  using Release = int (*)(void*);
  void* raw = nullptr;
  Release release = nullptr;
};

Napi::Value wrap(Napi::Env env, void* raw, Handle::Release release);
Handle& handle_of(const Napi::Value& value);
template <class T>
T* raw(const Napi::Value& value) {
  return static_cast<T*>(handle_of(value).raw);
}

// What a call left behind, taken on the thread that made it.
struct Failure {
  Failure(int result = FARRIER_OK);  // implicit: a call's result
  int status;
  std::string code, text;
};
Napi::Error error_of(Napi::Env env, const Failure& failure);
// Throws if `result` is a failure.
void check(Napi::Env env, int result);

uint64_t address_of(const Napi::Value& value);  // bigint; null and undefined are 0
Napi::BigInt address_to(Napi::Env env, const void* address);
uint64_t count_of(const Napi::Value& value);    // a whole number
std::pair<uint8_t*, size_t> bytes_of(const Napi::Value& value);  // of a typed array

// { data: typed array | bigint | undefined, dtype: [code, bits], shape: number[] }, or null.
class Tensors {
 public:
  // Arrays are on the CPU, addresses on the device `device_type`, `device_id`.
  void read(const Napi::Value& list, int32_t device_type, int32_t device_id);
  const farrier_tensor* const* data() const { return pointers_.data(); }
  size_t size() const { return pointers_.size(); }

 private:
  struct Item {
    farrier_tensor tensor = {};
    std::vector<int64_t> shape;
  };
  std::vector<std::unique_ptr<Item>> items_;
  std::vector<const farrier_tensor*> pointers_;
};

}  // namespace farrier_addon
