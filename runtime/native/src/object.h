// Handles of the C header: numbers with a generation, so that a stale one is an error and not a crash.
#pragma once

#include <cstdint>
#include <memory>

#include "error.h"

namespace farrier {

enum class Kind : uint8_t { bundle = 1, device, weights, state, exec, graph };

class Object {
 public:
  explicit Object(Kind kind) : kind(kind) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  const Kind kind;
};

// A new handle that owns a share of the object.
void* open_handle(std::shared_ptr<Object> object);
// E_RT_HANDLE.
std::shared_ptr<Object> find_handle(const void* handle, Kind kind);
// The object that the handle owned, for the caller to destroy. E_RT_HANDLE.
std::shared_ptr<Object> close_handle(const void* handle, Kind kind);

template <class T>
std::shared_ptr<T> object_of(const void* handle) {
  return std::static_pointer_cast<T>(find_handle(handle, T::object_kind));
}

}  // namespace farrier
